"""Motion as differences of features: what STM adds, and what ACTION and TEA weight channels by.

Shapes: N clips, T frames, C channels, H x W pixels, D = C / reduction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinema.layers.folding import fold_time, unfold_time


def motion_between(features: Tensor, moved: Tensor, *, causal: bool) -> Tensor:
    """Subtracts each frame's features from the transformed ones of the frame after it.

    Args:
        features: Features of the frames [N, T, ...].
        moved: The same, transformed [N, T, ...].
        causal: Whether the difference stands at the later of the two frames, instead of at the earlier one.

    Returns:
        Differences [N, T, ...]; zero at the last frame, which has none after it (causal: at the first).
    """
    difference, zero = moved[:, 1:] - features[:, :-1], torch.zeros_like(features[:, :1])
    return torch.cat([zero, difference] if causal else [difference, zero], dim=1)


class ChannelMotion(nn.Module):
    """Says of each channel of a frame how it moves: expand(mean over H, W of (K * F_{t+1} - F_t)).

    F is a 1 x 1 conv to fewer channels with a batch norm behind it, K a depthwise 3 x 3 conv of F_{t+1} alone, `expand`
    a linear map back to C channels; no biases. As means are linear, they are taken before the difference, in 32 bits at
    least. Causal, the difference is K * F_t - F_{t-1}, and the first frame has none.

    Args:
        channels: Channels C.
        reduction: How many times fewer channels F has; one at least.

    Raises:
        ValueError: If reduction is below 1.
    """

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        hidden = hidden_channels(channels, reduction)
        self.reduce = nn.Conv2d(channels, hidden, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.transform = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor, *, num_frames: int, causal: bool) -> Tensor:
        """Measures motion.

        Args:
            x: Frames [N*T, C, H, W].
            num_frames: Frames T of a clip.
            causal: Whether the difference at a frame is with the one before, instead of the one after.

        Returns:
            One number for each frame and channel [N*T, C], of any sign.
        """
        now, moved = (unfold_time(means, num_frames) for means in self._means(x))
        motion: Tensor = self.expand(fold_time(motion_between(now, moved, causal=causal)).to(x.dtype))
        return motion

    def step(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Measures the motion of one more frame, as the causal `forward` does on a whole clip.

        Args:
            x: The next frame of each clip [N, C, H, W].
            before: What the last call returned; None at the first frame.

        Returns:
            The numbers of this frame [N, C], and the means of its features [N, D] for the next one.
        """
        now, moved = self._means(x)
        difference = torch.zeros_like(now) if before is None else moved - before
        return self.expand(difference.to(x.dtype)), now

    def _means(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Averages features, plain and transformed: [B, C, H, W] -> twice [B, D]."""
        features = self.norm(self.reduce(x))
        exact = torch.promote_types(x.dtype, torch.float32)
        return features.mean(dim=(2, 3), dtype=exact), self.transform(features).mean(dim=(2, 3), dtype=exact)


def hidden_channels(channels: int, reduction: int) -> int:
    """Returns how many channels C are squeezed to, one at least.

    Raises:
        ValueError: If reduction is below 1.
    """
    if reduction < 1:
        raise ValueError(f"reduction must be at least 1, got {reduction}; 16 is the paper's")
    return max(channels // reduction, 1)
