from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kinema.layers.depthwise import conv_over_time, newest_over_time
from kinema.layers.stm import STMConv, shift_kernels
from loops import array, conv_by_loops, taps_by_loops
from networks import randomize_

POINTWISE = nn.Conv2d(1, 1, kernel_size=1, bias=False)


def make_layer(conv: nn.Conv2d, **options) -> STMConv:
    return randomize_(STMConv(conv.double(), **options), seed=5)


def cstm_by_loops(layer: STMConv, x: Tensor) -> np.ndarray:
    """CSTM of clips [N, T, Ci, H, W]: a depthwise conv over time, then the conv."""
    mixed = taps_by_loops(array(x), array(layer.temporal), axis=1, causal=layer.causal)
    y = conv_by_loops(mixed.reshape(-1, *mixed.shape[2:]), array(layer.conv.weight), layer.conv)
    return y.reshape(*x.shape[:2], *y.shape[1:])


def cmm_by_loops(layer: STMConv, x: Tensor) -> np.ndarray:
    """CMM of clips [N, T, Ci, H, W]: H_t = K * F_{t+1} - F_t between two 1 x 1 convs, under the conv's centres."""
    motion, conv = layer.motion, layer.conv
    n_clips, n_frames = x.shape[:2]
    features = conv_by_loops(array(x.flatten(0, 1)), array(motion.reduce.weight), POINTWISE)
    moved = conv_by_loops(features, array(motion.transform.weight), motion.transform)
    features, moved = (z.reshape(n_clips, n_frames, *z.shape[1:]) for z in (features, moved))
    difference = np.zeros_like(features)
    for t in range(n_frames):
        before, after = (t - 1, t) if layer.causal else (t, t + 1)
        if before >= 0 and after < n_frames:
            difference[:, t] = moved[:, after] - features[:, before]
    full = conv_by_loops(difference.reshape(-1, *difference.shape[2:]), array(motion.expand.weight), POINTWISE)
    out_h, out_w = conv(x[0]).shape[-2:]
    y = np.zeros((n_clips * n_frames, conv.out_channels, out_h, out_w))
    for i, j in product(range(out_h), range(out_w)):
        row, column = (
            place * stride - padding + dilation * (size // 2)
            for place, stride, padding, dilation, size in zip(
                (i, j), conv.stride, conv.padding, conv.dilation, conv.kernel_size, strict=True
            )
        )
        if 0 <= row < full.shape[2] and 0 <= column < full.shape[3]:
            y[:, :, i, j] = full[:, :, row, column]
    return y.reshape(n_clips, n_frames, *y.shape[1:])


CONVS = {
    "plain": {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, "bias": False},
    "strided": {"in_channels": 8, "out_channels": 6, "kernel_size": 3, "padding": 1, "stride": 2},
    "unpadded": {"in_channels": 5, "out_channels": 8, "kernel_size": 3, "stride": 2},
    "dilated": {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 2, "dilation": 2},
    "4 x 4": {"in_channels": 8, "out_channels": 8, "kernel_size": 4, "padding": 2},
    "grouped": {"in_channels": 8, "out_channels": 4, "kernel_size": 3, "padding": 1, "groups": 2},
    "depthwise": {"in_channels": 8, "out_channels": 8, "kernel_size": (5, 3), "padding": (2, 1), "groups": 8},
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("motion", [False, True])
@pytest.mark.parametrize("num_frames", [1, 3])
@pytest.mark.parametrize("kind", CONVS)
def test_equals_the_definition(kind: str, num_frames: int, motion: bool, causal: bool):
    conv = nn.Conv2d(**CONVS[kind])
    layer = make_layer(conv, num_frames=num_frames, motion=motion, reduction=3, causal=causal)
    x = torch.randn(2, num_frames, conv.in_channels, 5, 7, dtype=torch.float64)

    y = layer(x.flatten(0, 1)).unflatten(0, (2, num_frames))

    expected = cstm_by_loops(layer, x) + (cmm_by_loops(layer, x) if motion else 0.0)
    torch.testing.assert_close(y.detach(), torch.from_numpy(expected))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("stride", "groups", "num_frames"), [(1, 1, 3), (2, 1, 3), (2, 2, 1)])
def test_gradients_are_right(stride: int, groups: int, num_frames: int, causal: bool):
    conv = nn.Conv2d(4, 4, kernel_size=3, padding=1, stride=stride, groups=groups)
    layer = make_layer(conv, num_frames=num_frames, reduction=2, causal=causal)
    x = torch.randn(num_frames, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_it_starts_as_a_shift_of_a_quarter_each_way():
    conv = nn.Conv2d(8, 8, kernel_size=3, padding=1)
    x = torch.randn(2, 5, 8, 4, 4)
    shifted = x.clone()
    shifted[:, 1:, :2], shifted[:, 0, :2] = x[:, :-1, :2], 0.0  # the first quarter takes the frame before
    shifted[:, :-1, 6:], shifted[:, -1, 6:] = x[:, 1:, 6:], 0.0  # the last quarter takes the frame after

    y = STMConv(conv, num_frames=5, motion=False)(x.flatten(0, 1))

    torch.testing.assert_close(y, conv(shifted.flatten(0, 1)))


@pytest.mark.parametrize(
    ("channels", "causal", "rows"),
    [
        (4, False, ["100", "010", "010", "001"]),
        (7, False, ["100", "010", "010", "010", "010", "010", "001"]),
        (8, False, ["100", "100", "010", "010", "010", "010", "001", "001"]),
        (3, False, ["010", "010", "010"]),
        (4, True, ["010", "001", "001", "001"]),
    ],
)
def test_the_kernels_at_the_start(channels: int, causal: bool, rows: list[str]):
    kernels = shift_kernels(channels, causal=causal)

    assert ["".join(map(str, row)) for row in kernels.tolist()] == rows


def test_motion_is_a_difference_of_neighbours_and_the_last_frame_has_none():
    layer = STMConv(nn.Conv2d(1, 1, kernel_size=3, padding=1, bias=False), num_frames=4)
    with torch.no_grad():
        layer.conv.weight.zero_()
        for part in (layer.motion.reduce, layer.motion.expand):
            part.weight.fill_(1.0)
        layer.motion.transform.weight.zero_()[..., 1, 1] = 1.0
    frames = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(4, 1, 1, 1)

    assert layer(frames).flatten().tolist() == [1.0, 2.0, 4.0, 0.0]


def test_a_still_clip_has_no_motion_where_the_kernel_is_the_identity():
    layer = make_layer(nn.Conv2d(8, 8, kernel_size=3, padding=1), num_frames=4, reduction=2)
    with torch.no_grad():
        layer.motion.transform.weight.zero_()[..., 1, 1] = 1.0
    still = torch.randn(1, 8, 5, 5, dtype=torch.float64).expand(4, -1, -1, -1)

    assert layer.motion(still, num_frames=4).abs().max() == 0.0


def test_the_conv_is_kept_as_it_is():
    conv = nn.Conv2d(32, 8, kernel_size=3, padding=1, bias=False)

    layer = STMConv(conv, num_frames=4)

    assert layer.conv is conv
    assert {key: tuple(value.shape) for key, value in layer.state_dict().items()} == {
        "temporal": (32, 3),
        "conv.weight": (8, 32, 3, 3),
        "motion.reduce.weight": (2, 32, 1, 1),
        "motion.transform.weight": (2, 1, 3, 3),
        "motion.expand.weight": (8, 2, 1, 1),
    }


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_conv_over_time_is_a_depthwise_3d_conv(memory_format: torch.memory_format, causal: bool):
    x = torch.randn(10, 6, 4, 3, dtype=torch.float64).to(memory_format=memory_format)
    taps = torch.randn(6, 3, dtype=torch.float64)
    clips = nn.functional.pad(x.unflatten(0, (2, 5)).transpose(1, 2), (0, 0, 0, 0, *((2, 0) if causal else (1, 1))))

    y = conv_over_time(x, taps, num_frames=5, causal=causal)

    expected = nn.functional.conv3d(clips, taps.view(6, 1, 3, 1, 1), groups=6)
    torch.testing.assert_close(y, expected.transpose(1, 2).flatten(0, 1))
    if causal:
        newest = newest_over_time(x.unflatten(0, (2, 5))[:, 2:], taps)
        torch.testing.assert_close(newest, y.unflatten(0, (2, 5))[:, -1])


@pytest.mark.parametrize(
    ("conv", "options", "sentence"),
    [
        (nn.BatchNorm2d(8), {}, "conv must be an nn.Conv2d, got BatchNorm2d; choose another site"),
        (nn.Conv2d(8, 8, 3), {"reduction": 0}, "reduction must be at least 1, got 0; 16 is the paper's"),
    ],
)
def test_what_cannot_be_is_refused(conv: nn.Module, options: dict[str, int], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        STMConv(conv, num_frames=4, **options)
