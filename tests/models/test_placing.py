"""A layer that is built from a conv and its batch norm, and layers at places that the caller names."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.sth import STHConv
from kinema.layers.tsm import TemporalShift
from kinema.models.placing import split_norm
from kinema.models.temporal_layers import TEMPORAL_LAYERS, TemporalKind
from kinema.models.temporalize import temporalize
from networks import randomize_


class Both(TemporalLayer):
    """Keeps what it is built from, and does no more than that."""

    def __init__(self, conv: nn.Module, norm: nn.Module, *, num_frames: int, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    def _step(self, x: Tensor, state: None) -> tuple[Tensor, None]:
        return self(x), None


@pytest.fixture(autouse=True)
def both(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(TEMPORAL_LAYERS, "both", TemporalKind(Both, site="spatial_bn"))


def layers_of(backbone: nn.Module, kind: type[TemporalLayer]) -> dict[str, TemporalLayer]:
    return {path: module for path, module in backbone.named_modules() if isinstance(module, kind)}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("make", "number"),
    [
        (lambda: timm.create_model("test_resnet"), 7),  # conv, then a plain batch norm
        (lambda: timm.create_model("test_byobnet"), 5),  # conv, then a batch norm that also activates
        (lambda: timm.create_model("mobilenetv3_small_050"), 11),
        (torchvision.models.mobilenet_v2, 17),
        (lambda: timm.models.vgg.VGG(cfg=[8, 8, "M", 8], norm_layer=nn.BatchNorm2d, num_classes=0), 2),
    ],
)
def test_a_conv_and_its_norm_in_one_layer_change_nothing(make, number: int, training: bool):
    backbone = randomize_(make()).train(training)
    temporal = temporalize(copy.deepcopy(backbone), "both", num_frames=2)
    x = torch.randn(4, 3, 64, 64)

    torch.manual_seed(0)  # of the dropout
    expected = backbone(x)
    torch.manual_seed(0)

    assert torch.equal(temporal(x), expected)
    assert len(layers_of(temporal, Both)) == number
    assert {module.training for module in temporal.modules()} == {training}
    before, after = backbone.state_dict().values(), temporal.state_dict().values()
    assert sorted(map(total, after)) == sorted(map(total, before))


def total(tensor: Tensor) -> float:
    return tensor.double().sum().item()


def test_the_parameters_and_the_mode_of_a_norm_are_kept():
    norm = BatchNormAct2d(6, eps=1e-3, momentum=0.2, act_layer=nn.SiLU).eval()

    plain, rest = split_norm(norm)
    x = torch.randn(2, 6, 3, 3)

    assert type(plain) is nn.BatchNorm2d
    assert plain.weight is norm.weight
    assert plain.running_var is norm.running_var
    assert (plain.eps, plain.momentum, plain.training) == (1e-3, 0.2, False)
    assert torch.equal(rest(plain(x)), norm(x))
    assert list(rest.state_dict()) == []


def test_a_frozen_norm_stays_frozen():
    backbone = torchvision.models.resnet18().train()
    backbone.layer1[0].bn1.eval()

    temporalize(backbone, "both", num_frames=2)

    assert [layer.norm.training for layer in layers_of(backbone, Both).values()] == [False] + [True] * 15
    assert all(layer.conv.training for layer in layers_of(backbone, Both).values())


def test_layers_stack_on_a_conv_and_its_norm():
    first = temporalize(torchvision.models.resnet18(), ["tsm", "both"], num_frames=2)
    second = temporalize(torchvision.models.resnet18(), ["both", "tsm"], num_frames=2)

    assert list(first.state_dict()) == list(second.state_dict())
    assert isinstance(first.layer1[0].conv1, TemporalShift)
    assert isinstance(first.layer1[0].conv1.net, Both)


@pytest.mark.parametrize(
    ("backbone", "temporal", "options", "sentence"),
    [
        ("test_convnext", "both", {}, r"got 'spatial_bn': no k x k conv of theirs has a batch norm right behind it"),
        ("test_efficientnet_gn", "both", {}, r"^blocks\.0\.0\.conv: norm must be a batch norm, got GroupNormAct; take"),
        ("test_resnet", ["both", "sth"], {}, r"layer1\.0\.conv1: conv must be an nn.Conv2d, got Both"),
        ("test_resnet", "both", {"site": "spatial"}, r"site must be spatial_bn for Both, got 'spatial'; drop it"),
        ("test_resnet", "both", {"sites": ["layer1.0.conv1"]}, r"sites must hold the paths of a conv and of its batch"),
        ("test_resnet", "sth", {"sites": ["layer1.0.bn1"]}, r"^layer1\.0\.bn1: conv must be an nn.Conv2d, got Batch"),
        ("test_resnet", "sth", {"sites": ["layer1.9"]}, r"got 'layer1\.9'; did you mean layer1\.0\?"),
        (
            "test_resnet",
            "sth",
            {"sites": ["conv1.0"], "every": 2},
            r"sites must stand alone, got site=None and every=2",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(
    backbone: str, temporal: str | list[str], options: dict[str, object], sentence: str
):
    network = timm.create_model(backbone)
    before = [type(module) for module in network.modules()]

    with pytest.raises(ValueError, match=sentence):
        temporalize(network, temporal, num_frames=2, **options)

    if isinstance(temporal, str):
        assert [type(module) for module in network.modules()] == before


class Own(nn.Module):
    """A network of one's own, with nothing in it that the table knows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.features = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.features(self.stem(x)).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("temporal", "sites", "kind"),
    [
        ("sth", ["features.0", "features.3"], STHConv),
        ("tsm", ["features.0", "features.3"], TemporalShift),
        ("tsm", ["features"], TemporalShift),
        ("both", [["features.0", "features.1"]], Both),
    ],
)
def test_layers_stand_where_a_caller_names_the_sites(temporal: str, sites: list, kind: type[TemporalLayer]):
    network = randomize_(temporalize(Own(), temporal, num_frames=3, sites=sites)).eval()

    assert sorted(layers_of(network, kind)) == sorted(site if isinstance(site, str) else site[0] for site in sites)
    x = torch.randn(6, 3, 12, 12)
    assert network(x).shape == (6, 8)
    torch.testing.assert_close(network(x[:3]), network(x)[:3])
