from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kinema.layers.shift import Move, _shift_by_padding, shift_clip, shift_time

MOVES = [Move(2, time=1), Move(1, time=-2, width=1), Move(2, height=-1), Move(1, height=3, width=-9), Move(1)]
LAYOUTS = {
    "contiguous": lambda clips: clips,
    "channels last": lambda clips: clips.movedim(2, -1).contiguous().movedim(-1, 2),
    "a part of more": lambda clips: torch.cat([clips, clips], dim=2)[:, :, : clips.shape[2]],
}


def moved_slowly(x: Tensor) -> Tensor:
    """The definition of MOVES, one number at a time."""
    y, channel = x.clone(), 0
    n_frames, _, height, width = x.shape[1:]
    for move in MOVES:
        for c in range(channel, channel + move.channels):
            for t in range(n_frames):
                for row in range(height):
                    for column in range(width):
                        at = t + move.time, row + move.height, column + move.width
                        inside = all(
                            0 <= place < size for place, size in zip(at, (n_frames, height, width), strict=True)
                        )
                        y[:, t, c, row, column] = x[:, at[0], c, at[1], at[2]] if inside else 0.0
        channel += move.channels
    return y


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shift", [shift_clip, _shift_by_padding])
def test_equals_the_definition_in_any_layout(shift, layout: str):
    x = torch.randn(2, 3, 9, 4, 5)

    assert torch.equal(shift(LAYOUTS[layout](x), MOVES), moved_slowly(x))


def test_the_layout_is_kept():
    x = LAYOUTS["channels last"](torch.randn(2, 3, 9, 4, 5))

    assert shift_clip(x, MOVES).stride() == x.stride()
    assert shift_time(x, 1).flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_any_order_are_right(layout: str):
    x = LAYOUTS[layout](torch.randn(1, 3, 8, 2, 3, dtype=torch.float64)).detach().requires_grad_()

    assert torch.autograd.gradcheck(lambda x: shift_clip(x, MOVES), x)
    assert torch.autograd.gradgradcheck(lambda x: shift_clip(x, MOVES).square(), x)


@pytest.mark.parametrize(
    ("offset", "frames"),
    [
        (0, [1, 2, 3]),
        (1, [2, 3, 0]),
        (-1, [0, 1, 2]),
        (2, [3, 0, 0]),
        (-2, [0, 0, 1]),
        (3, [0, 0, 0]),
        (-4, [0, 0, 0]),
    ],
)
def test_shifts_in_time_fill_up_with_zeros(offset: int, frames: list[int]):
    assert shift_time(torch.tensor([1, 2, 3]).view(1, 3, 1, 1, 1), offset).flatten().tolist() == frames


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")  # of torch itself
def test_functions_of_functions_work():
    x = torch.randn(2, 3, 8, 4, 5, dtype=torch.float64)
    y = shift_clip(x, MOVES)

    assert torch.equal(torch.vmap(lambda one: shift_clip(one, MOVES))(x[None])[0], y)
    assert torch.equal(torch.func.jvp(lambda x: shift_clip(x, MOVES), (x,), (x,))[1], y)
    gradient = torch.func.grad(lambda x: (shift_clip(x, MOVES) * y).sum())(x)
    assert torch.equal((gradient * x).sum().round(decimals=6), (y * y).sum().round(decimals=6))


class Shift(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return shift_clip(x, MOVES)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # T, H and W become constants
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")  # of torch itself
def test_a_trace_keeps_the_shift():
    x = torch.randn(2, 3, 9, 4, 5)

    traced = torch.jit.trace(Shift(), torch.zeros_like(x))

    assert torch.equal(traced(x), moved_slowly(x))
