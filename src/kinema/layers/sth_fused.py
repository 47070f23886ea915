"""The fused way to run an STH-Conv: one dense conv, into whose output the temporal kernels' products are added.

Both parts are linear in x, so that the means which attention asks for follow from sums of x over the pixels that each
tap visits, before either part exists. The weights are then known in advance: the spatial part is scaled where it lies,
and temporal kernels, scaled clip by clip, add their matrix products in place, a frame's shift being an offset in
memory. For the backward pass only x and the output are kept, which the network around keeps anyhow.

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride), kT taps in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from kinema.layers.conv_window import ConvWindow
from kinema.layers.folding import unfold_time
from kinema.layers.hybrid import Piece
from kinema.layers.sth_attention import Attention


@dataclass(frozen=True, kw_only=True)
class FusedHybrid:
    """What the fused way has to know of a layer, which has no conv groups."""

    window: ConvWindow
    pieces: tuple[Piece, ...]
    """The convs through time."""
    temporal_places: Tensor
    """Where the temporal kernels stand among all Co * Ci."""
    spatial_places: Tensor
    """Where the spatial kernels stand among all Co * Ci."""
    offsets: tuple[int, ...]
    """How many frames ahead each tap looks."""
    num_frames: int

    def moves(self, num_rows: int, *, but: int | None) -> Iterator[tuple[int, slice, slice]]:
        """Yields each tap that meets a frame, with the rows that it writes and those it reads, of T * H' * W'."""
        for tap, offset in enumerate(self.offsets):
            shift = abs(offset) * (num_rows // self.num_frames)
            if shift < num_rows and offset != but:
                early, late = slice(0, num_rows - shift), slice(shift, num_rows)
                yield tap, *((early, late) if offset >= 0 else (late, early))

    def frames_read(self, like: Tensor) -> Tensor:
        """Tells which frames each tap reads, as ones among zeros [kT, T]."""
        frames = range(self.num_frames)
        table = [[float(0 <= t - offset < self.num_frames) for t in frames] for offset in self.offsets]
        return torch.tensor(table, dtype=like.dtype, device=like.device)


def run_fused(x: Tensor, spatial: Tensor, temporal: Tensor, plan: FusedHybrid, attention: Attention | None) -> Tensor:
    """Runs both parts and joins them.

    Args:
        x: Frames [N*T, Ci, H, W]; fast when channels last.
        spatial: Spatial kernels [kernels, kH, kW].
        temporal: Temporal kernels [kernels, kT].
        plan: What to do with them.
        attention: What weighs the parts; without it they are added.

    Returns:
        Frames [N*T, Co, H', W'], channels last.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, spatial, temporal = x.to(dtype), spatial.to(dtype), temporal.to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device, enabled=False):
        log_alphas = None
        if attention is None:
            weight = _dense(spatial, _this_frame(temporal, plan), plan, in_channels=x.shape[1])
        else:
            weight = _dense(spatial, None, plan, in_channels=x.shape[1])
            x, total, frames = _Sums.apply(x, plan)
            means = _means(total, frames, weight, temporal, plan)
            log_alphas = attention.log_weights(*(mean.to(attention.reduce.weight.dtype) for mean in means))
        y: Tensor = _Fused.apply(x, weight, temporal, log_alphas, plan)
    return y


def _dense(spatial: Tensor, this_frame: Tensor | None, plan: FusedHybrid, *, in_channels: int) -> Tensor:
    """Makes the weight of the dense conv [Co, Ci, kH, kW], zero at temporal kernels but for their tap at this frame."""
    num_kernels = len(plan.spatial_places) + len(plan.temporal_places)
    weight = spatial.new_zeros(num_kernels, *spatial.shape[1:]).index_copy(0, plan.spatial_places, spatial)
    if this_frame is not None:
        (height, width), (top, left) = plan.window.kernel_size, plan.window.centre
        centred = F.pad(this_frame[:, None, None], (left, width - 1 - left, top, height - 1 - top))
        weight = weight.index_copy(0, plan.temporal_places, centred)
    return weight.unflatten(0, (-1, in_channels))


def _this_frame(temporal: Tensor, plan: FusedHybrid) -> Tensor:
    """Returns the temporal kernels' tap that reads the frame at hand [kernels]."""
    return temporal[:, plan.offsets.index(0)]


def _means(total: Tensor, frames: Tensor, weight: Tensor, temporal: Tensor, plan: FusedHybrid) -> tuple[Tensor, Tensor]:
    """Returns the means over T, H', W' of the temporal and the spatial part [N, Co], without making the parts.

    Args:
        total: Sums over the frames of each clip [N, H, W, Ci].
        frames: Sums over the centres of each frame [N*T, Ci].
        weight: Weight of the dense conv [Co, Ci, kH, kW].
        temporal: Temporal kernels [kernels, kT].
        plan: What to do with them.
    """
    height, width = plan.window.output_size(total.shape[1:3])
    count = plan.num_frames * height * width
    rows, columns = plan.window.visits(total.movedim(-1, 1))
    along_rows = (rows @ total.flatten(2)).unflatten(2, total.shape[2:])  # [N, kH, W, Ci]
    visited = (columns @ along_rows).permute(0, 3, 1, 2)  # [N, Ci, kH, kW]
    spatial_mean = visited.flatten(1) @ weight.to(total.dtype).flatten(1).mT / count
    clips = unfold_time(frames, plan.num_frames)  # [N, T, Ci]
    read = plan.frames_read(clips) @ clips  # [N, kT, Ci]
    sums = [
        torch.einsum("nki,oik->no", _channels(read, piece.inputs), piece.weight(temporal).to(total.dtype))
        for piece in plan.pieces
    ]
    return torch.cat(sums, dim=1) / count, spatial_mean


class _Sums(torch.autograd.Function):
    """Sums x over the frames of a clip and over the centres of a frame; gives x too, to be used instead of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: FusedHybrid) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401 (torch's)
        ctx.plan = plan
        dtype = torch.promote_types(x.dtype, torch.float32)
        clips = unfold_time(x.permute(0, 2, 3, 1), plan.num_frames)  # [N, T, H, W, Ci], as it lies in memory
        total = clips.flatten(2).sum(dim=1, dtype=dtype).view(-1, *clips.shape[2:])
        frames = plan.window.centres(x).sum(dim=2, dtype=dtype).sum(dim=2)
        return x.view_as(x), total, frames

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_total: Tensor, grad_frames: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        # Only _Fused uses the x that was given, and its gradient is new memory: it may be added to.
        clips = unfold_time(grad.permute(0, 2, 3, 1), ctx.plan.num_frames)
        clips += grad_total.to(grad.dtype)[:, None]
        ctx.plan.window.centres(grad).add_(grad_frames.to(grad.dtype)[..., None, None])
        return grad, None


class _Fused(torch.autograd.Function):
    """The conv, its scaling and the products through time; takes the logarithms of alpha_T and alpha_S [N, 2, Co].

    With y = alpha_T * O_T + alpha_S * O_S, the gradient along log alpha_T is the sum of grad * alpha_T * O_T, which the
    gradients of the scaled temporal kernels give, and that along log alpha_S is what is left of the sum of grad * y.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch's context)
        x: Tensor,
        weight: Tensor,
        temporal: Tensor,
        log_alphas: Tensor | None,
        plan: FusedHybrid,
    ) -> Tensor:
        y = plan.window.conv(x, weight).contiguous(memory_format=torch.channels_last)
        rows, x_rows = _rows(y, plan), _rows(plan.window.centres(x), plan)
        if log_alphas is not None:
            rows.mul_(log_alphas[:, 1:].exp().to(y.dtype))
        for piece in plan.pieces:
            mixed, seen = _channels(rows, piece.outputs), _channels(x_rows, piece.inputs)
            scaled = _scaled_kernels(piece, temporal, log_alphas)
            for tap, write, read in plan.moves(rows.shape[1], but=0 if log_alphas is None else None):
                _add_product(mixed[:, write], seen[:, read], scaled[..., tap].mT)
        ctx.plan = plan
        ctx.save_for_backward(x, weight, temporal, log_alphas, None if log_alphas is None else y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        plan: FusedHybrid = ctx.plan
        x, weight, temporal, log_alphas, y = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        rows = _rows(grad, plan)
        scaled = grad
        if log_alphas is not None:
            scaled = torch.empty_like(grad)
            torch.mul(rows, log_alphas[:, 1:].exp().to(grad.dtype), out=_rows(scaled, plan))
        grad_x, grad_weight = _conv_backward(scaled, x, weight, plan.window)
        del scaled
        grad_temporal, along_t = _time_backward(grad_x, rows, x, temporal, log_alphas, plan)
        grad_logs = None
        if log_alphas is not None:
            along_y = (rows * _rows(y, plan)).sum(dim=1, dtype=along_t.dtype)
            grad_logs = torch.stack([along_t, along_y - along_t], dim=1).to(log_alphas.dtype)
        return grad_x, grad_weight, grad_temporal, grad_logs, None


def _conv_backward(grad: Tensor, x: Tensor, weight: Tensor, window: ConvWindow) -> tuple[Tensor, Tensor]:
    """Returns the gradients of a conv's input and weight."""
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, window.stride, window.padding, window.dilation, False, [0, 0], 1, [True, True, False]
    )
    return grad_x.contiguous(memory_format=torch.channels_last), grad_weight


def _time_backward(
    grad_x: Tensor, rows: Tensor, x: Tensor, temporal: Tensor, log_alphas: Tensor | None, plan: FusedHybrid
) -> tuple[Tensor, Tensor]:
    """Adds to the gradient of x what comes through time.

    Returns:
        The gradients of the temporal kernels, and along log alpha_T [N, Co].
    """
    centres, x_rows = plan.window.centres(grad_x), _rows(plan.window.centres(x), plan)
    everywhere = centres.shape == grad_x.shape
    grad_rows = _rows(grad_x, plan) if everywhere else torch.zeros_like(x_rows)
    grad_kernels, along = [], []
    for piece in plan.pieces:
        own, seen, grad_seen = (
            _channels(tensor, channels)
            for tensor, channels in ((rows, piece.outputs), (x_rows, piece.inputs), (grad_rows, piece.inputs))
        )
        scaled = _scaled_kernels(piece, temporal, log_alphas).expand(len(rows), -1, -1, -1)
        grad_scaled = torch.zeros_like(scaled)  # [N, outputs, inputs, kT]
        for tap, write, read in plan.moves(rows.shape[1], but=0 if log_alphas is None else None):
            _add_product(grad_seen[:, read], own[:, write], scaled[..., tap])
            grad_scaled[..., tap] = own[:, write].mT @ seen[:, read]
        if not _run_together(piece.inputs):
            grad_rows[..., list(piece.inputs)] = grad_seen
        along.append((grad_scaled * scaled).sum(dim=(2, 3), dtype=torch.promote_types(x.dtype, torch.float32)))
        if log_alphas is not None:
            grad_scaled = grad_scaled * _alphas_of(piece, log_alphas, like=temporal)
        grad_kernels.append(grad_scaled.sum(dim=0).flatten(0, 1))
    if not everywhere:
        centres += grad_rows.view(-1, *centres.shape[2:], x.shape[1]).movedim(-1, 1)
    return torch.cat(grad_kernels), torch.cat(along, dim=1)


def _scaled_kernels(piece: Piece, temporal: Tensor, log_alphas: Tensor | None) -> Tensor:
    """Returns a piece's kernels times alpha_T [N, outputs, inputs, kT], [1, ...] without attention."""
    kernels = piece.weight(temporal)[None]
    return kernels if log_alphas is None else kernels * _alphas_of(piece, log_alphas, like=kernels)


def _alphas_of(piece: Piece, log_alphas: Tensor, *, like: Tensor) -> Tensor:
    """Returns alpha_T of a piece's outputs [N, outputs, 1, 1]."""
    return _channels(log_alphas[:, 0], piece.outputs).exp().to(like.dtype)[..., None, None]


def _rows(x: Tensor, plan: FusedHybrid) -> Tensor:
    """Lays a clip's pixels in one axis, without a copy where x is channels last: [N*T, C, H, W] -> [N, T*H*W, C]."""
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    return pixels.unflatten(0, (-1, plan.num_frames * x.shape[2] * x.shape[3]))


def _add_product(into: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds left [N, rows, a] times right [N or 1, a, b] to into [N, rows, b]."""
    if len(into) == 1:
        into[0].addmm_(left[0], right[0])
    else:
        into.baddbmm_(left, right.expand(len(into), -1, -1))


def _channels(x: Tensor, channels: tuple[int, ...]) -> Tensor:
    """Takes some channels of x [..., C]: a view where they lie side by side."""
    return x[..., channels[0] : channels[-1] + 1] if _run_together(channels) else x[..., list(channels)]


def _run_together(channels: tuple[int, ...]) -> bool:
    return channels[-1] - channels[0] + 1 == len(channels)
