"""STH-Conv, the hybrid convolution: some of its input channels get a temporal kernel, the others a spatial one.

STH: Spatio-Temporal Hybrid Convolution for Efficient Action Recognition, 2020, https://arxiv.org/abs/2003.08042

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride), G kernel types.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.hybrid import checked_conv, kernel_types, padding_of, temporal_mask

TEMPORAL_SIZE = 3
"""K_T, the frames that a temporal kernel spans (section 3.2: K_T = K_H = K_W = 3)."""

Way = Literal["masked", "plain"]
State = tuple[Tensor, Tensor | None, int]


class STHConv(TemporalLayer):
    """The hybrid arrangement: in kernel type g, slice g of the input channels is temporal and the rest spatial.

    Output channels are split in G = 1/fraction types, and type g's temporal slice starts at channel g * fraction * Ci
    (figures 2 and 3a). Two parts, each linear in x, are added (eq. 2) or weighted by attention (eq. 3). Spatial kernels
    are the replaced conv's own; temporal ones are drawn anew. Where the paper is silent, our reading: G is rounded
    up and the last slice goes round to the first channel when 1/fraction is no integer; slices are as equal as
    possible when channels do not divide; temporal kernels stride with the spatial ones and stand at their centre.

    Both ways to run share the parameters, one kernel a row: `masked` runs one dense k x k conv with zeros where the
    kernel is temporal, which is faster, and `plain` runs each type on its own channels, which has the paper's FLOPs.

    Args:
        conv: The conv to replace.
        num_frames: Frames T of a clip.
        fraction: Share p of the input channels that is temporal, in (0, 1/2].
        attention: Whether the two parts are weighted by `Attention`, or only added.
        causal: Whether temporal kernels see frames t-2, t-1, t (otherwise t-1, t, t+1), and attention the past only.

    Raises:
        ValueError: If conv is of a kind that has no hybrid, or fraction is out of range or below one channel.
    """

    temporal_places: Tensor
    spatial_places: Tensor

    def __init__(
        self,
        conv: nn.Module,
        *,
        num_frames: int,
        fraction: float = 0.25,
        attention: bool = True,
        causal: bool = False,
    ) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        conv = checked_conv(conv)
        self.in_channels, self.out_channels, self.fraction = conv.in_channels, conv.out_channels, fraction
        self.kernel_size, self.stride = conv.kernel_size, conv.stride
        self.padding, self.dilation = padding_of(conv), conv.dilation
        self.way: Way = "masked"
        weight = conv.weight.detach()
        mask = temporal_mask(self.out_channels, self.in_channels, fraction=fraction)
        for name, here in (("temporal_places", mask), ("spatial_places", ~mask)):
            self.register_buffer(name, here.flatten().nonzero()[:, 0].to(weight.device), persistent=False)
        self.spatial = nn.Parameter(weight.flatten(0, 1).index_select(0, self.spatial_places))  # [kernels, kH, kW]
        self.temporal = nn.Parameter(weight.new_empty(len(self.temporal_places), TEMPORAL_SIZE))  # [kernels, kT]
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())
        self.attention = Attention(self.out_channels).to(weight) if attention else None
        self._types = kernel_types(mask)
        self.reset_temporal()

    def reset_temporal(self) -> None:
        """Draws the temporal kernels anew, as He would for the inputs of the whole layer (our reading)."""
        fan_in = self.in_channels * (self.fraction * TEMPORAL_SIZE + (1 - self.fraction) * math.prod(self.kernel_size))
        nn.init.normal_(self.temporal, std=math.sqrt(2.0 / fan_in))

    def forward(self, x: Tensor) -> Tensor:
        """Convolves in time and space.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, Co, H', W'], the shape that the replaced conv would give.
        """
        temporal, spatial = self.parts(x)
        return self._join(temporal, spatial)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the two parts of eq. 2.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            The temporal part O_T and the spatial part O_S, both [N*T, Co, H', W'].
        """
        return self._temporal_part(self._taps(x)), self._spatial_part(x)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the weights of the two parts, for the figures of the supplement.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            alpha_T and alpha_S, both [N, Co]; in a causal layer those of the last frame.

        Raises:
            ValueError: If the layer has no attention.
        """
        if self.attention is None:
            raise ValueError("attention must be on for coefficients, got attention=False; the parts are only added")
        alpha_t, alpha_s = self._alphas(*self.parts(x))
        return alpha_t[:, -1], alpha_s[:, -1]

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"num_frames={self.num_frames}, fraction={self.fraction:.4g}, causal={self.causal}, way={self.way}"
        )

    def _step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        now = self._centres(x)
        if state is None:
            state = (now.new_zeros(now.shape[0], TEMPORAL_SIZE - 1, *now.shape[1:]), None, 0)
        past, sums, count = state
        frames = torch.cat([past, now.unsqueeze(1)], dim=1)  # [N, kT, Ci, H', W']
        temporal, spatial = self._temporal_part(frames.flatten(1, 2)), self._spatial_part(x)
        count += 1
        if self.attention is None:
            return self._add(temporal, spatial), (frames[:, 1:], None, count)
        means = torch.stack([_frame_means(temporal), _frame_means(spatial)])  # [2, N, Co]
        sums = means if sums is None else sums + means
        alpha_t, alpha_s = self.attention(*(sums / count))
        return self._add(_scale(temporal, alpha_t), _scale(spatial, alpha_s)), (frames[:, 1:], sums, count)

    def _join(self, temporal: Tensor, spatial: Tensor) -> Tensor:
        if self.attention is None:
            return self._add(temporal, spatial)
        alphas = (alpha.expand(-1, self.num_frames, -1) for alpha in self._alphas(temporal, spatial))
        alpha_t, alpha_s = (fold_time(alpha) for alpha in alphas)  # [N*T, Co]
        return self._add(_scale(temporal, alpha_t), _scale(spatial, alpha_s))

    def _add(self, temporal: Tensor, spatial: Tensor) -> Tensor:
        y = temporal + spatial
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)

    def _alphas(self, temporal: Tensor, spatial: Tensor) -> tuple[Tensor, Tensor]:
        """Returns alpha_T and alpha_S, [N, T, Co] in a causal layer and [N, 1, Co] otherwise."""
        assert self.attention is not None
        means = [unfold_time(_frame_means(part), self.num_frames) for part in (temporal, spatial)]  # [N, T, Co]
        if self.causal:
            count = torch.arange(1, self.num_frames + 1, device=means[0].device).view(-1, 1)
            means = [mean.cumsum(dim=1) / count for mean in means]
        else:
            means = [mean.mean(dim=1, keepdim=True) for mean in means]  # [N, 1, Co]
        return self.attention(*means)

    def _taps(self, x: Tensor) -> Tensor:
        """Gathers what the temporal kernels see, in the memory layout of x: [N*T, Ci, H, W] -> [N*T, kT*Ci, H', W']."""
        clips = unfold_time(self._centres(x), self.num_frames)  # [N, T, Ci, H', W']
        channels_last = x.is_contiguous(memory_format=torch.channels_last)
        clips = clips.movedim(2, 4) if channels_last else clips
        before = TEMPORAL_SIZE - 1 if self.causal else TEMPORAL_SIZE // 2
        padded = F.pad(clips, (0, 0, 0, 0, 0, 0, before, TEMPORAL_SIZE - 1 - before))
        taps = [padded[:, k : k + self.num_frames] for k in range(TEMPORAL_SIZE)]
        return fold_time(torch.cat(taps, dim=4).movedim(4, 2) if channels_last else torch.cat(taps, dim=2))

    def _centres(self, x: Tensor) -> Tensor:
        """Takes the pixels under the kernel's centre at each output position: [N, Ci, H, W] -> [N, Ci, H', W']."""
        (top, height), (left, width) = (
            (dilation * (size // 2) - padding, (length + 2 * padding - dilation * (size - 1) - 1) // stride + 1)
            for size, stride, padding, dilation, length in zip(
                self.kernel_size, self.stride, self.padding, self.dilation, x.shape[-2:], strict=True
            )
        )
        if top < 0 or left < 0:
            x = F.pad(x, (max(-left, 0), max(-left, 0), max(-top, 0), max(-top, 0)))
            top, left = max(top, 0), max(left, 0)
        return x[..., top :: self.stride[0], left :: self.stride[1]][..., :height, :width]

    def _temporal_part(self, taps: Tensor) -> Tensor:
        """Mixes frames: [N, kT*Ci, H', W'] -> [N, Co, H', W']."""
        if self.way == "masked":
            weight = self._dense(self.temporal, self.temporal_places).transpose(1, 2)  # [Co, kT, Ci]
            return F.conv2d(taps, weight.flatten(1)[..., None, None])
        parts = []
        for kind, rows in zip(self._types, self._split(self.temporal, temporal=True), strict=True):
            places = [k * self.in_channels + channel for k in range(TEMPORAL_SIZE) for channel in kind.temporal]
            parts.append(F.conv2d(_select(taps, places), rows.transpose(1, 2).flatten(1)[..., None, None]))
        return torch.cat(parts, dim=1)

    def _spatial_part(self, x: Tensor) -> Tensor:
        """Convolves each frame: [N, Ci, H, W] -> [N, Co, H', W']."""
        if self.way == "masked":
            return self._conv(x, self._dense(self.spatial, self.spatial_places))
        rows = self._split(self.spatial, temporal=False)
        parts = [self._conv(_select(x, kind.spatial), row) for kind, row in zip(self._types, rows, strict=True)]
        return torch.cat(parts, dim=1)

    def _conv(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding, dilation=self.dilation)

    def _dense(self, kernels: Tensor, places: Tensor) -> Tensor:
        """Puts the kernels where they belong among zeros: [kernels, ...] -> [Co, Ci, ...]."""
        zeros = kernels.new_zeros(self.out_channels * self.in_channels, *kernels.shape[1:])
        return zeros.index_copy(0, places, kernels).unflatten(0, (self.out_channels, self.in_channels))

    def _split(self, kernels: Tensor, *, temporal: bool) -> list[Tensor]:
        """Splits the kernels by type: [kernels, ...] -> [outputs of the type, channels of the type, ...]."""
        channels = [len(kind.temporal if temporal else kind.spatial) for kind in self._types]
        rows = kernels.split([kind.outputs * number for kind, number in zip(self._types, channels, strict=True)])
        return [row.unflatten(0, (-1, number)) for row, number in zip(rows, channels, strict=True)]


class Attention(nn.Module):
    """Weights the temporal and the spatial part, channel by channel (section 3.3, eq. 3).

    The paper draws this only in its figure 4; our reading: the two means, concatenated, go through C/4 hidden numbers
    to 2C scores, without biases, and a softmax over the two parts. That is C^2 weights a layer, what the paper's
    parameter counts ask for. Twice the softmax and zeros in the last layer make it start as eq. 2, the plain addition.

    Args:
        channels: Output channels C of the conv.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(2 * channels, max(channels // 4, 1), bias=False)
        self.expand = nn.Linear(max(channels // 4, 1), 2 * channels, bias=False)
        nn.init.zeros_(self.expand.weight)

    def forward(self, temporal: Tensor, spatial: Tensor) -> tuple[Tensor, Tensor]:
        """Turns means into weights.

        Args:
            temporal: Means of the temporal part [..., C].
            spatial: Means of the spatial part [..., C].

        Returns:
            alpha_T and alpha_S, both [..., C]; at each channel they add up to 2.
        """
        scores = self.expand(F.relu(self.reduce(torch.cat([temporal, spatial], dim=-1))))  # [..., 2*C]
        weights = 2.0 * scores.unflatten(-1, (2, -1)).softmax(dim=-2)  # [..., 2, C]
        alpha_t, alpha_s = weights.unbind(dim=-2)
        return alpha_t, alpha_s


def _select(x: Tensor, channels: Sequence[int]) -> Tensor:
    """Takes some channels of x [N, C, H, W]."""
    return x.index_select(1, torch.tensor(channels, device=x.device))


def _frame_means(x: Tensor) -> Tensor:
    """Averages each frame: [N, C, H, W] -> [N, C]."""
    return x.mean(dim=(2, 3))


def _scale(x: Tensor, alpha: Tensor) -> Tensor:
    """Multiplies x [N, C, H, W] by alpha [N, C], in the dtype of x."""
    return x * alpha.to(x.dtype)[..., None, None]
