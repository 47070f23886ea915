"""STM: each channel's own conv over time before a spatial conv (CSTM), and differences of features beside it (CMM).

STM: SpatioTemporal and Motion Encoding for Action Recognition, ICCV 2019, https://arxiv.org/abs/1908.02486

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride), D = Ci / reduction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.conv_window import ConvWindow, checked_conv
from kinema.layers.depthwise import conv_over_time, newest_over_time, shift_taps
from kinema.layers.feature_motion import motion_between
from kinema.layers.folding import fold_time, unfold_time

TEMPORAL_SIZE = 3
"""Frames that a channel's temporal kernel spans."""

State = tuple[Tensor, Tensor | None]


class STMConv(TemporalLayer):
    """Replaces a conv by the sum of CSTM and CMM (`motion=False`: by CSTM alone); the conv itself is kept as `conv`.

    CSTM: a depthwise conv over three frames, then the replaced conv. CMM: see `ChannelwiseMotion`. The temporal kernels
    start as a shift: the first quarter of the channels takes the frame before, the last quarter the frame after.

    Our reading: the temporal conv works at the input's resolution, as the paper's multiply-adds say; the batch norm
    behind the conv takes the sum, and there is no other (the printed parameter count fits with and without more). A
    grouped or depthwise conv keeps its groups, the temporal conv has none to keep, and CMM's 1 x 1 convs are dense as
    ever. The causal form, which the paper does not have, weights frames t-2, t-1, t, and its last quarter starts at the
    present.

    Args:
        conv: The conv to replace.
        num_frames: Frames T of a clip.
        motion: Whether CMM is added.
        reduction: How many times fewer channels CMM works on.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If conv is no plain Conv2d, or reduction below 1.
    """

    def __init__(
        self, conv: nn.Module, *, num_frames: int, motion: bool = True, reduction: int = 16, causal: bool = False
    ) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction}; 16 is the paper's")
        self.conv = conv = checked_conv(conv)
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.temporal = nn.Parameter(shift_kernels(conv.in_channels, causal=causal).to(conv.weight))  # [Ci, 3]
        self.motion = ChannelwiseMotion(conv, reduction=reduction, causal=causal).to(conv.weight) if motion else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolves over time, then in space, and adds motion.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, Co, H', W'], the shape that the replaced conv would give.
        """
        y = self.conv(conv_over_time(x, self.temporal, num_frames=self.num_frames, causal=self.causal))
        return y if self.motion is None else y + self.motion(x, num_frames=self.num_frames)

    def _step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        if state is None:
            state = (x.new_zeros(x.shape[0], TEMPORAL_SIZE - 1, *x.shape[1:]), None)
        past, features = state
        frames = torch.cat([past, x.unsqueeze(1)], dim=1)  # [N, 3, Ci, H, W]
        y = self.conv(newest_over_time(frames, self.temporal))
        if self.motion is not None:
            motion, features = self.motion.step(x, features)
            y = y + motion
        return y, (frames[:, 1:], features)

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"


class ChannelwiseMotion(nn.Module):
    """CMM: F, a 1 x 1 conv to fewer channels; H_t = K * F_{t+1} - F_t; a 1 x 1 conv of H back to Co channels.

    K is a depthwise 3 x 3 conv of F_{t+1} alone; the last frame, which has none after it, gives zero. Our reading: no
    batch norm and no bias (the printed parameter count fits with and without them); with a stride, all is done at the
    input's resolution and the pixels under the conv's centres are taken at the end (the paper's multiply-adds come out
    only so); a linear start that keeps the variance. Causal, H_t = K * F_t - F_{t-1}, and the first frame gives zero.

    Args:
        conv: The conv beside which it stands.
        reduction: How many times fewer channels F has.
        causal: Whether the difference at a frame is with the one before, instead of the one after.
    """

    def __init__(self, conv: nn.Conv2d, *, reduction: int, causal: bool) -> None:
        super().__init__()
        self.causal, self.window = causal, ConvWindow.of(conv)
        width = max(conv.in_channels // reduction, 1)
        self.reduce = nn.Conv2d(conv.in_channels, width, kernel_size=1, bias=False)
        self.transform = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width, bias=False)
        self.expand = nn.Conv2d(width, conv.out_channels, kernel_size=1, bias=False)
        for part in (self.reduce, self.transform, self.expand):
            nn.init.normal_(part.weight, std=1.0 / math.sqrt(part.weight[0].numel()))

    def forward(self, x: Tensor, *, num_frames: int) -> Tensor:
        """Encodes motion.

        Args:
            x: Frames [N*T, Ci, H, W].
            num_frames: Frames T of a clip.

        Returns:
            Frames [N*T, Co, H', W'].
        """
        features = self.reduce(x)  # [N*T, D, H, W]
        now, moved = unfold_time(features, num_frames), unfold_time(self.transform(features), num_frames)
        motion = motion_between(now, moved, causal=self.causal)  # [N, T, D, H, W]
        return self.window.centres(self.expand(fold_time(motion)))  # [N*T, Co, H', W']

    def step(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encodes the motion of one more frame [N, Ci, H, W].

        Returns:
            The motion [N, Co, H', W'], and this frame's features F [N, D, H, W] for the next step.
        """
        features = self.reduce(x)
        motion = torch.zeros_like(features) if before is None else self.transform(features) - before
        return self.window.centres(self.expand(motion)), features


def shift_kernels(channels: int, *, causal: bool) -> Tensor:
    """Makes the temporal kernels that CSTM starts with.

    Args:
        channels: Channels C.
        causal: Whether the taps are frames t-2, t-1, t instead of t-1, t, t+1.

    Returns:
        A one in each row [C, 3]: the first quarter at t-1, the middle at t, the last quarter at t+1 (causal: at t).
    """
    quarter = channels // 4
    return shift_taps(channels, back=slice(quarter), ahead=slice(channels - quarter, channels), causal=causal)
