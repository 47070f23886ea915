"""(2+1)D convolution: the 2D conv and a dense conv over time, one after the other or side by side.

The two forms are those that the STH paper compares itself with (section 4.5 and table 7): STH: Spatio-Temporal Hybrid
Convolution for Efficient Action Recognition, 2020, https://arxiv.org/abs/2003.08042
The idea is P3D's (2017, https://arxiv.org/abs/1711.10305) and R(2+1)D's (2018, https://arxiv.org/abs/1711.11248).

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.conv_window import centre_margins, kept_conv
from kinema.layers.folded_conv3d import FoldedConv3d, tap_offsets

TEMPORAL_SIZE = 3
"""Frames that the conv over time spans (section 4.5: 3 x 1 x 1)."""


class SequentialConv2Plus1D(TemporalLayer):
    """A conv over time after the conv of each frame, at its output's resolution.

    Our reading: nothing between the two (the printed parameter count fits with and without a second batch norm), the
    conv over time has no bias and as many groups as the 2D conv, and it starts as the identity, so that the network
    starts as the 2D one.

    Args:
        conv: The conv of each frame, kept as `conv`.
        num_frames: Frames T of a clip.
        causal: Whether the conv over time sees frames t-2, t-1, t (otherwise t-1, t, t+1).

    Raises:
        ValueError: If what stands at the site is no conv.
    """

    def __init__(self, conv: nn.Module, *, num_frames: int, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        self.conv = kept_conv(conv)
        self.in_channels, self.out_channels = self.conv.in_channels, self.conv.out_channels
        width = self.out_channels // self.conv.groups
        weight = self.conv.weight.detach().new_zeros(self.out_channels, width, TEMPORAL_SIZE, 1, 1)
        now = tap_offsets(TEMPORAL_SIZE, causal=causal).index(0)
        channels = torch.arange(self.out_channels, device=weight.device)
        weight[channels, channels % width, now] = 1.0
        self.temporal = FoldedConv3d(weight, groups=self.conv.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves in space, then in time.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, Co, H', W'].
        """
        y: Tensor = self.temporal(self.conv(x), num_frames=self.num_frames, causal=self.causal)
        return y

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        return self.temporal.step(self.conv(x), state)


class ParallelConv2Plus1D(TemporalLayer):
    """A conv over time beside the conv of each frame; their sum.

    Our reading: the conv over time stands at the centre of the 2D conv's kernel and strides with it, has no bias and as
    many groups, and starts at zero, so that the network starts as the 2D one.

    Args:
        conv: The conv of each frame, kept as `conv`.
        num_frames: Frames T of a clip.
        causal: Whether the conv over time sees frames t-2, t-1, t (otherwise t-1, t, t+1).

    Raises:
        ValueError: If what stands at the site is no conv, or one that pads by a rule of its own.
    """

    def __init__(self, conv: nn.Module, *, num_frames: int, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        self.conv = kept_conv(conv)
        if type(conv) is not nn.Conv2d:
            raise ValueError(
                f"conv must be a plain nn.Conv2d to have a known centre, got {type(conv).__name__}; "
                "take conv2plus1d_sequential"
            )
        self.in_channels, self.out_channels = self.conv.in_channels, self.conv.out_channels
        kernels = self.conv.weight.detach()
        self.temporal = FoldedConv3d(
            kernels.new_zeros(*kernels.shape[:2], TEMPORAL_SIZE, 1, 1),
            stride=self.conv.stride,
            groups=self.conv.groups,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolves in space and in time, and adds.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, Co, H', W'].
        """
        temporal = self.temporal(self._centred(x), num_frames=self.num_frames, causal=self.causal)
        return self.conv(x) + temporal

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        temporal, state = self.temporal.step(self._centred(x), state)
        return self.conv(x) + temporal, state

    def _centred(self, x: Tensor) -> Tensor:
        """Cuts or pads frames so that a 1 x 1 kernel visits what the centre of the k x k kernel does."""
        margins = [margin for axis in (1, 0) for margin in _centre_margins(self.conv, axis)]
        return F.pad(x, margins) if any(margins) else x


def _centre_margins(conv: nn.Conv2d, axis: int) -> tuple[int, int]:
    """Returns what to add before and after one axis; negative where pixels are never under the kernel's centre."""
    taps, dilation = conv.kernel_size[axis], conv.dilation[axis]
    if isinstance(conv.padding, str):  # a word may pad one pixel more after than before
        total = dilation * (taps - 1) if conv.padding == "same" else 0
        before, after = total // 2, total - total // 2
    else:
        before = after = conv.padding[axis]
    return centre_margins(taps, dilation, before=before, after=after)
