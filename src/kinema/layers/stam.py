"""STAM: a conv whose weights are calibrated frame by frame (STHAC), and an aggregation of its output along each axis.

STAM: a spatio-temporal adaptive module for improving static convolutions in action recognition, The Visual Computer
2023, https://doi.org/10.1007/s00371-023-03165-6

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride), M calibration
filters, D hidden channels.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.conv_window import ConvWindow, checked_conv
from kinema.layers.depthwise import conv_over_time, newest_over_time
from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.plain_norm import Norm, plain_batch_norm, zero_norm_like
from kinema.layers.stam_attention import PYRAMID, SpatialBranch, TemporalBranch

AXIS_SIZE = 3
"""Neighbours along each axis that the aggregation sees."""
AXES = ("time", "height", "width")
MIN_WIDTH = 8
"""Hidden channels that the attention branches have at least: a layer norm of very few leaves nothing but signs."""

Calibration = Literal["channel", "kernel"]


class State(NamedTuple):
    """What a causal layer keeps of the frames before."""

    attention: tuple[Tensor, Tensor] | None
    """Of the temporal branch."""
    outputs: Tensor | None
    """Outputs of the calibrated conv at t-2 and t-1 [N, 2, Co, H', W']; None without aggregation."""


class STAMConv(TemporalLayer):
    """Replaces a conv and its batch norm: at frame t the conv's weights are W_t = A_t W, and neighbours are added.

    The paper is closed and has no code. Its abstract says: N filters, mixed by two light attention branches, one
    temporal and long-range, one spatial and multi-scale, calibrate each frame's static weights; an omni-dimensional
    aggregation is added. All else is our reading, on the lines of TAdaConv: A_t = 1 + sum_m pi_t[m] F[m], with filters
    F that start at zero and shares pi_t, a softmax over the sum of the two branches' scores; and the layer gives
    BN(y) + sum over the axes of BN_axis(dw_axis(y)), the second batch norms starting at zero. It thus starts as the 2D
    network, to the last bit.

    Args:
        conv: The conv to replace; it keeps its groups.
        norm: The batch norm behind it.
        num_frames: Frames T of a clip.
        num_filters: Calibration filters M.
        calibration: What a filter has a number for: each input channel ("channel"), which costs one scaling of the
            input, or each input channel and pixel of the kernel ("kernel"), which costs a second conv.
        reduction: How many times fewer channels the attention branches work on.
        temperature: What the scores are divided by before the softmax.
        aggregation: Whether the omni-dimensional aggregation is added.
        causal: Whether all taps in time reach back only; nothing else looks along time.

    Raises:
        ValueError: If conv is no plain zero-padded Conv2d, norm no batch norm, or an option is out of range.
    """

    def __init__(
        self,
        conv: nn.Module,
        norm: nn.Module,
        *,
        num_frames: int,
        num_filters: int = 4,
        calibration: Calibration = "channel",
        reduction: int = 4,
        temperature: float = 1.0,
        aggregation: bool = True,
        causal: bool = False,
    ) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        self.conv = conv = checked_conv(conv)
        self.norm = plain_batch_norm(norm, channels=conv.out_channels)
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        _check_options(num_filters, calibration, reduction, temperature)
        self.temperature = temperature
        self.window = ConvWindow.of(self.conv)
        weight, channels = self.conv.weight, self.conv.in_channels
        shape = (channels, *self.conv.kernel_size) if calibration == "kernel" else (channels,)
        self.filters = nn.Parameter(weight.new_zeros(num_filters, *shape))  # [M, Ci] or [M, Ci, kH, kW]
        width = max(channels // reduction, MIN_WIDTH)
        self.temporal = TemporalBranch(channels, width, num_filters, causal=causal).to(weight)
        self.spatial = SpatialBranch(channels, width, num_filters).to(weight)
        self.aggregation = OmniAggregation(self.norm, causal=causal).to(weight) if aggregation else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolves each frame with its own weights, normalizes, and adds neighbours along each axis.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, Co, H', W'], what the conv and its batch norm would give.
        """
        y = self._convolve(x, self.shares(x))
        z = self.norm(y)
        return z if self.aggregation is None else z + self.aggregation(y, num_frames=self.num_frames)

    def shares(self, x: Tensor) -> Tensor:
        """Gives the share of each calibration filter.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            pi, which adds up to 1 at each frame [N*T, M].
        """
        pyramid = pool_pyramid(x)  # [N*T, Ci, bins]
        means = unfold_time(pyramid[..., 0], self.num_frames)  # [N, T, Ci]
        return self._softmax(fold_time(self.temporal(means)) + self.spatial(pyramid))

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return (
            f"num_frames={self.num_frames}, num_filters={len(self.filters)}, temperature={self.temperature}, "
            f"causal={self.causal}"
        )

    def _step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        pyramid = pool_pyramid(x)
        scores, attention = self.temporal.step(pyramid[..., 0], None if state is None else state.attention)
        y = self._convolve(x, self._softmax(scores + self.spatial(pyramid)))
        z = self.norm(y)
        if self.aggregation is None:
            return z, State(attention, None)
        past = y.new_zeros(y.shape[0], AXIS_SIZE - 1, *y.shape[1:]) if state is None else state.outputs
        assert past is not None
        frames = torch.cat([past, y.unsqueeze(1)], dim=1)  # [N, 3, Co, H', W']
        return z + self.aggregation.step(frames), State(attention, frames[:, 1:])

    def _softmax(self, scores: Tensor) -> Tensor:
        return (scores / self.temperature).softmax(dim=-1)

    def _convolve(self, x: Tensor, shares: Tensor) -> Tensor:
        """Convolves x [B, Ci, H, W] with the weights that the shares [B, M] make: [B, Co, H', W']."""
        change = shares.to(self.filters.dtype) @ self.filters.flatten(1)  # A - 1: [B, Ci] or [B, Ci*kH*kW]
        if self.filters.ndim == 2:  # W (A x) = (A W) x
            return self.conv(x * (1.0 + change).to(x.dtype)[..., None, None])
        return self.conv(x) + self._change_of_output(x, change.to(x.dtype))

    def _change_of_output(self, x: Tensor, change: Tensor) -> Tensor:
        """Convolves with the weights' change alone, as a 1 x 1 conv of all pixels under the kernel.

        It has the static conv's multiply-adds, where mixing M convs would have M times as many, and is a standard
        operation for any batch, where a conv with a group a frame is not.
        """
        window = self.window
        pixels = F.unfold(x, window.kernel_size, window.dilation, window.padding, window.stride)  # [B, Ci*kH*kW, H'*W']
        weight = self.conv.weight.flatten(1)[..., None]  # [Co, Ci/groups*kH*kW, 1]
        y = F.conv1d(pixels * change[..., None], weight, groups=self.conv.groups)
        return y.unflatten(-1, window.output_size(x.shape[-2:]))


class OmniAggregation(nn.Module):
    """Sums the neighbours along time, height and width, each axis with its own depthwise taps and batch norm.

    Our reading: TAdaConv's pooled branch on all three axes. Taps start as an average, the batch norms at zero.

    Args:
        norm: The batch norm beside which it stands.
        causal: Whether the taps in time reach back only.
    """

    def __init__(self, norm: Norm, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        channels = norm.num_features
        self.taps = nn.ParameterDict(
            {axis: nn.Parameter(torch.full((channels, AXIS_SIZE), 1.0 / AXIS_SIZE)) for axis in AXES}
        )
        self.norms = nn.ModuleDict({axis: zero_norm_like(norm) for axis in AXES})

    def forward(self, y: Tensor, *, num_frames: int) -> Tensor:
        """Aggregates frames [N*T, Co, H', W']; the result has the same shape."""
        return self._sum(y, conv_over_time(y, self.taps["time"], num_frames=num_frames, causal=self.causal))

    def step(self, frames: Tensor) -> Tensor:
        """Aggregates at the newest of three frames [N, 3, Co, H', W']: [N, Co, H', W']."""
        return self._sum(frames[:, -1], newest_over_time(frames, self.taps["time"]))

    def _sum(self, y: Tensor, along_time: Tensor) -> Tensor:
        channels, half = y.shape[1], AXIS_SIZE // 2
        height, width = self.taps["height"].view(channels, 1, -1, 1), self.taps["width"].view(channels, 1, 1, -1)
        along_height = F.conv2d(y, height, padding=(half, 0), groups=channels)
        along_width = F.conv2d(y, width, padding=(0, half), groups=channels)
        return self.norms["time"](along_time) + self.norms["height"](along_height) + self.norms["width"](along_width)


def pool_pyramid(x: Tensor) -> Tensor:
    """Averages frames over grids of 1 x 1, 2 x 2 and 4 x 4 bins: [B, C, H, W] -> [B, C, 21]; the first is the mean."""
    return torch.cat([F.adaptive_avg_pool2d(x, size).flatten(2) for size in PYRAMID], dim=-1)


def _check_options(num_filters: int, calibration: str, reduction: int, temperature: float) -> None:
    if num_filters < 1:
        raise ValueError(f"num_filters must be at least 1, got {num_filters}; 4 is the default")
    if calibration not in get_args(Calibration):
        raise ValueError(f"calibration must be channel or kernel, got {calibration!r}; channel costs less")
    if reduction < 1:
        raise ValueError(f"reduction must be at least 1, got {reduction}; 4 is the default")
    if not temperature > 0.0:
        raise ValueError(f"temperature must lie above 0, got {temperature}; 1 is the default")
