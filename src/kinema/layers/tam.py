"""TAM, the temporal adaptive module: every clip and channel gets a kernel over time of its own.

TAM: Temporal Adaptive Module for Video Recognition, ICCV 2021, https://arxiv.org/abs/2005.06803

Shapes: N clips, T frames, C channels, H x W pixels, K = 3 taps over time.
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
"""K, the frames that a kernel spans."""


class TemporalAdaptive(TemporalLayer):
    """Stands before a block's k x k conv, which it keeps as `net`.

    From the means of the frames, a local branch weights every frame and channel, and a global one turns the T means of
    each channel into its kernel over time: y = net(kernel * (weight x)). `G` and `L` have the names and shapes of the
    official weights.

    The global branch has weights for T frames, so T cannot change. Our reading of a causal form, which the paper does
    not have: at each frame the global branch sees the means of the T frames up to it (zeros before the first one), so
    that the kernel changes from frame to frame, and kernels and local branch see t-2, t-1, t.

    Args:
        net: The conv in front of which features are adapted.
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If net does not say how many channels it takes.
    """

    any_length = False

    def __init__(self, net: nn.Module, *, num_frames: int, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        channels, weight = channels_and_like(net, site="spatial")
        hidden = max(channels // 4, 1)
        self.net = net
        self.G = nn.Sequential(
            nn.Linear(num_frames, 2 * num_frames, bias=False),
            nn.BatchNorm1d(2 * num_frames),
            nn.ReLU(),
            nn.Linear(2 * num_frames, TEMPORAL_SIZE, bias=False),
            nn.Softmax(dim=-1),
        ).to(weight)
        self.L = nn.Sequential(
            nn.Conv1d(channels, hidden, TEMPORAL_SIZE, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Conv1d(hidden, channels, 1, bias=False),
            nn.Sigmoid(),
        ).to(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Adapts, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        means = unfold_time(x.mean(dim=(2, 3)), self.num_frames)  # [N, T, C]
        kernels = self._kernels(means).to(x.dtype)[..., None, None]  # [N, T or 1, K, C, 1, 1]
        offsets = tap_offsets(TEMPORAL_SIZE, causal=self.causal)
        before, after = -offsets[0], offsets[-1]
        weights = self.L(F.pad(means.transpose(1, 2), (before, after))).transpose(1, 2)  # [N, T, C]
        clips = unfold_time(x, self.num_frames) * weights.to(x.dtype)[..., None, None]  # [N, T, C, H, W]
        taps = [kernels[:, :, k] * shift_time(clips, offset) for k, offset in enumerate(offsets)]
        y: Tensor = self.net(fold_time(reduce(add, taps)))
        return y

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        mean = x.mean(dim=(2, 3))  # [N, C]
        if state is None:
            past = max(self.num_frames, TEMPORAL_SIZE) - 1
            frames = x.new_zeros(len(x), TEMPORAL_SIZE - 1, *x.shape[1:])
            state = (mean.new_zeros(len(x), past, x.shape[1]), frames, None)
        means, frames, inner = state
        means = torch.cat([means, mean.unsqueeze(1)], dim=1)
        kernels = self.G(means[:, -self.num_frames :].transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), -1))
        weight = self.L(means[:, -TEMPORAL_SIZE:].transpose(1, 2))  # [N, C, 1]
        frames = torch.cat([frames, (x * weight.to(x.dtype).unsqueeze(-1)).unsqueeze(1)], dim=1)  # [N, K, C, H, W]
        adapted = (kernels.transpose(1, 2).to(x.dtype)[..., None, None] * frames).sum(dim=1)
        y, inner = step_through(self.net, adapted, inner)
        return y, (means[:, 1:], frames[:, 1:], inner)

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"

    def _kernels(self, means: Tensor) -> Tensor:
        """Runs the global branch: [N, T, C] -> [N, 1, K, C], in a causal layer [N, T, K, C]."""
        rows = means.transpose(1, 2)  # [N, C, T]
        if self.causal:
            rows = F.pad(rows, (self.num_frames - 1, 0))
        rows = rows.unfold(2, self.num_frames, 1)  # [N, C, 1, T], in a causal layer [N, C, T, T]
        kernels = self.G(rows.flatten(0, 2))  # [N*C or N*C*T, K]
        return kernels.unflatten(0, rows.shape[:3]).movedim(1, 3)
