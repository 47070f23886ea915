"""The fused way to run an STH-Conv: one dense conv, into whose output the temporal kernels' products are added.

Both parts are linear in x, so that the means which attention asks for follow from sums of x over the pixels that each
tap visits, before either part exists. The weights are then known in advance: the spatial part is scaled where it lies,
or the conv's weight clip by clip where that is smaller, and temporal kernels, scaled clip by clip, add their matrix
products in place, a frame's shift being an offset in memory. Of the maps, only x and the output are kept for the
backward pass, which the network around keeps anyhow.

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride), kT taps in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
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
    in_channels: int
    """Input channels Ci of the layer."""
    pieces: tuple[Piece, ...]
    """The convs through time."""
    temporal_places: Tensor
    """Where the temporal kernels stand among all Co * Ci."""
    spatial_places: Tensor
    """Where the spatial kernels stand among all Co * Ci."""
    row_outputs: Tensor
    """The output channel of each temporal kernel."""
    offsets: tuple[int, ...]
    """How many frames ahead each tap looks."""
    num_frames: int

    @property
    def this_frame(self) -> int:
        """The tap that reads the frame at hand."""
        return self.offsets.index(0)

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

    Raises:
        ValueError: If the batch is not a whole number of clips.
    """
    unfold_time(x, plan.num_frames)
    device = x.device.type
    knows_autocast = torch.amp.is_autocast_available(device)  # meta does not
    if knows_autocast and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, spatial, temporal = x.to(dtype), spatial.to(dtype), temporal.to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device, enabled=False) if knows_autocast else nullcontext():
        kernels, log_alpha = temporal.mT.unsqueeze(1).contiguous(), None
        num_kernels = len(plan.spatial_places) + len(plan.temporal_places)
        weight = spatial.new_zeros(num_kernels, *spatial.shape[1:]).index_copy(0, plan.spatial_places, spatial)
        weight = weight.unflatten(0, (-1, plan.in_channels))  # [Co, Ci, kH, kW]
        if attention is not None:
            x, total, frames = _Sums.apply(x, plan)
            means = _means(total, frames, weight, temporal, plan)
            log_alphas = attention.log_weights(*(mean.to(attention.reduce.weight.dtype) for mean in means))
            log_alpha = log_alphas[:, 1]
            kernels = kernels * log_alphas[:, 0].exp().to(kernels.dtype).index_select(1, plan.row_outputs)
        y: Tensor = _Fused.apply(x, weight, kernels, log_alpha, plan)
    return y


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
    """The conv, its scaling by alpha_S and the products through time.

    Where maps are larger than kernels, and without attention, weights are folded: alpha_S and the tap of this very
    frame go into the conv's weight, clip by clip. Elsewhere the conv's output is scaled. There, with
    y = alpha_S * O_S + alpha_T * O_T, the gradient along log alpha_S is the sum of grad * y less that of
    grad * alpha_T * O_T, and the latter the gradients of the kernels give: no part has to be kept or made again.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch's context)
        x: Tensor,
        weight: Tensor,
        kernels: Tensor,
        log_alpha: Tensor | None,
        plan: FusedHybrid,
    ) -> Tensor:
        """Takes x [N*T, Ci, H, W], kernels through time [kT, N or 1, rows] and log alpha_S [N, Co]."""
        height, width = plan.window.output_size(x.shape[-2:])
        ctx.folds = log_alpha is None or 2 * weight.numel() < plan.num_frames * height * width * weight.shape[0]
        if ctx.folds:
            weights = _folded(weight, kernels, log_alpha, plan)
            made = [plan.window.conv(own, one) for own, one in zip(x.chunk(len(weights)), weights, strict=True)]
            y = made[0] if len(made) == 1 else torch.cat(made)
        else:
            y = plan.window.conv(x, weight)
        y = y.contiguous(memory_format=torch.channels_last)
        rows, x_rows = _rows(y, plan), _rows(plan.window.centres(x), plan)
        if log_alpha is not None and not ctx.folds:
            rows.mul_(log_alpha.exp().to(y.dtype)[:, None])
        for piece in plan.pieces:
            mixed, seen, own = rows[..., _span(piece.outputs)], _channels(x_rows, piece.inputs), piece.cut(kernels)
            for tap, write, read in plan.moves(rows.shape[1], but=0 if ctx.folds else None):
                _add_product(mixed[:, write], seen[:, read], own[tap].mT)
        ctx.plan = plan
        ctx.save_for_backward(x, weight, kernels, log_alpha, None if ctx.folds else y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        plan: FusedHybrid = ctx.plan
        x, weight, kernels, log_alpha, y = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        rows = _rows(grad, plan)
        if ctx.folds:
            grad_x, grad_weights = _folded_backward(grad, x, _folded(weight, kernels, log_alpha, plan), plan)
            grad_kernels = _time_backward(grad_x, rows, x, kernels, plan, but=0)
            top, left = plan.window.centre
            this_frame = grad_weights.flatten(1, 2)[..., top, left].index_select(1, plan.temporal_places)
            grad_kernels[plan.this_frame] = this_frame
            if log_alpha is None:
                return grad_x, grad_weights[0], grad_kernels, None, None
            alpha = log_alpha.exp()
            along = (grad_weights * weight).sum(dim=(2, 3, 4), dtype=log_alpha.dtype)  # [N, Co]
            grad_weight = (grad_weights * alpha.to(grad.dtype)[..., None, None, None]).sum(dim=0)
            return grad_x, grad_weight, grad_kernels, along * alpha, None
        scaled = torch.empty_like(grad)
        torch.mul(rows, log_alpha.exp().to(grad.dtype)[:, None], out=_rows(scaled, plan))
        grad_x, grad_weight = _conv_backward(scaled, x, weight, plan.window)
        grad_kernels = _time_backward(grad_x, rows, x, kernels, plan, but=None)
        along_y = (rows * _rows(y, plan)).sum(dim=1, dtype=log_alpha.dtype)
        along_time = (grad_kernels * kernels).sum(dim=0, dtype=log_alpha.dtype)  # [N, rows]
        grad_log = along_y.index_add(1, plan.row_outputs, along_time, alpha=-1)
        return grad_x, grad_weight, grad_kernels, grad_log, None


def _folded(weight: Tensor, kernels: Tensor, log_alpha: Tensor | None, plan: FusedHybrid) -> Tensor:
    """Puts alpha_S and the tap of this very frame into the conv's weight: [N or 1, Co, Ci, kH, kW]."""
    alpha = None if log_alpha is None else log_alpha.exp().to(weight.dtype)[..., None, None, None]
    weights = weight.clone()[None] if alpha is None else weight * alpha
    top, left = plan.window.centre
    weights.flatten(1, 2)[..., top, left].index_copy_(1, plan.temporal_places, kernels[plan.this_frame])
    return weights


def _folded_backward(grad: Tensor, x: Tensor, weights: Tensor, plan: FusedHybrid) -> tuple[Tensor, Tensor]:
    """Returns the gradients of x and of each clip's weight [N or 1, Co, Ci, kH, kW]."""
    count = len(weights)
    pairs = [_conv_backward(*own, plan.window) for own in zip(grad.chunk(count), x.chunk(count), weights, strict=True)]
    if count == 1:
        return pairs[0][0], pairs[0][1][None]
    return torch.cat([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])


def _conv_backward(grad: Tensor, x: Tensor, weight: Tensor, window: ConvWindow) -> tuple[Tensor, Tensor]:
    """Returns the gradients of a conv's input and weight."""
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, window.stride, window.padding, window.dilation, False, [0, 0], 1, [True, True, False]
    )
    return grad_x.contiguous(memory_format=torch.channels_last), grad_weight


def _time_backward(
    grad_x: Tensor, rows: Tensor, x: Tensor, kernels: Tensor, plan: FusedHybrid, *, but: int | None
) -> Tensor:
    """Adds to the gradient of x what comes through time; returns the gradients of the kernels [kT, N or 1, rows]."""
    centres, x_rows = plan.window.centres(grad_x), _rows(plan.window.centres(x), plan)
    everywhere = centres.shape == grad_x.shape
    grad_rows = _rows(grad_x, plan) if everywhere else torch.zeros_like(x_rows)
    grad_kernels = torch.zeros_like(kernels)
    for piece in plan.pieces:
        own, grad_own, mixed = piece.cut(kernels), piece.cut(grad_kernels), rows[..., _span(piece.outputs)]
        seen, grad_seen = _channels(x_rows, piece.inputs), _channels(grad_rows, piece.inputs)
        for tap, write, read in plan.moves(rows.shape[1], but=but):
            _add_product(grad_seen[:, read], mixed[:, write], own[tap])
            grad_own[tap] = (mixed[:, write].mT @ seen[:, read]).sum_to_size(grad_own[tap].shape)
        if not _run_together(piece.inputs):
            grad_rows[..., list(piece.inputs)] = grad_seen
    if not everywhere:
        centres += grad_rows.view(-1, *centres.shape[2:], x.shape[1]).movedim(-1, 1)
    return grad_kernels


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
    return x[..., _span(channels)] if _run_together(channels) else x[..., list(channels)]


def _span(channels: tuple[int, ...]) -> slice:
    return slice(channels[0], channels[-1] + 1)


def _run_together(channels: tuple[int, ...]) -> bool:
    return channels[-1] - channels[0] + 1 == len(channels)
