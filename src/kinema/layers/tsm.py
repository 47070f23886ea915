"""TSM, the temporal shift: a few channels take their value from the neighbouring frame.

TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019, https://arxiv.org/abs/1811.08383

Shapes: N clips, T frames, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_into, step_through
from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.shift import Move, shift_clip


class TemporalShift(TemporalLayer):
    """Shifts the input of what stands at its site, which it keeps as `net` (the official weights' name for it).

    Args:
        net: The module in front of which channels are shifted; a block's first conv in the residual placement.
        num_frames: Frames T of a clip.
        num_divisions: One in this many channels moves each way.
        causal: The online rule of the official code: the first C / num_divisions channels take the frame before,
            and none takes the frame after. Offline these same channels look ahead, so weights do not carry over
            between the two.

    Raises:
        ValueError: If num_divisions is below 2, for two folds must fit, or so great that no channel would move.
    """

    def __init__(self, net: nn.Module, *, num_frames: int, num_divisions: int = 8, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        if num_divisions < 2:
            raise ValueError(
                f"num_divisions must be at least 2, got {num_divisions}; 8 moves an eighth of the channels each way"
            )
        channels = channels_into(net)
        if channels is not None and channels < num_divisions:
            raise ValueError(
                f"num_divisions must be at most the channels that come in, {channels}, got {num_divisions}, by which "
                "none would move; 8 moves an eighth each way"
            )
        self.net = net
        self.num_divisions = num_divisions

    def forward(self, x: Tensor) -> Tensor:
        """Shifts, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        fold = x.shape[1] // self.num_divisions
        moves = [Move(fold, time=-1)] if self.causal else [Move(fold, time=1), Move(fold, time=-1)]
        return self.net(fold_time(shift_clip(unfold_time(x, self.num_frames), moves)))

    def _step(self, x: Tensor, state: tuple[Tensor, object] | None) -> tuple[Tensor, tuple[Tensor, object]]:
        fold = x.shape[1] // self.num_divisions
        now, rest = x[:, :fold], x[:, fold:]
        before, inner = (torch.zeros_like(now), None) if state is None else state
        y, inner = step_through(self.net, torch.cat([before, rest], dim=1), inner)
        return y, (now.clone(), inner)  # a copy: the frame is the caller's

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, num_divisions={self.num_divisions}, causal={self.causal}"
