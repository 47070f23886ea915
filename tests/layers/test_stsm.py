from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.shift import Move, shift_clip
from kinema.layers.stm import STMConv
from kinema.layers.stsm import SpatioTemporalShift, make_moves
from kinema.layers.tsm import TemporalShift

DESIGNS = [
    {},
    {"axes": "T"},
    {"axes": "HW"},
    {"axes": "WT", "num_divisions": 4},
    {"axes": "H", "spatial_divisions": 3},
    {"joint": True},
    {"axes": "TH", "joint": True, "num_divisions": 3},
    {"axes": "HW", "joint": True},
]


def offsets_slowly(
    channels: int, *, axes="THW", num_divisions=8, spatial_divisions=16, joint=False, causal=False
) -> list[tuple[int, int, int]]:
    """Where each channel takes its value from, relative to its own frame, row and column."""
    groups = [axes] if joint else [axis for axis in "THW" if axis in axes]
    offsets = []
    for group in groups:
        for ahead in (True, False):
            way = 1 if ahead else -1
            in_time = (-1 if ahead else 0) if causal else way
            where = (in_time * ("T" in group), way * ("H" in group), way * ("W" in group))
            offsets += [where] * (channels // (num_divisions if "T" in group else spatial_divisions))
    return offsets + [(0, 0, 0)] * (channels - len(offsets))


def shifted_slowly(x: Tensor, offsets: list[tuple[int, int, int]]) -> Tensor:
    """The definition, one number of all clips at a time: x [N, T, C, H, W]."""
    y = torch.zeros_like(x)
    _, n_frames, channels, height, width = x.shape
    for t, c, i, j in product(range(n_frames), range(channels), range(height), range(width)):
        dt, di, dj = offsets[c]
        if 0 <= t + dt < n_frames and 0 <= i + di < height and 0 <= j + dj < width:
            y[:, t, c, i, j] = x[:, t + dt, c, i + di, j + dj]
    return y


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 19, 4, 3), (1, 1, 16, 1, 5), (2, 2, 5, 3, 1)])
@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_equals_the_definition(design: dict[str, object], shape: tuple[int, ...], causal: bool):
    x = torch.randn(shape)
    layer = SpatioTemporalShift(nn.Identity(), num_frames=shape[1], causal=causal, **design)

    y = layer(x.flatten(0, 1)).view(shape)

    assert torch.equal(y, shifted_slowly(x, offsets_slowly(shape[2], causal=causal, **design)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_equals_a_depthwise_conv_with_one_hot_kernels(design: dict[str, object], causal: bool):
    x = torch.randn(2, 5, 32, 4, 6)
    kernels = torch.zeros(32, 1, 3, 3, 3)
    for channel, (dt, di, dj) in enumerate(offsets_slowly(32, causal=causal, **design)):
        kernels[channel, 0, 1 + dt, 1 + di, 1 + dj] = 1.0

    y = shift_clip(x, make_moves(32, causal=causal, **design))

    expected = nn.functional.conv3d(x.transpose(1, 2), kernels, padding=1, groups=32).transpose(1, 2)
    assert torch.equal(y, expected)


@pytest.mark.parametrize("causal", [False, True])
def test_along_time_alone_it_is_tsm(causal: bool):
    x = torch.randn(10, 19, 4, 3)

    y = SpatioTemporalShift(nn.Identity(), num_frames=5, axes="T", causal=causal)(x)

    assert torch.equal(y, TemporalShift(nn.Identity(), num_frames=5, causal=causal)(x))


def test_the_moves_of_32_channels():
    assert make_moves(32) == [
        Move(4, time=1),
        Move(4, time=-1),
        Move(2, height=1),
        Move(2, height=-1),
        Move(2, width=1),
        Move(2, width=-1),
    ]
    assert make_moves(32, axes="HW", joint=True) == [Move(2, height=1, width=1), Move(2, height=-1, width=-1)]
    assert make_moves(32, axes="TW", joint=True, causal=True) == [Move(4, time=-1, width=1), Move(4, width=-1)]


def test_in_height_the_first_group_takes_the_row_below():
    rows = torch.arange(1.0, 4.0).view(1, 1, 3, 1).expand(1, 4, 3, 1)

    y = SpatioTemporalShift(nn.Identity(), num_frames=1, axes="H", spatial_divisions=4)(rows)

    assert y[0, :, :, 0].tolist() == [[2, 3, 0], [0, 1, 2], [1, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("axes", ["H", "W", "HW"])
def test_without_time_it_is_blind_to_the_order_of_frames(axes: str, joint: bool):
    layer = SpatioTemporalShift(nn.Conv2d(32, 4, 3), num_frames=5, axes=axes, joint=joint)
    x, order = torch.randn(5, 32, 4, 4), [3, 0, 4, 1, 2]

    assert torch.equal(layer(x[order]), layer(x)[order])


def test_a_3d_network_takes_the_function():
    features = torch.randn(2, 16, 5, 4, 3)  # [N, C, T, H, W]

    y = shift_clip(features.transpose(1, 2), make_moves(16)).transpose(1, 2)

    assert y.shape == features.shape
    assert torch.equal(y[:, 0, :-1], features[:, 0, 1:])
    assert torch.equal(y[:, 4, :, :-1], features[:, 4, :, 1:])
    assert torch.equal(y[:, 6, :, :, :-1], features[:, 6, :, :, 1:])
    assert torch.equal(y[:, 8:], features[:, 8:])


def test_gradients_are_right():
    layer = SpatioTemporalShift(nn.Identity(), num_frames=3, num_divisions=4, spatial_divisions=8)
    x = torch.randn(3, 8, 3, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(layer, (x,))


def test_it_adds_no_parameters_and_keeps_those_of_the_module_behind_it():
    conv = nn.Conv2d(8, 4, 1, bias=False)

    layer = SpatioTemporalShift(conv, num_frames=4)

    assert list(layer.state_dict()) == ["net.weight"]
    assert layer.net is conv


def test_the_input_is_left_alone():
    x = torch.randn(8, 16, 2, 2)
    before = x.clone()

    SpatioTemporalShift(nn.Identity(), num_frames=4)(x)

    assert torch.equal(x, before)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_a_layer_inside_steps_along(design: dict[str, object]):
    inner = STMConv(nn.Conv2d(16, 8, 3, padding=1), num_frames=4, causal=True)
    layer = SpatioTemporalShift(inner, num_frames=4, causal=True, **design)
    x = torch.randn(2, 4, 16, 5, 5)

    state, frames = None, []
    for frame in x.unbind(dim=1):
        y, state = layer.step(frame, state)
        frames.append(y)

    torch.testing.assert_close(torch.stack(frames, dim=1).flatten(0, 1), layer(x.flatten(0, 1)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"axes": ""}, "axes must be some of the letters THW, each once, got ''"),
        ({"axes": "TT"}, "axes must be some of the letters THW, each once, got 'TT'"),
        ({"axes": "TX"}, "axes must be some of the letters THW, each once, got 'TX'"),
        ({"num_divisions": 1}, "num_divisions must be at least 2, got 1"),
        ({"spatial_divisions": 0}, "spatial_divisions must be at least 2, got 0"),
        (
            {"num_divisions": 2},
            "must leave each channel in one group at most, got 2 and 16",
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        SpatioTemporalShift(nn.Identity(), num_frames=4, **options)
