"""A depthwise conv over time on folded frames: every channel has its own few taps.

Shapes: N clips, T frames, C channels, H x W pixels, K taps.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kinema.layers.folding import fold_time, unfold_time


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
