from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from timm.layers import BatchNormAct2d
from torch import nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.sth import STHConv
from kinema.layers.tsm import TemporalShift
from kinema.models.backbones import create_backbone
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.models.temporalize import set_num_frames, temporalize
from networks import randomize_

BACKBONES = {
    "torchvision resnet18": torchvision.models.resnet18,
    "torchvision resnet50": torchvision.models.resnet50,
    "timm resnet18": lambda: timm.create_model("resnet18"),
    "timm resnet26 without classifier": lambda: timm.create_model("resnet26", num_classes=0),
    "timm test_resnet": lambda: timm.create_model("test_resnet", num_classes=0),
}
LAYERS = [name for name, kind in TEMPORAL_LAYERS.items() if kind is not None]


def skeleton(name: str = "resnet18") -> nn.Module:
    """A network without numbers, made at once."""
    with torch.device("meta"):
        return getattr(torchvision.models, name)()


def layers_of(backbone: nn.Module) -> dict[str, TemporalLayer]:
    return {path: module for path, module in backbone.named_modules() if isinstance(module, TemporalLayer)}


@pytest.mark.parametrize(
    "backbone", [pytest.param(name, marks=pytest.mark.slow if "50" in name else []) for name in BACKBONES]
)
@pytest.mark.parametrize("name", [*LAYERS, "none"])
def test_frames_meet_in_every_network_except_without_a_layer(name: str, backbone: str):
    network = temporalize(BACKBONES[backbone](), name, num_frames=4)
    randomize_(network).double().eval()
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    changed = x.clone()
    changed[1] = torch.randn(3, 32, 32)

    with torch.no_grad():
        features, backwards, meeting = network(x), network(x[[3, 2, 1, 0]]), network(changed)
    order = (features[[3, 2, 1, 0]] - backwards).abs().max()
    others = (features - meeting)[[0, 2, 3]].abs().max()

    kind = TEMPORAL_LAYERS[name]
    # Rounding is far below what one module in the middle of a network leaves behind it.
    assert (order > 1e-5) if kind is not None and kind.sees_order else (order < 1e-10)
    assert (others > 1e-5) if kind is not None else (others < 1e-10)


@pytest.mark.parametrize(
    ("backbone", "name", "number"),
    [
        ("torchvision resnet18", "tsm", 8),
        ("torchvision resnet18", "sth", 16),
        ("torchvision resnet50", "tsm", 16),
        ("torchvision resnet50", "sth", 16),
        ("timm resnet26 without classifier", "sth", 8),
        ("timm test_resnet", "sth", 7),
        ("timm test_resnet", "stam", 7),
        ("timm test_resnet", "none", 0),
        ("torchvision resnet18", "tam", 8),
        ("torchvision resnet50", "tam", 16),
        ("torchvision resnet18", "tadaconv", 16),
        ("torchvision resnet50", "conv2plus1d_parallel", 16),
        ("torchvision resnet50", "i3d", 9),
    ],
)
def test_every_site_gets_a_layer(backbone: str, name: str, number: int):
    with torch.device("meta"):
        network = BACKBONES[backbone]()

    assert len(layers_of(temporalize(network, name, num_frames=4))) == number


def test_weights_of_the_2d_network_carry_over():
    backbone = torchvision.models.resnet50()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}

    temporalize(backbone, ["tsm", "sth"], num_frames=4)

    assert torch.equal(backbone.layer1[0].conv1.net.weight, before["layer1.0.conv1.weight"])
    assert torch.equal(backbone.layer4[2].conv3.weight, before["layer4.2.conv3.weight"])
    for stage in (1, 2, 3, 4):
        conv, weight = backbone.get_submodule(f"layer{stage}.0.conv2"), before[f"layer{stage}.0.conv2.weight"]
        width = len(weight)
        diagonal = torch.block_diag(*[torch.ones(width // 4, width // 4)] * 4).bool()
        assert torch.equal(conv.spatial, weight[~diagonal])


@pytest.mark.parametrize("backbone", ["torchvision resnet18", "timm test_resnet"])
@pytest.mark.parametrize("name", [name for name in LAYERS if TEMPORAL_LAYERS[name].starts_as_2d])
def test_what_starts_as_the_2d_network_does_so_to_the_last_bit(name: str, backbone: str):
    flat = randomize_(BACKBONES[backbone]()).eval()
    network = temporalize(copy.deepcopy(flat), name, num_frames=4)
    x = torch.randn(8, 3, 32, 32)

    with torch.no_grad():
        assert torch.equal(network(x), flat(x))


def test_a_norm_that_goes_on_to_an_activation_leaves_the_activation():
    flat = timm.create_model("test_resnet", num_classes=0)
    for block in (flat.layer1[0], flat.layer2[0]):
        block.bn1 = BatchNormAct2d(block.bn1.num_features, act_layer=nn.SiLU)
    randomize_(flat).eval()
    network = temporalize(copy.deepcopy(flat), "stam", num_frames=4)
    x = torch.randn(4, 3, 32, 32)

    assert type(network.layer1[0].conv1.norm) is nn.BatchNorm2d
    assert isinstance(network.layer1[0].bn2, nn.Identity)
    assert torch.equal(network(x), flat(x))


def test_the_backbone_itself_is_changed_and_returned():
    backbone = skeleton()

    assert temporalize(backbone, "sth", num_frames=4) is backbone


def test_layers_of_a_list_are_applied_left_to_right():
    backbone = temporalize(skeleton(), ["tsm", "sth"], num_frames=4)

    assert isinstance(backbone.layer1[0].conv1, TemporalShift)
    assert isinstance(backbone.layer1[0].conv1.net, STHConv)
    assert isinstance(backbone.layer1[0].conv2, STHConv)


def test_the_order_of_a_wrapping_and_a_replacing_layer_does_not_matter():
    first = temporalize(skeleton(), ["tsm", "sth"], num_frames=4)
    second = temporalize(skeleton(), ["sth", "tsm"], num_frames=4)

    assert list(first.state_dict()) == list(second.state_dict())


def test_options_reach_the_layers_that_know_them():
    backbone = temporalize(skeleton(), ["tsm", "sth"], num_frames=4, causal=True, num_divisions=4, fraction=0.5)

    shift = backbone.layer1[0].conv1
    assert (shift.num_divisions, shift.causal) == (4, True)
    assert (shift.net.fraction, shift.net.causal) == (0.5, True)


def test_alternating_dilations_are_dealt_out_in_the_order_of_the_network():
    backbone = temporalize(skeleton("resnet50"), "sth", num_frames=8, dilation="alternating")

    assert [layer.dilation for layer in layers_of(backbone).values()] == [1, 2, 3] * 5 + [1]


def test_a_dilation_that_is_no_word_is_everywhere_the_same():
    backbone = temporalize(skeleton(), "sth", num_frames=8, dilation=2)

    assert {layer.dilation for layer in layers_of(backbone).values()} == {2}


@pytest.mark.parametrize(("name", "wrapped"), [("resnet50", 16), ("resnet101", 18)])
def test_tsm_leaves_every_second_block_of_a_very_deep_network_alone(name: str, wrapped: int):
    # 3, 4, 23 and 3 blocks: the first, third, ... of each make 2 + 2 + 12 + 2, as in the official code.
    assert len(layers_of(temporalize(skeleton(name), "tsm", num_frames=8))) == wrapped


def test_the_placement_in_front_of_whole_blocks_leaves_none_alone():
    assert len(layers_of(temporalize(skeleton("resnet101"), "tsm", num_frames=8, site="block"))) == 33


def test_inflated_blocks_are_those_of_the_papers_resnet():
    found = layers_of(temporalize(skeleton("resnet50"), "i3d", num_frames=4))

    blocks = ["1.0", "1.1", "1.2", "2.0", "2.2", "3.0", "3.2", "3.4", "4.1"]
    assert list(found) == [f"layer{block}.conv1" for block in blocks]


def test_a_pattern_gives_way_to_every_and_holds_at_other_sites():
    everywhere = temporalize(skeleton("resnet50"), "i3d", num_frames=4, every=1)
    spatial = temporalize(skeleton("resnet50"), "i3d", num_frames=4, site="spatial")

    assert len(layers_of(everywhere)) == 16
    assert len(layers_of(spatial)) == 9
    assert spatial.layer1[0].conv2.conv.kernels.shape == (64, 64, 3, 3, 3)


def test_tam_stands_between_the_convs_of_a_block():
    basic, bottleneck = (temporalize(skeleton(name), "tam", num_frames=4) for name in ("resnet18", "resnet50"))

    assert [path.split(".")[2] for path in layers_of(basic)] == ["conv2"] * 8
    assert [path.split(".")[2] for path in layers_of(bottleneck)] == ["conv2"] * 16


def test_tadaconv_takes_the_norm_with_it():
    backbone = temporalize(torchvision.models.resnet18(), "tadaconv", num_frames=4)

    assert isinstance(backbone.layer1[0].conv1.norm, nn.BatchNorm2d)
    assert isinstance(backbone.layer1[0].bn1, nn.Identity)


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in LAYERS if TEMPORAL_LAYERS[name].starts_as_2d), ("i3d", {"start": "centre"})],
)
def test_starts_as_the_2d_network_to_the_last_bit(name: str, options: dict[str, str]):
    backbone = randomize_(timm.create_model("test_resnet", num_classes=5)).eval()
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = backbone(x)

        assert torch.equal(temporalize(backbone, name, num_frames=4, **options)(x), expected)


def test_every_second_block_on_request():
    backbone = temporalize(skeleton(), "sth", num_frames=4, every=2)

    assert {path.split(".")[1] for path in layers_of(backbone)} == {"0"}


def test_a_layer_can_stand_elsewhere_on_request():
    backbone = temporalize(skeleton(), "tsm", num_frames=4, site="block")

    assert isinstance(backbone.layer1[0], TemporalShift)


def test_device_dtype_and_mode_are_the_backbones():
    backbone = temporalize(torchvision.models.resnet18().double().eval(), "sth", num_frames=4)

    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float64}
    assert not any(module.training for module in backbone.modules())


def test_num_frames_is_set_everywhere():
    backbone = temporalize(skeleton(), ["tsm", "sth"], num_frames=4)

    set_num_frames(backbone, 2)

    assert {layer.num_frames for layer in layers_of(backbone).values()} == {2}


@pytest.mark.parametrize("name", LAYERS)
def test_a_causal_network_never_sees_the_future(name: str):
    network = temporalize(timm.create_model("test_resnet", num_classes=5), name, num_frames=6, causal=True)
    randomize_(network).eval()
    x = torch.randn(6, 3, 32, 32)
    changed = x.clone()
    changed[3:] = torch.randn(3, 3, 32, 32)

    with torch.no_grad():
        before, after = network(x), network(changed)

    torch.testing.assert_close(before[:3], after[:3])
    assert (before[3:] - after[3:]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("temporal", "options", "sentence"),
    [
        ("sht", {}, r"temporal must be one of none, tsm, sth, .*got 'sht'; did you mean sth\?"),
        ("sth", {"fracton": 0.5}, r"options must be those of sth, got 'fracton'; did you mean fraction\?"),
        (
            "tsm",
            {"fraction": 0.5},
            r"options must be those of tsm, got 'fraction'; known are every, num_div",
        ),
        (
            "none",
            {"fraction": 0.5},
            r"options must be those of none, got 'fraction'; known are every, short_term, site",
        ),
        (["sth", "sth"], {}, r"temporal must name each layer once, got 'sth' more than once"),
        ("sth", {"site": "spatial_bn"}, r"site must be a single module for STHConv, got 'spatial_bn'"),
        ("sth", {"site": "exit"}, r"layer1\.0\.bn2: conv must be an nn.Conv2d, got BatchNorm2d"),
        ("stam", {"site": "spatial"}, r"site must be spatial_bn for STAMConv, got 'spatial'; drop it"),
        ("sth", {"dilation": "alternate"}, r"dilation must be of type int or fixed or alternating, got 'alternate'"),
        ("sth", {"every": 0}, r"every must be a whole number of at least 1, got 0"),
        ("i3d", {"every": 0}, r"every must be a whole number of at least 1, got 0"),
        ("tadaconv", {"site": "spatial"}, r"site must be spatial_bn for TAdaConv, got 'spatial'"),
    ],
)
def test_what_cannot_be_is_refused(temporal: str | list[str], options: dict[str, object], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        temporalize(skeleton(), temporal, num_frames=4, **options)


def test_a_network_with_temporal_layers_is_refused():
    backbone = temporalize(skeleton(), "tsm", num_frames=4)

    with pytest.raises(ValueError, match=r"must be a 2D network, got one with TemporalShift at layer1\.0\.conv1; name"):
        temporalize(backbone, "sth", num_frames=4)


def test_a_network_without_known_blocks_is_refused():
    with pytest.raises(ValueError, match="backbone must have blocks of a known kind, got a SqueezeNet"):
        temporalize(skeleton("squeezenet1_1"), "sth", num_frames=4)


def test_without_a_layer_any_network_will_do():
    backbone = nn.Conv2d(3, 8, 3)

    assert temporalize(backbone, "none", num_frames=4) is backbone


@pytest.mark.parametrize("temporal_pool", [False, True])
def test_what_the_second_layer_refuses_leaves_the_backbone_as_it_was(temporal_pool):
    backbone = create_backbone("test_resnet", pretrained=False)
    before = dict(backbone.named_modules())

    with pytest.raises(ValueError, match="fraction"):
        temporalize(backbone, ["tsm", "sth"], num_frames=4, temporal_pool=temporal_pool, fraction=0.9)

    assert dict(backbone.named_modules()) == before


@pytest.mark.parametrize("temporal", [["stm", "tam"], ["stam", "tam"], ["tam", "stm"], ["tsm", "stam"]])
def test_layers_stand_in_each_other(temporal):
    backbone = temporalize(create_backbone("test_resnet"), temporal, num_frames=4)
    assert backbone(torch.randn(4, 3, 32, 32)).shape[0] == 4


def test_pairs_of_paths_serve_layers_of_both_kinds():
    backbone = create_backbone("test_resnet")
    temporalize(backbone, ["tsm", "stam"], num_frames=4, sites=[["layer1.0.conv2", "layer1.0.bn2"]])
    kinds = [type(module).__name__ for module in backbone.modules() if isinstance(module, TemporalLayer)]
    assert kinds == ["TemporalShift", "STAMConv"]


@pytest.mark.parametrize(
    ("temporal", "options", "sentence"),
    [
        ([], {}, "temporal must name a layer, got none"),
        ("none", {"every": 2}, "site, sites and every must be left out where temporal is 'none'"),
        ("sth", {"sites": []}, r"sites must be a list of dotted paths, got \[\]"),
        ("sth", {"sites": "layer1.0.conv1"}, "sites must be a list of dotted paths, got 'layer1.0.conv1'"),
        ("sth", {"every": "x"}, "every must be a whole number of at least 1, got 'x'"),
        ("sth", {"fraction": "half"}, "fraction must be of type float, got 'half'"),
        ("sth", {"temporal_size": 3.0}, r"temporal_size must be of type int, got 3\.0"),
        ("sth", {"dilation": "alternately"}, "dilation must be of type int or fixed or alternating, got 'alternately'"),
        ("stm", {"motion": "no"}, "motion must be of type bool, got 'no'"),
        ("stsm", {"num_divisions": 4096}, "num_divisions must be at most the channels that come in, .*, got 4096"),
        ("stsm", {"axes": "HW", "spatial_divisions": 4096}, "spatial_divisions must be at most the channels"),
    ],
)
def test_what_would_do_nothing_is_refused(temporal, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        temporalize(create_backbone("test_resnet"), temporal, num_frames=4, **options)


def test_fixed_dilation_is_one():
    backbone = temporalize(create_backbone("test_resnet"), "sth", num_frames=4, dilation="fixed")
    assert {module.dilation for module in backbone.modules() if isinstance(module, STHConv)} == {1}
