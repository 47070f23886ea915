"""TAdaConv, the temporally-adaptive convolution: every frame calibrates the kernels that it is convolved with.

TAda! Temporally-Adaptive Convolutions for Video Understanding, ICLR 2022, https://arxiv.org/abs/2110.06178

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride).
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.conv_window import kept_conv
from kinema.layers.folded_conv3d import tap_offsets
from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.past_means import check_horizon, next_mean, past_means
from kinema.layers.plain_norm import plain_batch_norm, zero_norm_like
from kinema.layers.shift import shift_time

TEMPORAL_SIZE = 3
"""Frames that the route's convs and the average pool span."""


class TAdaConv(TemporalLayer):
    """A conv whose kernels are weighted per frame and input channel, and its batch norm with a second one beside it.

    With alpha from `Route`, the kernels of frame t are W alpha_t, and y_t = (W alpha_t) x_t = W (alpha_t x_t): scaling
    the input is the same. Then norm(y) + pool_norm(average of y over three frames), as in the official code:
    what lies outside the clip counts as zero. alpha starts at one and pool_norm at zero: the layer starts as the conv
    and its norm, to the last bit.

    Our reading of a causal form, which the paper does not have: the global descriptor averages the frames up to this
    one, and convs over time and the pool see t-2, t-1, t.

    Args:
        conv: The conv, kept as `conv`.
        norm: Its batch norm, kept as `norm`.
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.
        reduction: Input channels to one hidden channel of the route.
        horizon: How many frames the global descriptor of a causal layer averages, this one included; by default T.

    Raises:
        ValueError: If conv or norm is of another kind, they do not belong together, or an option is out of range.
    """

    def __init__(
        self,
        conv: nn.Module,
        norm: nn.Module,
        *,
        num_frames: int,
        causal: bool = False,
        reduction: int = 4,
        horizon: int | None = None,
    ) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        conv = kept_conv(conv)
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction}; 4 is the paper's")
        check_horizon(horizon, causal=causal)
        self.conv, self.norm, self.horizon = conv, plain_batch_norm(norm, channels=conv.out_channels), horizon
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.route = Route(conv.in_channels, max(conv.in_channels // reduction, 1)).to(conv.weight)
        self.pool_norm = zero_norm_like(self.norm).to(conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves and normalizes.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, Co, H', W'], what norm(conv(x)) would give in shape; no activation.
        """
        means = unfold_time(x.mean(dim=(2, 3)), self.num_frames)
        alpha = fold_time(self.route(means, horizon=self._horizon))  # [N*T, Ci]
        y = self.conv(x * alpha.to(x.dtype)[..., None, None])  # [N*T, Co, H', W']
        clips = unfold_time(y, self.num_frames)
        offsets = tap_offsets(TEMPORAL_SIZE, causal=self.causal)
        pooled = reduce(add, [shift_time(clips, offset) for offset in offsets]) / TEMPORAL_SIZE
        return self.norm(y) + self.pool_norm(fold_time(pooled))

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        inner, past = (None, None) if state is None else state
        alpha, inner = self.route.step(x.mean(dim=(2, 3)), inner, horizon=self.horizon or self.num_frames)
        y = self.conv(x * alpha.to(x.dtype)[..., None, None])
        past = y.new_zeros(len(y), TEMPORAL_SIZE - 1, *y.shape[1:]) if past is None else past
        frames = torch.cat([past, y.unsqueeze(1)], dim=1)  # [N, 3, Co, H', W']
        return self.norm(y) + self.pool_norm(frames.sum(dim=1) / TEMPORAL_SIZE), (inner, frames[:, 1:])

    @property
    def _horizon(self) -> int | None:
        """Frames that are averaged; None where whole clips are."""
        return (self.horizon or self.num_frames) if self.causal else None

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"


class Route(nn.Module):
    """Turns the means of a clip's frames into the calibration alpha; it starts at one everywhere.

    Args:
        channels: Channels Ci.
        hidden: Hidden channels.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.describe = nn.Linear(channels, channels)
        self.reduce = nn.Conv1d(channels, hidden, TEMPORAL_SIZE)
        self.norm = nn.BatchNorm1d(hidden)
        self.expand = nn.Conv1d(hidden, channels, TEMPORAL_SIZE, bias=False)
        nn.init.zeros_(self.expand.weight)

    def forward(self, means: Tensor, *, horizon: int | None) -> Tensor:
        """Calibrates whole clips.

        Args:
            means: Means of each frame [N, T, Ci].
            horizon: Frames up to each one that the global descriptor averages, and no frame sees a later one; None: it
                averages whole clips.

        Returns:
            alpha [N, T, Ci].
        """
        if horizon is None:
            clip_means = means.mean(dim=1, keepdim=True)  # [N, 1, Ci]
        else:
            clip_means = past_means(means, horizon=horizon).to(means.dtype)  # [N, T, Ci]
        offsets = tap_offsets(TEMPORAL_SIZE, causal=horizon is not None)
        margins = (-offsets[0], offsets[-1])
        rows = (means + self.describe(clip_means)).transpose(1, 2)  # [N, Ci, T]
        hidden = F.relu(self.norm(self.reduce(F.pad(rows, margins))))  # [N, hidden, T]
        alpha: Tensor = self.expand(F.pad(hidden, margins)) + 1.0
        return alpha.transpose(1, 2)

    def step(self, mean: Tensor, state: Any | None, *, horizon: int) -> tuple[Tensor, Any]:  # noqa: ANN401
        """Calibrates one more frame, as the causal `forward` does whole clips.

        Args:
            mean: Means of the next frame [N, Ci].
            state: What the last call returned; None at the first frame.
            horizon: Frames up to this one that the global descriptor averages.

        Returns:
            alpha [N, Ci], and the next state.
        """
        past = TEMPORAL_SIZE - 1
        if state is None:
            hidden_before = mean.new_zeros(len(mean), self.reduce.out_channels, past)
            state = (None, mean.new_zeros(*mean.shape, past), hidden_before)
        means, rows, hidden = state
        clip_mean, means = next_mean(mean, means, horizon=horizon)
        rows = torch.cat([rows, (mean + self.describe(clip_mean.to(mean.dtype))).unsqueeze(2)], dim=2)  # [N, Ci, 3]
        hidden = torch.cat([hidden, F.relu(self.norm(self.reduce(rows)))], dim=2)  # [N, hidden, 3]
        alpha = self.expand(hidden)[..., 0] + 1.0
        return alpha, (means, rows[..., 1:], hidden[..., 1:])
