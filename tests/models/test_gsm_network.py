"""Where GSM and GSF stand, and what a network with GSM starts as."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from kinema.layers.gsm import GateShift, interleave
from kinema.models.temporalize import temporalize
from networks import randomize_

BACKBONES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (partial(timm.create_model, "resnet18", layers=(1, 2, 1, 1), channels=(16, 16, 24, 32)), 48),
    "resnet50": (partial(timm.create_model, "resnet50", layers=(1, 2, 1, 1), channels=(16, 16, 24, 32)), 48),
    "mobilenetv2_100": (partial(timm.create_model, "mobilenetv2_100"), 32),
    "inception_v3": (partial(timm.create_model, "inception_v3", aux_logits=False), 75),
}
"""Name -> a network, and the side of its pictures."""


def layers_of(network: nn.Module) -> dict[str, GateShift]:
    return {path: module for path, module in network.named_modules() if isinstance(module, GateShift)}


def conv_before(network: nn.Module, path: str) -> nn.Conv2d:
    """The conv whose output goes into the layer at a path."""
    modules = dict(network.named_modules())
    earlier = list(modules)[: list(modules).index(path)]
    conv = next(modules[other] for other in reversed(earlier) if isinstance(modules[other], nn.Conv2d))
    assert conv.out_channels == modules[path].net.num_features
    return conv


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", BACKBONES)
def test_gsm_starts_as_the_2d_network_but_for_the_order_of_channels(name: str, causal: bool):
    make, size = BACKBONES[name]
    flat = randomize_(make().double()).eval()
    network = temporalize(copy.deepcopy(flat), "gsm", num_frames=2, causal=causal)
    x = torch.randn(4, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        expected = flat(x)
        anew = (network(x) - expected).abs().max() / expected.abs().max()
        for path in layers_of(network):
            conv = conv_before(network, path)
            order = interleave(torch.arange(conv.out_channels).view(1, -1, 1, 1)).flatten()
            conv.weight[order] = conv.weight.clone()  # the layer's order then gives the conv's own channels
            if conv.bias is not None:
                conv.bias[order] = conv.bias.clone()

        torch.testing.assert_close(network(x), expected)
    assert anew > 1e-3


@pytest.mark.parametrize("name", ["gsm", "gsf"])
def test_they_stand_before_the_last_batch_norm_of_every_block(name: str):
    with torch.device("meta"):
        network = timm.create_model("resnet50")
        norms = {path: network.get_submodule(path) for path in [f"layer{i}.{j}.bn3" for i in (1, 4) for j in range(3)]}

        temporalize(network, name, num_frames=8)

    for path, norm in norms.items():
        assert network.get_submodule(path).net is norm


# mixed .. mixed_10 of the official GSF network, which is the same; that of GSM has no layer in mixed_6 (Mixed_6d), and
# in mixed_3 (Mixed_6a) it has it behind the first conv of the other branch.
INCEPTION_V3 = [
    *(f"Mixed_5{letter}.branch1x1.bn" for letter in "bcd"),
    "Mixed_6a.branch3x3.bn",
    *(f"Mixed_6{letter}.branch1x1.bn" for letter in "bcde"),
    "Mixed_7a.branch3x3_1.bn",
    *(f"Mixed_7{letter}.branch1x1.bn" for letter in "bc"),
]


def test_in_inception_it_stands_in_the_branch_with_the_fewest_convs_between_conv_and_norm():
    with torch.device("meta"):
        network = temporalize(timm.create_model("inception_v3"), "gsm", num_frames=8)

    assert list(layers_of(network)) == INCEPTION_V3
    assert {type(layer.net) for layer in layers_of(network).values()} == {BatchNormAct2d}
    assert [layer.gate.channels for layer in layers_of(network).values()] == [
        *(64, 64, 64, 384, 192, 192, 192, 192, 192, 320, 320),  # fPlane of the official file
    ]
