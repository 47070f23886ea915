"""Every layer in every kind of backbone: it works there, or docs/backbones.md has the reason why not."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType

import pytest
import timm
import torch
import torchvision
from timm.models.vgg import VGG
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import make_layers

from kinema.layers.contract import TemporalLayer
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.models.temporalize import temporalize
from networks import randomize_
from pages import load_script

LAYERS = [name for name, kind in TEMPORAL_LAYERS.items() if kind is not None]
SENTENCE = re.compile(r"(\S+: )?\w+ must .+, got .+; .+", re.DOTALL)
T = 3


def small(name: str, **options: object) -> Callable[[], nn.Module]:
    return partial(timm.create_model, name, num_classes=0, **options)


def without(part: str, make: Callable[[], nn.Module]) -> nn.Module:
    """Leaves out a classifier that is made for large pictures."""
    network = make()
    setattr(network, part, nn.Identity())
    return network


def small_vgg_of_torchvision() -> nn.Module:
    with torch.device("meta"):
        network = torchvision.models.VGG(nn.Sequential(), num_classes=5)
    network.features, network.classifier = make_layers([8, 8, "M", 16, 16], batch_norm=True), nn.Identity()
    return network


SHALLOW = {"layers": (1, 1, 1, 1), "channels": (16, 16, 16, 24)}
SMALL: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (small("resnet18", layers=(1, 1, 1, 1), channels=(16, 16, 24, 32)), 48),
    "resnet50": (small("resnet50", **SHALLOW), 48),
    "resnext50_32x4d": (small("resnext50_32x4d", cardinality=4, base_width=32, **SHALLOW), 48),
    "wide_resnet50_2": (small("wide_resnet50_2", **SHALLOW), 48),
    "res2net50_26w_4s": (small("res2net50_26w_4s", layers=(1, 1, 1, 1), channels=(32, 32, 32, 32)), 48),
    "regnety_002": (small("regnety_002"), 48),
    "vgg16_bn": (
        partial(without, "pre_logits", partial(VGG, [8, 8, "M", 16, 16], num_classes=0, norm_layer=nn.BatchNorm2d)),
        24,
    ),
    "vgg16": (partial(without, "pre_logits", partial(VGG, [8, 8, "M", 16, 16], num_classes=0)), 24),
    "densenet121": (small("densenet121", growth_rate=16, block_config=(2, 2, 2, 2)), 48),
    "mobilenetv2_100": (small("mobilenetv2_035"), 48),
    "mobilenetv3_small_100": (small("mobilenetv3_small_050"), 48),
    "test_resnet": (small("test_resnet"), 48),
    "test_byobnet": (small("test_byobnet"), 48),
    "test_convnext": (small("test_convnext"), 48),
    "test_efficientnet": (small("test_efficientnet"), 48),
    "test_mambaout": (small("test_mambaout"), 48),
    "test_nfnet": (small("test_nfnet"), 48),
    "torchvision resnet18": (partial(ResNet, BasicBlock, [1, 1, 1, 1], num_classes=5), 32),
    "torchvision resnet50": (partial(ResNet, Bottleneck, [1, 1, 1, 1], num_classes=5), 32),
    "torchvision vgg16_bn": (small_vgg_of_torchvision, 24),
    "torchvision densenet121": (
        partial(torchvision.models.DenseNet, 8, (2, 2, 2, 2), 16, num_classes=5, bn_size=2),
        48,
    ),
    "torchvision mobilenet_v2": (partial(torchvision.models.mobilenet_v2, width_mult=0.35, num_classes=5), 48),
}
"""Row of the matrix -> a small network with the same blocks, and the side of its pictures."""
BIG = ("torchvision resnet18", "torchvision resnet50")


def script() -> ModuleType:
    """docs/backbones.py."""
    return load_script("backbones")


@cache
def page() -> dict[str, dict[str, str]]:
    return script().read_matrix(script().PAGE.read_text(encoding="utf-8"))


@cache
def flat_network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return randomize_(SMALL[name][0]().double()).eval()


def rows(names: list[str], slow: tuple[str, ...]) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else []) for name in names]


def layers_of(network: nn.Module) -> dict[str, TemporalLayer]:
    return {path: module for path, module in network.named_modules() if isinstance(module, TemporalLayer)}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", rows(list(SMALL), BIG))
def test_a_layer_works_in_a_network_or_says_why_not(name: str, layer: str):
    flat = flat_network(name)
    network = copy.deepcopy(flat)
    if not page()[name][layer].isdigit():
        with pytest.raises(ValueError, match=SENTENCE):
            temporalize(network, layer, num_frames=T)
        return

    temporalize(network, layer, num_frames=T)

    expect_2d_weights_kept(network, flat)
    for one in layers_of(network).values():
        randomize_(one)
    size = SMALL[name][1]
    x = torch.randn(2 * T, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features = network(x)
    assert features.shape == flat(x).shape
    expect_gradients(network, x)
    for one in layers_of(network).values():
        randomize_(one)
    with torch.no_grad():
        expect_near(network(x[T:]), features[T:])
        backwards = network(torch.cat([x[:T].flip(0), x[T:]]))
        changed = network(torch.cat([x[:1], x[1:2].flip(-1), x[2:]]))
    expect_near(backwards[T:], features[T:])
    if TEMPORAL_LAYERS[layer].sees_order:
        assert difference(backwards[:T], features[:T].flip(0)) > 1e-8
    else:
        expect_near(backwards[:T], features[:T].flip(0))
    expect_near(changed[T:], features[T:])
    assert difference(changed[[0, 2]], features[[0, 2]]) > 1e-8


def difference(first: Tensor, second: Tensor) -> float:
    """The largest one, beside the largest number."""
    return ((first - second).abs().max() / second.abs().max()).item()


def expect_near(first: Tensor, second: Tensor) -> None:
    """Equal but for sums that another batch takes in another order, layer after layer.

    In float64 that is far from what frames do to each other, of which little may be left behind a deep network.
    """
    assert difference(first, second) < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", [name for name in script().NETWORKS if name not in SMALL])
def test_a_layer_runs_in_a_network_of_full_size(name: str, layer: str):
    # Without numbers: shapes fit, and a way leads back from the features to every parameter of the layers.
    if not page()[name][layer].isdigit():
        return  # the page's own test holds it to the sentence
    with torch.device("meta"):
        network = temporalize(script().NETWORKS[name](), layer, num_frames=T)
        network(torch.zeros(2 * T, 3, 96, 96)).sum().backward()

    for path, one in layers_of(network).items():
        assert not [f"{path}.{key}" for key, parameter in one.named_parameters() if parameter.grad is None]


def expect_2d_weights_kept(network: nn.Module, flat: nn.Module) -> None:
    """Outside of the layers every tensor is what it was; inside are at least half of a conv's values, or a third each.

    A layer may drop some of the spatial kernels (STH with p = 1/2 the most), or spread a kernel evenly over its frames.
    """
    inside, generator = layers_of(network), torch.Generator().manual_seed(0)
    before = flat.state_dict()
    for path, tensor in network.state_dict().items():
        if not any(path.startswith(f"{layer}.") for layer in inside):
            assert torch.equal(tensor, before[path]), path
    for path, layer in inside.items():
        stood = flat.get_submodule(path) if hasattr(flat, path.split(".")[0]) else None
        values = torch.cat([tensor.flatten().double() for tensor in layer.state_dict().values()])
        for parameter in stood.parameters() if stood is not None else ():
            some = parameter.detach().flatten()[torch.randperm(parameter.numel(), generator=generator)[:500]]
            there, third = torch.isin(some.double(), values), torch.isin((some / 3).double(), values)
            assert max(there.double().mean(), third.double().mean()) >= 0.5, path


def expect_gradients(network: nn.Module, x: Tensor) -> None:
    """Every parameter of a layer gets a gradient, if not at the first draw: all of a few ReLUs may be shut."""
    without: list[str] = []
    for seed in range(6):
        for one in layers_of(network).values():
            randomize_(one, seed=seed)
        network(x).square().mean().backward()
        parameters = [
            (f"{path}.{key}", parameter)
            for path, layer in layers_of(network).items()
            for key, parameter in layer.named_parameters()
        ]
        # Softmax does not see the bias of Non-local's phi.
        without = [
            path
            for path, parameter in parameters
            if parameter.grad is None or not (parameter.grad.any() or path.endswith("phi.bias"))
        ]
        if not without:
            break
    assert not without


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["resnet50", "mobilenetv2_100", "test_convnext"])
def test_a_causal_network_never_sees_the_future_whatever_its_blocks(name: str, layer: str):
    network = copy.deepcopy(flat_network(name))
    if not page()[name][layer].isdigit():
        return  # the page's own test holds it to the sentence
    try:
        temporalize(network, layer, num_frames=4, causal=True)
    except ValueError as error:
        assert "causal" in str(error)  # noqa: PT017 (either it can be causal, or it says that it cannot)
        return
    for one in layers_of(network).values():
        randomize_(one)
    x = torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    changed = torch.cat([x[:2], x[2:].flip(0)])

    with torch.no_grad():
        before, after = network(x), network(changed)

    expect_near(after[:2], before[:2])
    assert difference(after[2:], before[2:]) > 1e-8


class Folding(nn.Module):
    """Takes clips [N, T, C, H, W], and gives the mean of their frames' features [N, D]."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, clips: Tensor) -> Tensor:
        return self.backbone(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]).mean(dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100"])
def test_a_network_exports_with_any_batch(name: str, layer: str):
    backbone = copy.deepcopy(flat_network(name))
    if not page()[name][layer].isdigit():
        return  # the page's own test holds it to the sentence
    network = Folding(temporalize(backbone, layer, num_frames=T)).eval()
    for one in layers_of(network).values():
        randomize_(one)
    clips = torch.randn(5, T, 3, 48, 48, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    batch = torch.export.Dim("num_clips", min=1, max=64)
    program = torch.export.export(network, (clips[:3],), dynamic_shapes=({0: batch},)).module()

    for number in (1, 2, 5):
        expect_near(program(clips[:number]), network(clips[:number]))


QUICK_ROWS = ("resnet18", "mobilenetv2_100", "vgg16_bn", "test_byobnet", "test_convnext", "test_efficientnet")


@pytest.mark.parametrize("name", rows(list(script().NETWORKS), tuple(set(script().NETWORKS) - set(QUICK_ROWS))))
def test_the_page_says_what_the_code_does(name: str):
    assert page()[name] == script().row(name), "run python docs/backbones.py"


def test_the_page_has_a_row_for_every_network_and_a_column_for_every_layer():
    assert list(page()) == list(script().NETWORKS), "run python docs/backbones.py"
    assert {tuple(cells) for cells in page().values()} == {tuple(LAYERS)}, "run python docs/backbones.py"
    assert set(SMALL) <= set(page())


def test_a_page_that_is_written_can_be_read():
    written = {name: dict.fromkeys(LAYERS, "7") | {LAYERS[0]: f"{name} must be right, got (1); go on"} for name in "ab"}

    assert script().read_matrix(script().fill("x\n<!-- matrix -->\nold\n<!-- /matrix -->\n", written)) == written


def test_the_smallest_of_tensors_is_enough_for_one_frame():
    # A clip of one frame runs through every kind of block.
    for name in ("resnet50", "mobilenetv2_100"):
        network: nn.Module = temporalize(copy.deepcopy(flat_network(name)), "tsm", num_frames=1)
        x: Tensor = torch.zeros(1, 3, 48, 48, dtype=torch.float64)
        assert network(x).isfinite().all()
