"""The attentive integration of STH (section 3.3): how much of time and of space, channel by channel.

STH: Spatio-Temporal Hybrid Convolution for Efficient Action Recognition, 2020, https://arxiv.org/abs/2003.08042

Shapes: C output channels of the conv.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SqueezeName = Literal["concat", "sum"]
GateName = Literal["softmax", "sigmoid"]


class Attention(nn.Module):
    """Weights the temporal and the spatial part (eq. 3).

    The paper draws this only in its figure 4; our reading: the two means, concatenated, go through C/4 hidden numbers
    to 2C scores, without biases, and a softmax over the two parts. That is C^2 weights a layer, what the paper's
    parameter counts ask for. Twice the gate and zeros in the last layer make it start as eq. 2, the plain addition.

    Args:
        channels: Output channels C of the conv.
        reduction: C divided by the hidden numbers.
        squeeze: Whether the hidden numbers see both means (`concat`) or their sum (`sum`: weights for C inputs only).
        gate: `softmax` over the two parts, so that their weights add up to 2, or a `sigmoid` for each.

    Raises:
        ValueError: If reduction is below 1, or a name is unknown.
    """

    def __init__(
        self, channels: int, *, reduction: int = 4, squeeze: SqueezeName = "concat", gate: GateName = "softmax"
    ) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction}; 4 fits the paper's parameter counts")
        if squeeze not in get_args(SqueezeName):
            raise ValueError(f"squeeze must be concat or sum, got {squeeze!r}; concat is our reading of the paper")
        if gate not in get_args(GateName):
            raise ValueError(f"gate must be softmax or sigmoid, got {gate!r}; softmax is our reading of the paper")
        self.squeeze, self.gate = squeeze, gate
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(2 * channels if squeeze == "concat" else channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, 2 * channels, bias=False)
        nn.init.zeros_(self.expand.weight)

    def forward(self, temporal: Tensor, spatial: Tensor) -> tuple[Tensor, Tensor]:
        """Turns means into weights.

        Args:
            temporal: Means of the temporal part [..., C].
            spatial: Means of the spatial part [..., C].

        Returns:
            alpha_T and alpha_S, both [..., C].
        """
        scores = self._scores(temporal, spatial)
        weights = 2.0 * (scores.softmax(dim=-2) if self.gate == "softmax" else scores.sigmoid())
        alpha_t, alpha_s = weights.unbind(dim=-2)
        return alpha_t, alpha_s

    def log_weights(self, temporal: Tensor, spatial: Tensor) -> Tensor:
        """Returns the logarithms of both weights [..., 2, C], time first; their gradients never divide by a weight."""
        scores = self._scores(temporal, spatial)
        return math.log(2.0) + (scores.log_softmax(dim=-2) if self.gate == "softmax" else F.logsigmoid(scores))

    def _scores(self, temporal: Tensor, spatial: Tensor) -> Tensor:
        """Returns the scores of both parts [..., 2, C]."""
        means = torch.cat([temporal, spatial], dim=-1) if self.squeeze == "concat" else temporal + spatial
        scores: Tensor = self.expand(F.relu(self.reduce(means)))  # [..., 2*C]
        return scores.unflatten(-1, (2, -1))
