from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torchvision
from torch import Tensor, nn

from kinema.layers.motionsqueeze import MotionSqueeze, correlations, displacements
from kinema.models.classifier import create_model
from kinema.models.cost import cost
from kinema.models.temporalize import temporalize
from loops import conv2d_slowly, normalized_slowly
from networks import randomize_


def make_layer(net: nn.Module | None = None, **options) -> MotionSqueeze:
    net = nn.Conv2d(4, 8, 1) if net is None else net
    return randomize_(MotionSqueeze(net.double(), **options), seed=2).eval()


def scores_slowly(source: Tensor, target: Tensor, patch: int) -> Tensor:
    """Cosines of the features of one frame [D, H, W] with those around in another, negative ones as zero."""
    height, width = source.shape[1:]
    scores = source.new_zeros(height, width, patch, patch)
    for row, column, i, j in product(range(height), range(width), range(patch), range(patch)):
        there = (row + i - patch // 2, column + j - patch // 2)
        if 0 <= there[0] < height and 0 <= there[1] < width:
            first, second = source[:, row, column], target[:, there[0], there[1]]
            lengths = math.sqrt(first @ first + 1e-6) * math.sqrt(second @ second + 1e-6)
            scores[row, column, i, j] = max(0.0, first @ second / lengths)
    return scores


def displacements_slowly(source: Tensor, target: Tensor, patch: int) -> Tensor:
    """Where each position of a frame [D, H, W] is in the other: columns, rows, best score [3, H, W]."""
    reach, (height, width) = patch // 2, source.shape[1:]
    places = list(product(range(patch), range(patch)))
    motion = source.new_zeros(3, height, width)
    scores = scores_slowly(source, target, patch).tolist()
    for row, column in product(range(height), range(width)):
        here = scores[row][column]
        best = max(places, key=lambda place: here[place[0]][place[1]])
        weights = []
        for i, j in places:
            gaussian = math.exp(-((i - best[0]) ** 2 + (j - best[1]) ** 2) / (2 * 5**2))
            weights.append(math.exp(100 * here[i][j] * gaussian))
        for weight, (i, j) in zip(weights, places, strict=True):
            motion[0, row, column] += weight / sum(weights) * (j - reach) / reach
            motion[1, row, column] += weight / sum(weights) * (i - reach) / reach
        motion[2, row, column] = here[best[0]][best[1]]
    return motion


def squeezed_slowly(layer: MotionSqueeze, x: Tensor) -> Tensor:
    """The whole layer on clips [N, T, Ci, H, W]."""
    y = torch.stack([layer.net(clip) for clip in x])
    features = normalized_slowly(conv2d_slowly(y, layer.reduce[0]), layer.reduce[1], axis=2).clamp(min=0)
    n_clips, n_frames = y.shape[:2]
    motion = y.new_zeros(n_clips, n_frames, 3, *y.shape[3:])
    for n, t in product(range(n_clips), range(n_frames)):
        first = t if layer.causal else min(t, n_frames - 2)
        second = first - 1 if layer.causal else first + 1
        if min(first, second) >= 0:
            motion[n, t] = displacements_slowly(features[n, first], features[n, second], layer.patch)
    for stage in layer.refine:
        for part in (0, 3):
            motion = normalized_slowly(conv2d_slowly(motion, stage[part]), stage[part + 1], axis=2).clamp(min=0)
    return y + motion


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("shape", "patch"), [((3, 4, 5), 5), ((2, 3, 4), 15), ((1, 4, 4), 3), ((4, 1, 2), 3)])
def test_equals_the_definition(shape: tuple[int, int, int], patch: int, causal: bool):
    n_frames, height, width = shape
    layer = make_layer(num_frames=n_frames, causal=causal, patch=patch)
    x = torch.randn(2, n_frames, 4, height, width, dtype=torch.float64)

    with torch.no_grad():
        torch.testing.assert_close(layer(x.flatten(0, 1)), squeezed_slowly(layer, x).flatten(0, 1))


@pytest.mark.parametrize(("height", "width", "patch"), [(6, 5, 3), (3, 8, 7), (2, 2, 15), (1, 1, 3)])
def test_correlations_equal_the_definition(height: int, width: int, patch: int):
    source, target = torch.randn(2, 3, 4, height, width, dtype=torch.float64)

    expected = torch.stack([scores_slowly(first, second, patch) for first, second in zip(source, target, strict=True)])

    torch.testing.assert_close(correlations(source, target, patch=patch), expected)


@pytest.mark.parametrize(("down", "across"), [(0, 0), (2, 0), (-1, 3), (3, -3), (-2, -1)])
def test_a_picture_that_moves_is_followed(down: int, across: int):
    picture = torch.randn(1, 64, 20, 20, dtype=torch.float64)
    moved = picture.roll((down, across), dims=(2, 3))
    inside = (slice(None), slice(7, 13), slice(7, 13))

    motion = displacements(picture, moved, patch=15)[0]

    # Features of 64 random numbers are nearly orthogonal: what the others weigh is e^-50 and less.
    torch.testing.assert_close(motion[0][inside[1:]], torch.full((6, 6), across / 7, dtype=torch.float64))
    torch.testing.assert_close(motion[1][inside[1:]], torch.full((6, 6), down / 7, dtype=torch.float64))
    torch.testing.assert_close(motion[2][inside[1:]], torch.ones(6, 6, dtype=torch.float64))


def test_a_causal_displacement_points_back():
    picture = torch.randn(1, 64, 20, 20)
    clip = torch.cat([picture.roll(3 * step, dims=3) for step in range(2)])
    ahead, back = (MotionSqueeze(nn.Conv2d(64, 64, 1), num_frames=2, causal=causal).eval() for causal in (False, True))
    seen: dict[bool, Tensor] = {}
    for layer in (ahead, back):
        layer.net, layer.reduce = nn.Identity(), nn.Identity()
        layer.refine.register_forward_pre_hook(lambda _, given, causal=layer.causal: seen.update({causal: given[0]}))
        layer(clip)

    middle = (slice(8, 12), slice(8, 12))
    torch.testing.assert_close(seen[False][:, 0][(slice(None), *middle)], torch.full((2, 4, 4), 3 / 7))
    torch.testing.assert_close(seen[True][1, 0][middle], torch.full((4, 4), -3 / 7))
    assert not seen[True][0].any()


@pytest.mark.parametrize("patch", [3, 5])
def test_gradients_are_right(patch: int):
    source, target = torch.randn(2, 2, 4, 3, 3, dtype=torch.float64, requires_grad=True).unbind(0)

    # The place of the best offset stays as it is under so small changes, so that its zero gradient is right.
    assert torch.autograd.gradcheck(lambda *pair: displacements(*pair, patch=patch), (source, target))


def test_autocast_compares_in_full_precision():
    features = torch.randn(2, 3, 64, 9, 9)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        motion = displacements(*features, patch=7)

    assert torch.equal(motion, displacements(*features, patch=7))


def test_it_stands_behind_the_second_stage():
    with torch.device("meta"):
        network = temporalize(torchvision.models.resnet50(), "motionsqueeze", num_frames=8)

    assert [path for path, module in network.named_modules() if isinstance(module, MotionSqueeze)] == ["layer2.3"]


def test_cost_is_that_of_its_convs_and_products():
    with torch.device("meta"):
        flat, network = (create_model("resnet50", temporal=name, num_classes=174) for name in ("none", "motionsqueeze"))
    before, after = cost(flat, size=224), cost(network, size=224)

    # Each conv has a batch norm and no bias. The module alone is about 0.07 M.
    depthwise, pointwise = 49 * 3 + 9 * (16 + 32 + 64), 3 * 16 + 16 * 32 + 32 * 64 + 64 * 512
    convs = 512 * 64 + depthwise + pointwise
    norms = 64 + (3 + 16) + (16 + 32) + (32 + 64) + (64 + 512)
    assert after.parameters - before.parameters == convs + 2 * norms == 70_905
    # And 64 products for each row of the window of each pixel of 7 pairs, with all columns, 7 more at both ends.
    assert after.macs - before.macs == 8 * 28**2 * convs + 7 * 28**2 * 15 * (28 + 14) * 64


def test_channels_are_reduced_to_64_at_most():
    narrow, wide = (MotionSqueeze(nn.Conv2d(3, channels, 1), num_frames=2) for channels in (24, 256))

    assert (narrow.reduce[0].out_channels, wide.reduce[0].out_channels) == (24, 64)


@pytest.mark.parametrize("patch", [0, 1, 4])
def test_a_window_without_a_centre_is_refused(patch: int):
    with pytest.raises(ValueError, match=f"patch must be an odd number of at least 3, got {patch}; 15 is the paper's"):
        MotionSqueeze(nn.Conv2d(3, 8, 1), num_frames=2, patch=patch)
