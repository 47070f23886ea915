from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from kinema.layers.plain_norm import plain_batch_norm
from kinema.layers.stam import STAMConv
from loops import array, conv_by_loops, taps_by_loops
from networks import randomize_


def make_layer(conv: nn.Conv2d, **options) -> STAMConv:
    layer = STAMConv(conv.double(), nn.BatchNorm2d(conv.out_channels).double(), **options)
    return randomize_(layer, seed=5).eval()


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * v * (1.0 + math.erf(v / math.sqrt(2.0))) for v in x.flat]).reshape(x.shape)


def normalized(y: np.ndarray, norm: nn.BatchNorm2d) -> np.ndarray:
    """Batch norm in evaluation, channel by channel: y [N, T, C, H, W]."""
    z = np.zeros_like(y)
    for c in range(y.shape[2]):
        scale = norm.weight[c].item() / math.sqrt(norm.running_var[c].item() + norm.eps)
        z[:, :, c] = (y[:, :, c] - norm.running_mean[c].item()) * scale + norm.bias[c].item()
    return z


def pyramid_by_loops(frame: np.ndarray) -> np.ndarray:
    """Means of a frame [C, H, W] over all bins of all levels [bins, C]."""
    height, width = frame.shape[1:]
    bins = []
    for size in (1, 2, 4):
        for i, j in product(range(size), range(size)):
            rows = slice(i * height // size, math.ceil((i + 1) * height / size))
            columns = slice(j * width // size, math.ceil((j + 1) * width / size))
            bins.append(frame[:, rows, columns].mean(axis=(1, 2)))
    return np.stack(bins)


def conv1d_by_loops(x: np.ndarray, weight: np.ndarray, *, dilation: int, causal: bool) -> np.ndarray:
    """Mixes the rows of x [T, C] by a weight [D, C, K], or [D, 1, K] for D = C; zeros outside."""
    size = weight.shape[2]
    y = np.zeros((len(x), len(weight)))
    for t, k in product(range(len(x)), range(size)):
        source = t + dilation * (k - (size - 1 if causal else size // 2))
        if 0 <= source < len(x):
            y[t] += weight[:, 0, k] * x[source] if weight.shape[1] == 1 else weight[:, :, k] @ x[source]
    return y


def shares_by_loops(layer: STAMConv, clip: np.ndarray) -> np.ndarray:
    """The shares of the filters at each frame of a clip [T, C, H, W]: [T, M]."""
    temporal, spatial = layer.temporal, layer.spatial
    means = clip.mean(axis=(2, 3))
    near = conv1d_by_loops(means, array(temporal.near.weight), dilation=1, causal=layer.causal)
    deviation = near - near.mean(axis=1, keepdims=True)
    near = deviation / np.sqrt((deviation**2).mean(axis=1, keepdims=True) + temporal.norm.eps)
    hidden = gelu(near * array(temporal.norm.weight) + array(temporal.norm.bias))
    hidden = hidden + conv1d_by_loops(hidden, array(temporal.far.weight), dilation=2, causal=layer.causal)
    scores = hidden @ array(temporal.score.weight).T + array(temporal.score.bias)
    for t, frame in enumerate(clip):
        bins = gelu(pyramid_by_loops(frame) @ array(spatial.reduce.weight).T + array(spatial.reduce.bias))
        scores[t] += array(spatial.score.weight) @ bins.flatten()
    powers = np.exp(scores / layer.temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def stam_by_loops(layer: STAMConv, x: Tensor) -> np.ndarray:
    """Calibrates the weights of each frame, convolves it, and aggregates: x [N, T, C, H, W]."""
    weight, filters, conv = array(layer.conv.weight), array(layer.filters), layer.conv
    filters = filters if filters.ndim == 4 else filters[..., None, None]  # [M, Ci, kH or 1, kW or 1]
    own = weight.shape[1]  # input channels of a group
    clips = []
    for clip in array(x):
        frames = []
        for frame, shares in zip(clip, shares_by_loops(layer, clip), strict=True):
            change = 1.0 + sum(share * one for share, one in zip(shares, filters, strict=True))  # [Ci, kH, kW]
            firsts = [o // (conv.out_channels // conv.groups) * own for o in range(conv.out_channels)]
            calibrated = np.stack([weight[o] * change[first : first + own] for o, first in enumerate(firsts)])
            frames.append(conv_by_loops(frame[None], calibrated, conv)[0])
        clips.append(np.stack(frames))
    y = np.stack(clips)
    z = normalized(y, layer.norm)
    if layer.aggregation is not None:
        for axis, place in (("time", 1), ("height", 3), ("width", 4)):
            taps = array(layer.aggregation.taps[axis])
            mixed = taps_by_loops(y, taps, axis=place, causal=layer.causal and axis == "time")
            z = z + normalized(mixed, layer.aggregation.norms[axis])
    return z


CONVS = {
    "plain": {"in_channels": 8, "out_channels": 6, "kernel_size": 3, "padding": 1, "bias": False},
    "strided": {"in_channels": 8, "out_channels": 6, "kernel_size": 3, "padding": 1, "stride": 2},
    "dilated": {"in_channels": 5, "out_channels": 4, "kernel_size": 3, "padding": 2, "dilation": 2},
    "grouped": {"in_channels": 8, "out_channels": 4, "kernel_size": 3, "padding": 1, "groups": 2, "stride": 2},
    "depthwise": {"in_channels": 8, "out_channels": 8, "kernel_size": (5, 3), "padding": (2, 1), "groups": 8},
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("calibration", ["channel", "kernel"])
@pytest.mark.parametrize("kind", CONVS)
def test_equals_the_definition(kind: str, calibration: str, causal: bool):
    conv = nn.Conv2d(**CONVS[kind])
    layer = make_layer(conv, num_frames=7, calibration=calibration, temperature=0.5, causal=causal)
    x = torch.randn(2, 7, conv.in_channels, 5, 3, dtype=torch.float64)

    y = layer(x.flatten(0, 1)).unflatten(0, (2, 7))

    torch.testing.assert_close(y.detach(), torch.from_numpy(stam_by_loops(layer, x)))


@pytest.mark.parametrize("num_frames", [1, 2])
@pytest.mark.parametrize("aggregation", [False, True])
def test_equals_the_definition_for_short_clips(aggregation: bool, num_frames: int):
    conv = nn.Conv2d(8, 8, kernel_size=3, padding=1)
    layer = make_layer(conv, num_frames=num_frames, num_filters=3, aggregation=aggregation)
    x = torch.randn(2, num_frames, 8, 3, 5, dtype=torch.float64)

    y = layer(x.flatten(0, 1)).unflatten(0, (2, num_frames))

    torch.testing.assert_close(y.detach(), torch.from_numpy(stam_by_loops(layer, x)))


@pytest.mark.parametrize(("groups", "num_frames", "causal"), [(1, 3, False), (1, 3, True), (2, 1, False)])
@pytest.mark.parametrize("calibration", ["channel", "kernel"])
def test_gradients_are_right(calibration: str, groups: int, num_frames: int, causal: bool):
    conv = nn.Conv2d(4, 4, kernel_size=3, padding=1, stride=2, groups=groups)
    layer = make_layer(conv, num_frames=num_frames, num_filters=2, calibration=calibration, causal=causal)
    x = torch.randn(num_frames, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()), fast_mode=True)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("calibration", ["channel", "kernel"])
def test_it_starts_as_the_conv_and_its_norm_to_the_last_bit(calibration: str, training: bool):
    pair = randomize_(nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.BatchNorm2d(8))).train(training)
    layer = STAMConv(*pair, num_frames=4, calibration=calibration).train(training)
    x = torch.randn(8, 16, 7, 5)

    assert torch.equal(layer(x), pair(x))


@pytest.mark.parametrize("calibration", ["channel", "kernel"])
def test_what_starts_at_zero_learns_from_the_first_step(calibration: str):
    torch.manual_seed(0)
    layer = STAMConv(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), num_frames=4, calibration=calibration)

    layer(torch.randn(8, 8, 5, 5)).sin().sum().backward()

    assert layer.filters.grad.abs().max() > 0
    for norm in layer.aggregation.norms.values():
        assert norm.weight.grad.abs().max() > 0


def test_shares_add_up_and_a_low_temperature_chooses():
    x = torch.randn(8, 8, 5, 5, dtype=torch.float64)
    conv = nn.Conv2d(8, 8, 3, padding=1)
    soft, hard = (make_layer(conv, num_frames=4, temperature=value).shares(x) for value in (1.0, 1e-4))

    assert soft.shape == (8, 4)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(8, dtype=torch.float64))
    assert torch.equal(soft.argmax(dim=1), hard.argmax(dim=1))
    assert (hard.amax(dim=1) > soft.amax(dim=1)).all()
    assert (soft[0] - soft[1]).abs().max() > 1e-3


def test_far_frames_reach_the_shares():
    layer = make_layer(nn.Conv2d(8, 8, 3, padding=1), num_frames=11)
    x = torch.randn(11, 8, 5, 5, dtype=torch.float64)
    changed = x.clone()
    changed[10] += 1.0

    moved = (layer.shares(changed) - layer.shares(x)).abs().amax(dim=1) > 1e-9

    # Two convs, of one frame and of two times two each way.
    assert moved.nonzero()[:, 0].tolist() == [5, 6, 7, 8, 9, 10]


def test_weights_keep_their_place():
    conv, norm = nn.Conv2d(64, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)

    layer = STAMConv(conv, norm, num_frames=4)

    assert layer.conv is conv
    assert layer.norm is norm
    assert layer.filters.shape == (4, 64)
    assert STAMConv(conv, norm, num_frames=4, calibration="kernel").filters.shape == (4, 64, 3, 3)


def test_a_norm_with_an_activation_becomes_a_plain_one_with_the_same_tensors():
    norm = randomize_(BatchNormAct2d(8, eps=1e-3, momentum=0.2)).eval()

    plain = plain_batch_norm(norm, channels=8)

    assert type(plain) is nn.BatchNorm2d
    assert (plain.eps, plain.momentum, plain.training) == (1e-3, 0.2, False)
    assert plain.state_dict().keys() == norm.state_dict().keys()
    assert all(value is getattr(norm, key) for key, value in [*plain.named_parameters(), *plain.named_buffers()])
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(norm.act(plain(x)), norm(x))


@pytest.mark.parametrize(
    ("conv", "norm", "options", "sentence"),
    [
        (nn.Linear(8, 8), nn.BatchNorm2d(8), {}, "conv must be an nn.Conv2d, got Linear"),
        (nn.Conv2d(8, 8, 3, padding_mode="reflect"), nn.BatchNorm2d(8), {}, "conv must be padded with zeros, got"),
        (nn.Conv2d(8, 8, 3), nn.Identity(), {}, "norm must be an nn.BatchNorm2d, got Identity"),
        (nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), {"num_filters": 0}, "num_filters must be at least 1, got 0"),
        (
            nn.Conv2d(8, 8, 3),
            nn.BatchNorm2d(8),
            {"calibration": "all"},
            "calibration must be channel or kernel, got",
        ),
        (nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), {"reduction": 0}, "reduction must be at least 1, got 0"),
        (nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), {"temperature": 0.0}, "temperature must lie above 0, got 0.0"),
    ],
)
def test_what_cannot_be_is_refused(conv: nn.Module, norm: nn.Module, options: dict[str, object], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        STAMConv(conv, norm, num_frames=4, **options)


@pytest.mark.parametrize("calibration", ["channel", "kernel"])
@pytest.mark.parametrize("aggregation", [False, True])
def test_every_design_steps_and_exports(aggregation: bool, calibration: str):
    conv = nn.Conv2d(8, 8, 3, padding=1, stride=2)
    layer = make_layer(conv, num_frames=4, calibration=calibration, aggregation=aggregation, causal=True)
    x = torch.randn(8, 8, 5, 5, dtype=torch.float64)

    state, frames = None, []
    for frame in x.unflatten(0, (2, 4)).unbind(dim=1):
        y, state = layer.step(frame, state)
        frames.append(y)
    torch.testing.assert_close(torch.stack(frames, dim=1).flatten(0, 1), layer(x))

    batch = 4 * torch.export.Dim("num_clips", min=1, max=16)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},))
    more = torch.randn(12, 8, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(program.module()(more), layer(more))
