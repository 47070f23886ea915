from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.tdn import TemporalDifference
from kinema.layers.tsm import TemporalShift
from kinema.models.temporalize import temporalize
from loops import array, conv_by_loops, normalized_slowly, taps_by_loops
from networks import randomize_


def make_layer(channels: int = 8, *, net: nn.Module | None = None, **options) -> TemporalDifference:
    net = nn.Conv2d(channels, 4, 1) if net is None else net
    return randomize_(TemporalDifference(net.double(), **{"reduction": 4, **options}), seed=2).eval()


def normed(part: nn.Sequential, frames: np.ndarray) -> np.ndarray:
    """A conv and its batch norm, of frames [B, C, H, W]."""
    return array(
        normalized_slowly(torch.from_numpy(conv_by_loops(frames, array(part[0].weight), part[0])), part[1], axis=1)
    )


def weights_by_loops(layer: TemporalDifference, difference: np.ndarray) -> np.ndarray:
    """Three scales, averaged and expanded, the sigmoid less a half; the difference of one frame [D, H, W]."""
    depth, height, width = difference.shape
    rows, columns = min(2, height), min(2, width)
    half = np.zeros((depth, height // rows, width // columns))
    for row, column in product(range(half.shape[1]), range(half.shape[2])):
        window = difference[:, rows * row : rows * (row + 1), columns * column : columns * (column + 1)]
        half[:, row, column] = window.mean(axis=(1, 2))
    coarse, brought_back = normed(layer.gate.coarse, half[None])[0], np.zeros_like(difference)
    for row, column in product(range(height), range(width)):
        nearest = row * half.shape[1] // height, column * half.shape[2] // width
        brought_back[:, row, column] = coarse[:, nearest[0], nearest[1]]
    fine = normed(layer.gate.fine, difference[None])[0]
    expanded = normed(layer.gate.expand, (difference + fine + brought_back)[None] / 3)[0]
    return 1 / (1 + np.exp(-expanded)) - 0.5


def excited_by_loops(layer: TemporalDifference, x: Tensor) -> np.ndarray:
    """The excitation of clips [N, T, C, H, W], frame by frame, and the conv over time behind it."""
    y = np.zeros(x.shape)
    for n, clip in enumerate(array(x)):
        features = normed(layer.gate.reduce, clip)
        moved = conv_by_loops(features, array(layer.gate.transform.weight), layer.gate.transform)
        for t in range(len(clip)):
            others = [t - 1] if layer.causal else [t - 1, t + 1]
            differences = [
                moved[other] - features[t] if 0 <= other < len(clip) else np.zeros_like(features[t]) for other in others
            ]
            weight = np.mean([weights_by_loops(layer, difference) for difference in differences], axis=0)
            y[n, t] = clip[t] + clip[t] * weight
    return taps_by_loops(y, array(layer.temporal.taps), axis=1, causal=layer.causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 3), (1, 1)])
@pytest.mark.parametrize("num_frames", [1, 2, 4])
def test_equals_the_definition(num_frames: int, size: tuple[int, int], causal: bool):
    layer = make_layer(num_frames=num_frames, causal=causal)
    x = torch.randn(2, num_frames, 8, *size, dtype=torch.float64)

    with torch.no_grad():
        expected = layer.net(torch.from_numpy(excited_by_loops(layer, x)).flatten(0, 1))
        torch.testing.assert_close(layer(x.flatten(0, 1)), expected)


@pytest.mark.parametrize("net", [nn.Conv2d(6, 8, 3, stride=2), nn.Conv2d(6, 6, 3, padding=1, groups=6)])
def test_equals_the_definition_before_any_conv(net: nn.Conv2d):
    layer = make_layer(net=net, num_frames=3)
    x = torch.randn(1, 3, 6, 5, 5, dtype=torch.float64)

    with torch.no_grad():
        expected = layer.net(torch.from_numpy(excited_by_loops(layer, x))[0])
        torch.testing.assert_close(layer(x[0]), expected)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_right(causal: bool):
    layer = make_layer(4, net=nn.Conv2d(4, 3, 3, padding=1, stride=2), num_frames=3, reduction=2, causal=causal)
    x = torch.randn(3, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_each_direction_is_normalized_by_itself_in_training():
    layer = make_layer(num_frames=3).train()
    layer.gate.expand[1].num_batches_tracked.zero_()

    layer(torch.randn(6, 8, 4, 4, dtype=torch.float64))

    assert layer.gate.expand[1].num_batches_tracked == 2


def test_behind_a_closed_gate_it_starts_as_tsm():
    conv, x = nn.Conv2d(16, 3, 3), torch.randn(10, 16, 4, 4)
    layer = TemporalDifference(conv, num_frames=5)
    nn.init.zeros_(layer.gate.expand[1].weight)

    torch.testing.assert_close(layer(x), TemporalShift(conv, num_frames=5)(x))


@pytest.mark.parametrize(
    ("channels", "causal", "rows"),
    [
        (8, False, ["001", "100", "010", "010", "010", "010", "010", "010"]),
        (17, False, ["001"] * 2 + ["100"] * 2 + ["010"] * 13),
        (8, True, ["001", "010"] + ["001"] * 6),
        (5, False, ["010"] * 5),
    ],
)
def test_temporal_kernels_start_as_a_shift(channels: int, causal: bool, rows: list[str]):
    layer = TemporalDifference(nn.Conv2d(channels, 4, 1), num_frames=2, causal=causal)

    assert ["".join(map(str, row)) for row in layer.temporal.taps.int().tolist()] == rows


@pytest.mark.parametrize("part", ["reduce", "fine", "coarse", "expand", "transform"])
def test_convs_start_as_in_the_official_code(part: str):
    torch.manual_seed(0)
    gate = TemporalDifference(nn.Conv2d(1024, 8, 3), num_frames=2).gate
    conv = gate.transform if part == "transform" else getattr(gate, part)[0]

    # Its rule is a standard deviation of sqrt(2 / (pixels of the kernel x output channels)).
    expected = (2.0 / (conv.kernel_size[0] ** 2 * conv.out_channels)) ** 0.5
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.1)


def test_has_the_official_number_of_parameters():
    layer = TemporalDifference(nn.Conv2d(256, 256, 3, bias=False), num_frames=8)
    depth = 256 // 16

    # Two 1 x 1 convs, K, two 3 x 3 convs, four batch norms, the conv over time.
    gate = 2 * 256 * depth + 9 * depth + 2 * 9 * depth**2 + 2 * (3 * depth + 256)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 9 * 256**2 + gate + 3 * 256


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", (2, 2, 2)), ("resnet50", (4, 6, 3))])
def test_it_stands_before_the_second_conv_of_blocks_from_the_second_stage_on(name: str, blocks: tuple[int, ...]):
    with torch.device("meta"):
        backbone = temporalize(timm.create_model(name, num_classes=0), "tdn", num_frames=8)

    found = [path for path, module in backbone.named_modules() if isinstance(module, TemporalLayer)]

    assert found == [f"layer{s}.{b}.conv2" for s, number in enumerate(blocks, start=2) for b in range(number)]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="reduction must be at least 1, got 0; 16 is the paper's"):
        TemporalDifference(nn.Conv2d(8, 8, 3), num_frames=4, reduction=0)
    with pytest.raises(ValueError, match="net must be a conv with in_channels, got Identity; take the site spatial"):
        TemporalDifference(nn.Identity(), num_frames=4)
