"""A depthwise conv over time on folded frames: every channel has its own few taps.

Shapes: N clips, T frames, C channels, H x W pixels, K taps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.folding import fold_time, unfold_time

SHIFT_TAPS = 3
"""Frames that the taps of a shift span."""


def conv_over_time(x: Tensor, taps: Tensor, *, num_frames: int, causal: bool) -> Tensor:
    """Weights each channel's neighbouring frames; what lies outside the clip is zero.

    It runs as a 2D conv over frames x pixels, which torch does faster than the same conv in 1D or 3D.

    Args:
        x: Frames [N*T, C, H, W].
        taps: Weights of frames t - K//2 to t + K//2, or of t - K + 1 to t where causal [C, K], K odd.
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.

    Returns:
        Frames [N*T, C, H, W].
    """
    channels, size = taps.shape
    clips = unfold_time(x, num_frames).transpose(1, 2).flatten(3)  # [N, C, T, H*W]
    if causal:
        clips = F.pad(clips, (0, 0, size - 1, 0))
    padding = 0 if causal else size // 2
    y = F.conv2d(clips, taps.view(channels, 1, size, 1), padding=(padding, 0), groups=channels)
    return fold_time(y.transpose(1, 2)).unflatten(-1, x.shape[-2:])


def newest_over_time(frames: Tensor, taps: Tensor) -> Tensor:
    """Gives the causal `conv_over_time` at the newest of K frames.

    Args:
        frames: The last K frames of each clip, the oldest first [N, K, C, H, W].
        taps: Weights [C, K].

    Returns:
        Frames [N, C, H, W].
    """
    return (frames * taps.t().to(frames.dtype)[..., None, None]).sum(dim=1)


class ConvOverTime(nn.Module):
    """A `conv_over_time` that has its taps, and runs frame by frame too.

    Args:
        taps: Its weights at the start [C, K].
    """

    def __init__(self, taps: Tensor) -> None:
        super().__init__()
        self.taps = nn.Parameter(taps)

    def forward(self, x: Tensor, *, num_frames: int, causal: bool) -> Tensor:
        """Weights each channel's neighbouring frames.

        Args:
            x: Frames [N*T, C, H, W].
            num_frames: Frames T of a clip.
            causal: Whether no output at a frame may depend on a later frame.

        Returns:
            Frames [N*T, C, H, W].
        """
        return conv_over_time(x, self.taps, num_frames=num_frames, causal=causal)

    def step(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Runs one more frame, as the causal `forward` does on a whole clip.

        Args:
            x: The next frame of each clip [N, C, H, W].
            past: What the last call returned; None at the first frame.

        Returns:
            The output for this frame [N, C, H, W], and the frames that the next one still sees [N, K-1, C, H, W].
        """
        if past is None:
            past = x.new_zeros(x.shape[0], self.taps.shape[1] - 1, *x.shape[1:])
        frames = torch.cat([past, x.unsqueeze(1)], dim=1)  # [N, K, C, H, W]
        return newest_over_time(frames, self.taps), frames[:, 1:]


def shift_taps(channels: int, *, back: slice, ahead: slice, causal: bool) -> Tensor:
    """Makes taps over three frames that shift some channels, to start from.

    Args:
        channels: Channels C.
        back: Those that take the frame before.
        ahead: Those that take the frame after; where causal, they stay at their own.
        causal: Whether the taps are frames t-2, t-1, t instead of t-1, t, t+1.

    Returns:
        A one in each row [C, 3].
    """
    offsets = torch.zeros(channels, dtype=torch.long, device="cpu")
    offsets[back] = -1
    if not causal:
        offsets[ahead] = 1
    present = SHIFT_TAPS - 1 if causal else SHIFT_TAPS // 2
    return F.one_hot(offsets + present, SHIFT_TAPS)
