"""The two attention branches of STAM, which score its calibration filters at each frame.

STAM: a spatio-temporal adaptive module for improving static convolutions in action recognition, The Visual Computer
2023, https://doi.org/10.1007/s00371-023-03165-6

Shapes: N clips, T frames, B = N*T frames, C channels, M calibration filters, D hidden channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.folded_conv3d import tap_offsets

PYRAMID = (1, 2, 4)
"""Bins in height and in width of each level of the spatial pyramid."""
NEAR_SIZE = 3
"""Frames that the temporal branch's first conv spans."""
FAR_SIZE, FAR_DILATION = 5, 2
"""Taps of its second conv, and the frames from one to the next: both together see 11 frames."""


class TemporalBranch(nn.Module):
    """Scores filters from the frames' means: near frames, then far ones.

    Our reading: a conv of three frames to D channels, layer norm over the channels (which looks at one frame alone, so
    that clips of any length and causal ones are the same), GELU, plus a depthwise dilated conv of far frames, as large
    kernels are commonly taken apart; then M scores.

    Args:
        channels: Channels C.
        width: Hidden channels D.
        num_filters: M.
        causal: Whether taps reach back only.
    """

    def __init__(self, channels: int, width: int, num_filters: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.near = nn.Conv1d(channels, width, NEAR_SIZE, bias=False)
        self.norm = nn.LayerNorm(width)
        self.far = nn.Conv1d(width, width, FAR_SIZE, dilation=FAR_DILATION, groups=width, bias=False)
        self.score = nn.Linear(width, num_filters)

    def forward(self, means: Tensor) -> Tensor:
        """Turns the means of frames [N, T, C] into scores [N, T, M]."""
        hidden = self._hidden(self._pad(means))
        return self._scores(hidden, self._pad(hidden, FAR_SIZE, FAR_DILATION))

    def step(self, mean: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Scores one more frame.

        Args:
            mean: Its means [N, C].
            state: What the last call returned.

        Returns:
            Scores [N, M]; the means [N, 2, C] and hidden features [N, 8, D] of the frames that later ones still see.
        """
        means, past = (None, None) if state is None else state
        if means is None:
            means = mean.new_zeros(mean.shape[0], NEAR_SIZE - 1, mean.shape[1])
        means = torch.cat([means, mean.unsqueeze(1)], dim=1)
        hidden = self._hidden(means)  # [N, 1, D]
        if past is None:
            past = hidden.new_zeros(hidden.shape[0], FAR_DILATION * (FAR_SIZE - 1), hidden.shape[2])
        seen = torch.cat([past, hidden], dim=1)
        return self._scores(hidden, seen).squeeze(1), (means[:, 1:], seen[:, 1:])

    def _hidden(self, means: Tensor) -> Tensor:
        """Mixes near frames: [N, T + 2, C] -> [N, T, D]."""
        return F.gelu(self.norm(self.near(means.transpose(1, 2)).transpose(1, 2)))

    def _scores(self, hidden: Tensor, seen: Tensor) -> Tensor:
        """Adds far frames [N, T + 8, D] to hidden features [N, T, D], and scores: [N, T, M]."""
        return self.score(hidden + self.far(seen.transpose(1, 2)).transpose(1, 2))

    def _pad(self, x: Tensor, size: int = NEAR_SIZE, dilation: int = 1) -> Tensor:
        """Puts zeros around the frames of x [N, T, ...] so that a conv leaves T."""
        offsets = tap_offsets(size, causal=self.causal)
        return F.pad(x, (0, 0, -dilation * offsets[0], dilation * offsets[-1]))


class SpatialBranch(nn.Module):
    """Scores filters from a pyramid of one frame's means, coarse to fine.

    Our reading: one linear map to D channels for all bins of all levels, GELU, and M scores from all bins together,
    each bin with weights of its own: scales and places both count.

    Args:
        channels: Channels C.
        width: Hidden channels D.
        num_filters: M.
    """

    def __init__(self, channels: int, width: int, num_filters: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, width)
        self.score = nn.Linear(width * sum(size**2 for size in PYRAMID), num_filters, bias=False)

    def forward(self, pyramid: Tensor) -> Tensor:
        """Turns the pyramids of frames [B, C, 21] into scores [B, M]."""
        return self.score(F.gelu(self.reduce(pyramid.transpose(1, 2))).flatten(1))
