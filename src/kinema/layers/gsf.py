"""GSF, gate-shift-fuse: GSM's gate and shift on some of the channels, and learned weights that join what moved.

Gate-Shift-Fuse for Video Action Recognition, TPAMI 2023, https://arxiv.org/abs/2203.08897

Shapes: N clips, T frames, C channels, F channels that are gated, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, step_through
from kinema.layers.folded_conv3d import tap_offsets
from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.gsm import NUM_HALVES, Gate, gated_channels, interleave, replace_first, shift_halves

TEMPORAL_SIZE = 3
"""Frames that a weight is made from."""


class GateShiftFuse(TemporalLayer):
    """Stands before the last batch norm of a branch, which it keeps as `net`.

    As in GSM, y = g x moves and r = x - y stays, but only the first F channels take part, and each channel and frame
    weights the two: out = w shift(y) + (1 - w) r, with w from `Fusion`; then GSM's interleaving. Gates and weights
    start as torch draws them, so a fresh layer is not the 2D network.

    Our reading: F is rounded up to a multiple of four, where the official code rounds up to an even number and then
    cannot interleave. The causal form, which the paper does not have: gates and weights come from frames t-2, t-1, t,
    and both halves take y from the frame before.

    Args:
        net: The batch norm, or another module that says how many channels it takes.
        num_frames: Frames T of a clip.
        fraction: F / C; a quarter in the official ResNet, all in the official scripts for Inception.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If net does not say how many channels it takes, or takes less than four, or fraction is out of
            range.
    """

    def __init__(self, net: nn.Module, *, num_frames: int, fraction: float = 0.25, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}; a quarter is usual")
        channels, weight = gated_channels(net, fraction=fraction), next(net.parameters(), torch.empty(0))
        self.net = net
        self.gate = Gate(channels, causal=causal).to(weight)
        self.fusion = Fusion().to(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Gates, shifts and joins, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        gated, kept = self.gate(x, num_frames=self.num_frames)
        moved = shift_halves(gated, num_frames=self.num_frames, causal=self.causal)
        means = unfold_time(pooled_pairs(moved, kept), self.num_frames).permute(0, 2, 3, 1)  # [N, 4, F / 2, T]
        offsets = tap_offsets(TEMPORAL_SIZE, causal=self.causal)
        weights = self.fusion(F.pad(means, (-offsets[0], offsets[-1])))  # [N, F, T]
        joined = joined_by(fold_time(weights.transpose(1, 2)), moved, kept)
        y: Tensor = self.net(replace_first(x, interleave(joined)))
        return y

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        of_gate, before, means, inner = (None, None, None, None) if state is None else state
        gated, kept, of_gate = self.gate.step(x, of_gate)
        moved = torch.zeros_like(gated) if before is None else before
        now = pooled_pairs(moved, kept).unsqueeze(3)  # [N, 4, F / 2, 1]
        means = now.new_zeros(*now.shape[:3], TEMPORAL_SIZE - 1) if means is None else means
        means = torch.cat([means, now], dim=3)
        joined = joined_by(self.fusion(means)[..., 0], moved, kept)
        y, inner = step_through(self.net, replace_first(x, interleave(joined)), inner)
        return y, (of_gate, gated, means[..., 1:], inner)

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, channels={self.gate.channels}, causal={self.causal}"


class Fusion(nn.Module):
    """Weights from means: in each half a conv over three neighbouring channels and three frames, then a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * NUM_HALVES, NUM_HALVES, TEMPORAL_SIZE, padding=(1, 0), groups=NUM_HALVES)

    def forward(self, means: Tensor) -> Tensor:
        """Weights what has moved against what has stayed.

        Args:
            means: Of both, the first half's before the second's [N, 4, F / 2, T + 2].

        Returns:
            Weights of what has moved [N, F, T].
        """
        return torch.sigmoid(self.conv(means)).flatten(1, 2)


def pooled_pairs(moved: Tensor, kept: Tensor) -> Tensor:
    """Averages over pixels: twice [B, F, H, W] -> [B, 4, F / 2], of the first half moved, kept, then of the second."""
    means = torch.stack([moved.mean(dim=(2, 3)), kept.mean(dim=(2, 3))], dim=1)  # [B, 2, F]
    return means.unflatten(2, (NUM_HALVES, -1)).transpose(1, 2).flatten(1, 2)


def joined_by(weights: Tensor, moved: Tensor, kept: Tensor) -> Tensor:
    """Mixes two features [B, F, H, W] by the weights of the first [B, F]."""
    weights = weights.to(moved.dtype)[..., None, None]
    return weights * moved + (1.0 - weights) * kept
