"""TIN, temporal interlacing: groups of channels move along time by offsets that each clip learns for itself.

Temporal Interlacing Network, AAAI 2020, https://arxiv.org/abs/2001.06499

Shapes: N clips, T frames, C channels, F channels that move, G = 4 groups, H x W pixels.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_and_like, step_through
from kinema.layers.folded_conv3d import tap_offsets
from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.shift import shift_time

TEMPORAL_SIZE = 3
"""Frames that the nets' convs span."""
NUM_LEARNED = 2
"""Groups with an offset of their own; as many mirror them."""
NUM_GROUPS = 2 * NUM_LEARNED
"""G."""
REACH = 2
"""Frames that an offset may reach at most."""


class TemporalInterlace(TemporalLayer):
    """Stands before a block's first conv, which it keeps as `net`.

    The first C / num_divisions channels fall into four groups. From the means of the frames, `offset_net` gives the
    clip two offsets o in (-2, 2), and `weight_net` gives each frame two weights in (0, 2). Groups 1 and 2 take
    y_t = weight_t x_{t-o}, groups 3 and 4 the same with -o, so that each pair looks both ways. Between frames, x is
    linear; outside the clip it is zero. That is a sum over d = -2 .. 2 of max(0, 1 - |o - d|) x_{t-d}.

    The offset net has weights for T frames, so T cannot change. Parameters have the names and shapes of mmaction2's
    weights. Our reading: the channels that move are rounded down to a multiple of four, and are four at least.
    The causal form, which the paper does not have: at each frame the offset net sees the T means up to it (zeros before
    the first one), convs see t-2, t-1, t, and offsets are 1 + o/2 and 1 - o/2, in (0, 2): each pair looks back, to both
    sides of the frame before.

    Args:
        net: The conv in front of which channels move.
        num_frames: Frames T of a clip.
        num_divisions: One in this many channels moves.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If net does not say how many channels it takes or takes less than four, or num_divisions is below 1.
    """

    any_length = False

    def __init__(self, net: nn.Module, *, num_frames: int, num_divisions: int = 4, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        channels, weight = channels_and_like(net, site="entry")
        if num_divisions < 1:
            raise ValueError(
                f"num_divisions must be at least 1, got {num_divisions}; 4 moves a quarter of the channels"
            )
        if channels < NUM_GROUPS:
            raise ValueError(f"net must take at least {NUM_GROUPS} channels, got {channels}; take another site")
        self.net, self.num_divisions = net, num_divisions
        self.channels = max(channels // num_divisions // NUM_GROUPS, 1) * NUM_GROUPS
        self.offset_net = OffsetNet(self.channels, num_frames).to(weight)
        self.weight_net = WeightNet(self.channels).to(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Moves channels, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        clips = unfold_time(x[:, : self.channels], self.num_frames)  # [N, T, F, H, W]
        margins = (self._num_before, 0 if self.causal else TEMPORAL_SIZE // 2)
        kernels = self._kernels(F.pad(clips.mean(dim=(3, 4)).transpose(1, 2), margins)).to(x.dtype)
        taps = zip(kernels.unbind(2), self._offsets, strict=True)
        moved = [kernel * shift_time(clips, offset) for kernel, offset in taps if abs(offset) < self.num_frames]
        y: Tensor = self.net(torch.cat([fold_time(reduce(add, moved)), x[:, self.channels :]], dim=1))
        return y

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        now, rest = x[:, : self.channels], x[:, self.channels :]
        mean = now.mean(dim=(2, 3)).unsqueeze(2)  # [N, F, 1]
        if state is None:
            frames = now.new_zeros(len(now), REACH, *now.shape[1:])
            state = (mean.new_zeros(*mean.shape[:2], self._num_before), frames, None)
        means, frames, inner = state
        means, frames = torch.cat([means, mean], dim=2), torch.cat([frames, now.unsqueeze(1)], dim=1)
        moved = (self._kernels(means)[:, 0].to(x.dtype) * frames).sum(dim=1)
        y, inner = step_through(self.net, torch.cat([moved, rest], dim=1), inner)
        return y, (means[..., 1:], frames[:, 1:], inner)

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, num_divisions={self.num_divisions}, causal={self.causal}"

    @property
    def _offsets(self) -> range:
        """Frames that are summed, counted from the output's own."""
        return tap_offsets(REACH + 1 if self.causal else 2 * REACH + 1, causal=self.causal)

    @property
    def _num_before(self) -> int:
        """Means of zero before a clip, which the nets see."""
        return self.num_frames - 1 + TEMPORAL_SIZE - 1 if self.causal else TEMPORAL_SIZE // 2

    def _kernels(self, means: Tensor) -> Tensor:
        """Gives the weights of the frames that are summed, K of them, from means with their margins [N, F, T'].

        Returns:
            Weights [N, T, K, F, 1, 1]; of a causal layer, for those frames only that have all their means.
        """
        offsets = self.offset_net(means)  # [N, T or 1, 2]
        offsets = torch.cat([offsets, -offsets], dim=2)  # [N, T or 1, G]
        if self.causal:
            offsets, means = 1.0 + offsets / REACH, means[..., self.num_frames - 1 :]
        weights = self.weight_net(means).repeat(1, 1, 2)  # [N, T, G]
        kernels = [(1.0 - (offsets + tap).abs()).clamp(min=0.0) * weights for tap in self._offsets]
        return torch.stack(kernels, dim=2).repeat_interleave(self.channels // NUM_GROUPS, dim=3)[..., None, None]


class OffsetNet(nn.Module):
    """Gives two offsets from the means of T frames; where all but its last bias is zero, they are 0.5.

    Args:
        channels: Channels F.
        num_frames: Frames T.
    """

    def __init__(self, channels: int, num_frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, 1, TEMPORAL_SIZE)
        self.fc1 = nn.Linear(num_frames, num_frames)
        self.fc2 = nn.Linear(num_frames, NUM_LEARNED)
        nn.init.constant_(self.fc2.bias, 0.5108)

    def forward(self, means: Tensor) -> Tensor:
        """Looks at every T frames in a row.

        Args:
            means: Means, with what the conv needs before and after [N, F, T'].

        Returns:
            Offsets in (-2, 2) [N, T' - T - 1, 2].
        """
        rows = self.conv(means).squeeze(1).unfold(1, self.fc1.in_features, 1)  # [N, T' - T - 1, T]
        return 2.0 * REACH * (torch.sigmoid(self.fc2(F.relu(self.fc1(rows)))) - 0.5)


class WeightNet(nn.Module):
    """Gives each frame two weights, near one at the start.

    Args:
        channels: Channels F.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, NUM_LEARNED, TEMPORAL_SIZE)
        nn.init.zeros_(self.conv.get_parameter("bias"))

    def forward(self, means: Tensor) -> Tensor:
        """Looks at every three frames in a row.

        Args:
            means: Means, with what the conv needs before and after [N, F, T'].

        Returns:
            Weights in (0, 2) [N, T' - 2, 2].
        """
        return 2.0 * torch.sigmoid(self.conv(means)).transpose(1, 2)
