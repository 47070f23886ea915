"""Shifts of channels along time, height and width: what TSM and STSM are made of, and what taps over time add up.

Shapes: N clips, T frames, C channels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Move:
    """What happens to some neighbouring channels: at t, y, x they take what is at t + time, y + height, x + width."""

    channels: int
    """How many."""
    time: int = 0
    """Frames: 1 looks ahead, -1 back."""
    height: int = 0
    """Rows."""
    width: int = 0
    """Columns."""

    @property
    def offsets(self) -> dict[int, int]:
        """Axis of clips [N, T, C, H, W] -> how far ahead it looks along it, where it does."""
        return {axis: offset for axis, offset in ((1, self.time), (3, self.height), (4, self.width)) if offset}

    def __neg__(self) -> Move:
        """Returns the move the other way, which is the gradient's."""
        return Move(self.channels, time=-self.time, height=-self.height, width=-self.width)


def shift_clip(x: Tensor, moves: list[Move]) -> Tensor:
    """Moves channels of a clip; the same as a depthwise 3 x 3 x 3 conv whose kernels are a one among zeros.

    Any network can use it. One with 3D convs, whose features are [N, C, T, H, W], takes
    `shift_clip(x.transpose(1, 2), moves).transpose(1, 2)`; tokens of a transformer are first laid out as clips.

    Args:
        x: Clips [N, T, C, H, W], in any memory layout, which the result keeps.
        moves: What moves, from the first channel on.

    Returns:
        Clips [N, T, C, H, W]; what has no neighbour is zero.
    """
    if torch.compiler.is_compiling() or torch._C._is_tracing():  # standard operators, for exports
        return _shift_by_padding(x, moves)
    y: Tensor = _Shift.apply(x, tuple(moves))
    return y


def shift_time(clips: Tensor, offset: int) -> Tensor:
    """Gives every frame the value of the frame that is offset frames later.

    Args:
        clips: Clips [N, T, C, H, W].
        offset: Frames; negative ones look back.

    Returns:
        Clips [N, T, C, H, W]; what has no such frame is zero.
    """
    return clips if offset == 0 else shift_clip(clips, [Move(clips.shape[2], time=offset)])


class _Shift(torch.autograd.Function):
    """Copies each number once, in the layout that it lies in, forward and backward; nothing is kept in between."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, moves: tuple[Move, ...]) -> Tensor:
        y = torch.empty_like(x)
        start = 0
        for move in moves:
            channels = slice(start, start + move.channels)
            _copy_moved(x[:, :, channels], y[:, :, channels], move.offsets)
            start += move.channels
        y[:, :, start:] = x[:, :, start:]
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[Move, ...]], output: Tensor) -> None:  # noqa: ANN401
        ctx.moves = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 (torch's context)
        moved: Tensor = _Shift.apply(grad, tuple(-move for move in ctx.moves))
        return moved, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:  # noqa: ANN401
        moved: Tensor = _Shift.apply(tangent, ctx.moves)
        return moved


def _copy_moved(x: Tensor, y: Tensor, offsets: dict[int, int]) -> None:
    """Writes to y [N, T, C, H, W] what x has further along some axes, and zeros where it has nothing."""
    read, write = [slice(None)] * x.ndim, [slice(None)] * x.ndim
    for axis, offset in offsets.items():
        length = x.shape[axis]
        reach = min(abs(offset), length)
        ends = slice(0, length - reach), slice(reach, length)
        write[axis], read[axis] = ends if offset > 0 else ends[::-1]
        y.narrow(axis, length - reach if offset > 0 else 0, reach).zero_()
    y[tuple(write)] = x[tuple(read)]


def _shift_by_padding(x: Tensor, moves: list[Move]) -> Tensor:
    parts, start = [], 0
    for move in moves:
        part = x[:, :, start : start + move.channels]
        start += move.channels
        ways = [max(-x.shape[axis], min(move.offsets.get(axis, 0), x.shape[axis])) for axis in (4, 3, 2, 1)]
        parts.append(F.pad(part, [pad for way in ways for pad in (-way, way)]))
    return torch.cat([*parts, x[:, :, start:]], dim=2)
