from __future__ import annotations

import copy
import math
from itertools import product

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_out_of
from kinema.layers.nonlocal_block import NonLocal
from kinema.layers.tsm import TemporalShift
from kinema.models.classifier import create_model
from kinema.models.cost import cost
from kinema.models.temporalize import temporalize
from networks import randomize_


def make_layer(net: nn.Module | None = None, **options) -> NonLocal:
    net = nn.Conv2d(4, 6, 1) if net is None else net
    return randomize_(NonLocal(net.double(), **options), seed=2).eval()


def pooled_slowly(x: Tensor) -> Tensor:
    """The maximum of each 2 x 2 pixels of frames [B, C, H, W], or of as many as there are in a row or column."""
    height, width = (min(2, size) for size in x.shape[2:])
    y = x.new_zeros(*x.shape[:2], x.shape[2] // height, x.shape[3] // width)
    for row, column in product(range(y.shape[2]), range(y.shape[3])):
        window = x[:, :, row * height : (row + 1) * height, column * width : (column + 1) * width]
        y[:, :, row, column] = window.flatten(2).max(dim=2).values
    return y


def nonlocal_slowly(layer: NonLocal, x: Tensor) -> Tensor:
    """Position by position of one clip [T, Ci, H, W]."""
    y = layer.net(x)
    theta, phi, g = layer.theta(y), layer.phi(y), layer.g(y)
    if layer.subsample:
        phi, g = pooled_slowly(phi), pooled_slowly(g)
    found = torch.zeros_like(theta)
    n_frames, _, height, width = y.shape
    for t, row, column in product(range(n_frames), range(height), range(width)):
        last = t + 1 if layer.causal else n_frames
        places = list(product(range(last), range(phi.shape[2]), range(phi.shape[3])))
        weights = [math.exp(theta[t, :, row, column] @ phi[s, :, i, j]) for s, i, j in places]
        for weight, (s, i, j) in zip(weights, places, strict=True):
            found[t, :, row, column] += weight / sum(weights) * g[s, :, i, j]
    return y + layer.norm(layer.out(found))


@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 5, 3), (1, 2, 2), (2, 1, 3), (4, 1, 1)])
def test_equals_the_definition(shape: tuple[int, int, int], causal: bool, subsample: bool):
    n_frames, height, width = shape
    layer = make_layer(num_frames=n_frames, causal=causal, subsample=subsample)
    x = torch.randn(2, n_frames, 4, height, width, dtype=torch.float64)

    with torch.no_grad():
        expected = torch.cat([nonlocal_slowly(layer, clip) for clip in x])
        torch.testing.assert_close(layer(x.flatten(0, 1)), expected)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_right(causal: bool):
    layer = make_layer(nn.Conv2d(3, 4, 3, padding=1, stride=2), num_frames=2, causal=causal)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_frames_that_change_places_change_places_in_the_output_only():
    layer, order = make_layer(num_frames=5), [3, 0, 4, 2, 1]
    x = torch.randn(5, 4, 4, 4, dtype=torch.float64)

    with torch.no_grad():
        torch.testing.assert_close(layer(x[order]), layer(x)[order])


def test_softmax_does_not_see_the_bias_of_phi():
    layer = make_layer(num_frames=3)
    x = torch.randn(3, 4, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        before = layer(x)

        layer.phi.bias += 1.0

        torch.testing.assert_close(layer(x), before)


def test_a_stream_sees_the_last_frames():
    layer = make_layer(num_frames=3, causal=True)
    x = torch.randn(8, 4, 4, 4, dtype=torch.float64)

    state = None
    for number, frame in enumerate(x.split(1)):
        y, state = layer.step(frame, state)
        with torch.no_grad():
            torch.testing.assert_close(y, nonlocal_slowly(layer, x[max(0, number - 2) : number + 1])[-1:])


def test_a_shifted_block_steps_too():
    layer = make_layer(TemporalShift(nn.Conv2d(8, 6, 1), num_frames=4, causal=True), num_frames=4, causal=True)
    x = torch.randn(4, 8, 3, 3, dtype=torch.float64)

    state, frames = None, []
    for frame in x.split(1):
        y, state = layer.step(frame, state)
        frames.append(y)

    torch.testing.assert_close(torch.cat(frames), layer(x))


NETWORKS = {
    "torchvision resnet50": torchvision.models.resnet50,
    "resnet18": lambda: timm.create_model("resnet18", num_classes=0),
    "mobilenetv2_035": lambda: timm.create_model("mobilenetv2_035", num_classes=0),
    "test_convnext": lambda: timm.create_model("test_convnext", num_classes=0),
    "test_nfnet": lambda: timm.create_model("test_nfnet", num_classes=0),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "50" in name else []) for name in NETWORKS]
)
def test_a_network_starts_as_the_2d_one_to_the_last_bit(name: str, training: bool):
    flat = randomize_(NETWORKS[name]()).train(training)
    network = temporalize(copy.deepcopy(flat), "nonlocal", num_frames=2)
    x = torch.randn(4, 3, 64, 64)

    with torch.no_grad():
        assert torch.equal(network(x), flat(x))


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext"])
def test_a_network_of_it_alone_is_blind_to_the_order_of_frames(backbone: str):
    model = randomize_(create_model(backbone, temporal="nonlocal", num_frames=5, num_classes=7).double()).eval()
    clip, order = torch.randn(2, 5, 3, 48, 48, dtype=torch.float64), [3, 0, 4, 2, 1]
    changed = clip.clone()
    changed[:, 1] = clip[:, 1].flip(-1)

    with torch.no_grad():
        logits, others = model(clip), model.frame_logits(changed)[:, 0] - model.frame_logits(clip)[:, 0]
        torch.testing.assert_close(model(clip[:, order]), logits)

    assert others.abs().max() > 1e-4  # and yet its frames meet


@pytest.mark.parametrize("temporal", [["tsm", "nonlocal"], ["nonlocal", "tsm"]])
@pytest.mark.parametrize(
    ("backbone", "shifted", "number"),
    [
        pytest.param("resnet50", "layer2.0", 5, marks=pytest.mark.slow),
        ("resnet26", "layer2.0", 2),
        ("mobilenetv2_100", "blocks.2.2", 3),
    ],
)
def test_it_stands_around_shifted_blocks(backbone: str, shifted: str, number: int, temporal: list[str]):
    network = randomize_(timm.create_model(backbone, num_classes=0)).double().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    temporalize(network, temporal, num_frames=4)
    x, order = torch.randn(4, 3, 64, 64, dtype=torch.float64), [2, 0, 3, 1]

    layers = {path: module for path, module in network.named_modules() if isinstance(module, TemporalLayer)}
    conv = "conv1" if "resnet" in backbone else "conv_pw"
    key = f"{shifted}.net.{conv}.net.weight"
    assert isinstance(layers[shifted], NonLocal)
    assert isinstance(layers[f"{shifted}.net.{conv}"], TemporalShift)
    assert torch.equal(network.state_dict()[key], before[f"{shifted}.{conv}.weight"])
    assert sum(isinstance(layer, NonLocal) for layer in layers.values()) == number
    for layer in layers.values():
        if isinstance(layer, NonLocal):
            randomize_(layer.norm)
    with torch.no_grad():
        assert (network(x[order]).mean(dim=0) - network(x).mean(dim=0)).abs().max() > 1e-6


def test_its_blocks_are_those_of_the_official_code():
    with torch.device("meta"):
        network = temporalize(torchvision.models.resnet50(), "nonlocal", num_frames=8)

    found = [path for path, module in network.named_modules() if isinstance(module, NonLocal)]
    assert found == ["layer2.0", "layer2.2", "layer3.0", "layer3.2", "layer3.4"]


def test_cost_is_that_of_its_convs_and_products():
    with torch.device("meta"):
        flat, network = (create_model("resnet50", temporal=name, num_classes=174) for name in ("none", "nonlocal"))
    before, after = cost(flat, size=224), cost(network, size=224)

    # Four convs of C x C/2 weights and their biases, and a batch norm: 7.36 M, as mmaction2's 35.4 M with five blocks
    # and 28.0 M without.
    blocks = [(512, 28)] * 2 + [(1024, 14)] * 3
    assert after.parameters - before.parameters == sum(2 * c * c + 3 * c // 2 + c + 2 * c for c, _ in blocks)
    # And two products of all positions of 8 frames with a quarter of them.
    positions = [(c, 8 * side**2) for c, side in blocks]
    assert after.macs - before.macs == sum(2 * c * c * p + 2 * p * p // 4 * c // 2 for c, p in positions)


@pytest.mark.parametrize(
    ("net", "channels"),
    [
        (nn.Conv2d(4, 6, 1), 6),
        (nn.Sequential(nn.BatchNorm2d(5), nn.ReLU()), 5),
        (torchvision.models.resnet.BasicBlock(8, 8), 8),
        (TemporalShift(nn.Conv2d(8, 3, 1), num_frames=2), 3),
    ],
)
def test_channels_are_those_that_come_out(net: nn.Module, channels: int):
    before = {key: value.clone() for key, value in net.state_dict().items()}

    assert channels_out_of(net, num_frames=2) == channels
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("net", [nn.Identity(), nn.Linear(3, 4), nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())])
def test_what_gives_no_frames_is_refused(net: nn.Module):
    with pytest.raises(
        ValueError, match=r"net must turn frames \[N\*T, C, H, W\] into frames, got \w+, whose channels cannot be told"
    ):
        NonLocal(net, num_frames=2)
