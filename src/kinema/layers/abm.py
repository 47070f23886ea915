"""ABM, approximated bilinear modules: a conv over time and space, multiplied by a second one.

Approximated Bilinear Modules for Temporal Modeling, ICCV 2019, https://arxiv.org/abs/2007.12887

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.conv_window import checked_conv
from kinema.layers.folded_conv3d import FoldedConv3d, inflated, tap_offsets
from kinema.layers.plain_norm import plain_batch_norm

TEMPORAL_SIZE = 3
"""Frames that both convs span."""


class BilinearConv(TemporalLayer):
    """A conv and its batch norm, made bilinear: norm(W * x) (V * x + b), both convs over three frames.

    W starts from the 2D kernels in its middle tap, V at zero and b at one, so that the layer starts as the 2D conv and
    its norm. What the official code calls ABM in its blocks' inside; there it stands in all blocks but the first of the
    second to the fourth stage, at the first k x k conv.

    Our reading: a grouped or depthwise conv keeps its groups in both convs, and the causal form, which the paper does
    not have, sees frames t-2, t-1, t. Left out is what lies outside the layer: stacked neighbouring frames as input.

    Args:
        conv: The conv, whose kernels W starts from.
        norm: Its batch norm, kept as `norm`.
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If conv is no plain conv padded with zeros, or norm is none of its own.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module, *, num_frames: int, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        conv = checked_conv(conv)
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        weight = inflated(conv, TEMPORAL_SIZE, now=tap_offsets(TEMPORAL_SIZE, causal=causal).index(0))
        self.conv = FoldedConv3d.like(conv, weight, None if conv.bias is None else conv.bias.detach().clone())
        self.partner = FoldedConv3d.like(conv, torch.zeros_like(weight), weight.new_ones(conv.out_channels))
        self.norm = plain_batch_norm(norm, channels=conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves twice, and multiplies.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, Co, H', W'], what norm(conv(x)) would give in shape; no activation.
        """
        y = self.norm(self.conv(x, num_frames=self.num_frames, causal=self.causal))
        return y * self.partner(x, num_frames=self.num_frames, causal=self.causal)

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        own, partner = (None, None) if state is None else state
        y, own = self.conv.step(x, own)
        factor, partner = self.partner.step(x, partner)
        return self.norm(y) * factor, (own, partner)

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"
