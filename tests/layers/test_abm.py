from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.abm import BilinearConv
from kinema.models.classifier import create_model
from kinema.models.cost import cost
from loops import conv3d_slowly, normalized_slowly
from networks import randomize_

CONVS = {
    "plain": {"kernel_size": 3, "padding": 1, "bias": False},
    "strided, with a bias": {"kernel_size": 3, "padding": 1, "stride": 2},
    "unpadded": {"kernel_size": (3, 2)},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "depthwise": {"kernel_size": 3, "padding": 1, "groups": 4},
}


def defined_slowly(layer: BilinearConv, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The product of two convs over time and space, the first one normalized; x [N, T, Ci, H, W]."""
    y = conv3d_slowly(x, layer.conv.kernels.detach(), conv, causal=layer.causal)
    y = y if layer.conv.bias is None else y + layer.conv.bias.detach().view(-1, 1, 1)
    factor = conv3d_slowly(x, layer.partner.kernels.detach(), conv, causal=layer.causal)
    return normalized_slowly(y, layer.norm, axis=2) * (factor + layer.partner.bias.detach().view(-1, 1, 1))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", CONVS)
def test_equals_the_definition(kind: str, causal: bool):
    conv = nn.Conv2d(4, 8, **CONVS[kind]).double()
    layer = randomize_(BilinearConv(conv, nn.BatchNorm2d(8).double(), num_frames=3, causal=causal)).eval()
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)

    y = layer(x.flatten(0, 1)).unflatten(0, (2, 3))

    torch.testing.assert_close(y, defined_slowly(layer, conv, x))


@pytest.mark.parametrize("causal", [False, True])
def test_starts_as_the_conv_and_its_norm(causal: bool):
    conv, norm = nn.Conv2d(4, 8, 3, padding=1, stride=2), randomize_(nn.BatchNorm2d(8)).eval()
    x = torch.randn(8, 4, 6, 6)

    torch.testing.assert_close(BilinearConv(conv, norm, num_frames=4, causal=causal).eval()(x), norm(conv(x)))


def test_stands_in_the_blocks_of_the_official_code():
    with torch.device("meta"):
        model = create_model("resnet18", temporal="abm", num_classes=5)

    found = [path for path, module in model.backbone.named_modules() if isinstance(module, BilinearConv)]
    assert found == ["layer2.1.conv1", "layer3.1.conv1", "layer4.1.conv1"]


def test_a_network_of_single_blocks_gets_one_in_each():
    model = create_model("test_resnet", temporal="abm", num_classes=5)

    assert sum(isinstance(module, BilinearConv) for module in model.modules()) == 4


def test_parameters_are_those_of_two_convs_over_time():
    with torch.device("meta"):
        flat, model = (create_model("resnet50", temporal=name, num_classes=174) for name in ("none", "abm"))

    # In stages of 4, 6 and 3 blocks all but the first: 27 C^2 twice, less the 9 C^2 that were there, and C biases.
    added = sum(blocks * ((2 * 27 - 9) * width**2 + width) for blocks, width in ((3, 128), (5, 256), (2, 512)))
    assert cost(model, size=64).parameters - cost(flat, size=64).parameters == added


def test_a_conv_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"conv must be an nn\.Conv2d, got Linear; choose another site"):
        BilinearConv(nn.Linear(4, 4), nn.BatchNorm2d(4), num_frames=4)
