"""Groups of parameters: every one in exactly one, at the rate and decay that the recipe means."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models import group_parameters
from torch import nn

from kinema.engine.recipe import OptimizerRecipe
from kinema.engine.training.optimizing.param_groups import parameter_groups
from kinema.models.classifier import create_model
from kinema.models.temporal_layers import TEMPORAL_LAYERS

TSN = {"bias_rate": 2.0, "head_rate": 5.0, "weight_decay": 5e-4}


def make(backbone="test_resnet", temporal="none", **options):
    return create_model(backbone, num_classes=3, num_frames=options.pop("num_frames", 4), temporal=temporal, **options)


def rows(model, **recipe):
    groups = parameter_groups(model, OptimizerRecipe(**recipe))
    return {group.name: (group.rate, group.weight_decay, group.num_values) for group in groups}


def rate_of(model, **recipe):
    groups = parameter_groups(model, OptimizerRecipe(**recipe))
    return {name: group.rate for group in groups for name in group.names}


REFUSED = {
    "test_resnet": set(),
    "test_convnext": {"stam", "tadaconv", "abm", "gsm", "gsf"},
    "test_efficientnet": {"tsm", "stsm", "tin", "action", "i3d"},
}
"""Layers that a backbone has no place for."""
CASES = [
    *((backbone, layer) for backbone, refused in REFUSED.items() for layer in TEMPORAL_LAYERS if layer not in refused),
    ("test_vit", "none"),
]


@pytest.mark.parametrize(("backbone", "temporal"), CASES)
def test_every_parameter_is_in_one_group(backbone, temporal):
    model = make(backbone, temporal)
    adds = temporal not in ("none", "tsm", "stsm", "i3d")  # i3d makes all of its own from 2D weights
    groups = parameter_groups(
        model, OptimizerRecipe(bias_rate=2, head_rate=5, temporal_rate=3 if adds else 1, layer_decay=0.5)
    )
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert sum(group.num_values for group in groups) == sum(one.numel() for one in model.parameters())
    assert len({(group.rate, group.weight_decay) for group in groups}) == len(groups)


def test_groups_of_a_resnet_by_tsns_recipe():
    # convs of a ResNet-18 and its head without biases: 11,166,912; batch norms: 2 x 4,800; head: 512 x 3 + 3
    assert rows(make("resnet18"), **TSN) == {
        "backbone weights": (1, 5e-4, 11_166_912),
        "backbone norms": (1, 0, 9_600),
        "head weights": (5, 5e-4, 1_536),
        "head biases": (10, 0, 3),
    }


def test_groups_of_a_network_whose_convs_have_biases():
    model = make("test_convnext", num_frames=2)
    layers = [one for one in model.backbone.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    norms = [one for one in model.backbone.modules() if isinstance(one, nn.LayerNorm)]
    scales = [one for name, one in model.named_parameters() if name.endswith("gamma")]
    assert (len(layers), len(norms), len(scales)) == (1 + 3 + 3 * 9, 1 + 3 + 9 + 1, 9)
    assert rows(model, first_conv_rate=3.0, **TSN) == {
        "first conv weights": (3, 5e-4, 24 * 3 * 4 * 4),
        "first conv biases": (6, 0, 24),
        "backbone norms, backbone vectors": (
            1,
            0,
            sum(2 * one.weight.numel() for one in norms) + 24 + 2 * 32 + 4 * 48 + 2 * 64,
        ),
        "backbone weights": (1, 5e-4, sum(one.weight.numel() for one in layers[1:])),
        "backbone biases": (2, 0, sum(one.bias.numel() for one in layers[1:])),
        "head weights": (5, 5e-4, 64 * 3),
        "head biases": (10, 0, 3),
    }


def test_everything_decays_where_it_is_told_to():
    assert rows(make("resnet18"), decay="all", weight_decay=0.1) == {
        "backbone weights, backbone norms, head weights, head biases": (1, 0.1, 11_166_912 + 9_600 + 1_539)
    }


def test_by_default_biases_and_norms_do_not_decay():
    assert rows(make("resnet18"), weight_decay=0.1) == {
        "backbone weights, head weights": (1, 0.1, 11_166_912 + 1_536),
        "backbone norms, head biases": (1, 0, 9_600 + 3),
    }


def test_what_the_authors_of_a_network_except_does_not_decay():
    groups = parameter_groups(make("test_vit", num_frames=2), OptimizerRecipe(weight_decay=0.1))
    free = {name for group in groups if not group.weight_decay for name in group.names}
    assert {"backbone.pos_embed", "backbone.cls_token"} <= free
    assert "backbone.blocks.0.attn.qkv.weight" not in free


@pytest.mark.parametrize(
    ("temporal", "name", "is_added"),
    [
        ("tsm", "backbone.layer2.0.conv1.net.weight", False),
        ("sth", "backbone.layer2.0.conv1.temporal", True),
        ("sth", "backbone.layer2.0.conv1.attention.reduce.weight", True),
        ("sth", "backbone.layer2.0.conv1.spatial", False),
        ("i3d", "backbone.layer2.0.conv1.conv.weight", False),
        ("tadaconv", "backbone.layer2.0.conv1.norm.weight", False),
        ("tadaconv", "backbone.layer2.0.conv1.conv.weight", False),
        ("tadaconv", "backbone.layer2.0.conv1.pool_norm.weight", True),
        ("tadaconv", "backbone.layer2.0.conv1.route.norm.bias", True),
        ("tam", "backbone.layer2.0.conv2.G.0.weight", True),
        ("tam", "backbone.layer2.0.conv2.net.weight", False),
        ("nonlocal", "backbone.layer2.0.theta.weight", True),
        ("nonlocal", "backbone.layer2.0.net.conv1.weight", False),
    ],
)
def test_what_layers_add_has_the_temporal_rate_and_what_they_keep_or_make_has_not(temporal, name, is_added):
    model = make("resnet18", temporal)
    assert name in dict(model.named_parameters())
    if temporal in ("tsm", "i3d"):
        assert rate_of(model)[name] == 1
        with pytest.raises(ValueError, match=r"temporal_rate must be 1 where temporal layers add no parameters, got 3"):
            parameter_groups(model, OptimizerRecipe(temporal_rate=3))
    else:
        assert rate_of(model, temporal_rate=3)[name] == (3 if is_added else 1)


def test_copies_in_the_short_term_module_are_added_and_the_first_conv_is_still_the_first():
    model = make("resnet18", "none", short_term=True)
    rates = rate_of(model, temporal_rate=3, first_conv_rate=5)
    assert rates["backbone.conv1.net.conv1.weight"] == 5
    assert rates["backbone.conv1.differences.conv1.weight"] == 3
    assert rates["backbone.layer1.short_term.net.0.conv1.weight"] == 3
    assert rates["backbone.layer1.0.conv1.weight"] == 1


@pytest.mark.parametrize(
    ("backbone", "temporal", "rates"),
    [
        (
            "resnet18",
            "sth",
            {
                "backbone.conv1.weight": 0.5**5,
                "backbone.bn1.weight": 0.5**5,
                "backbone.layer1.0.conv1.spatial": 0.5**4,
                "backbone.layer1.0.conv1.temporal": 1,
                "backbone.layer2.1.bn2.bias": 0.5**3,
                "backbone.layer3.0.downsample.0.weight": 0.5**2,
                "backbone.layer4.1.conv2.spatial": 0.5,
                "head.weight": 1,
                "head.bias": 1,
            },
        ),
        (
            "test_convnext",
            "none",
            {
                "backbone.stem.0.weight": 0.5**5,
                "backbone.stages.0.blocks.0.conv_dw.weight": 0.5**4,
                "backbone.stages.3.blocks.0.conv_dw.bias": 0.5,
                "backbone.head.norm.weight": 1,
                "head.weight": 1,
            },
        ),
        (
            "mobilenetv2_100",
            "tsm",
            {
                "backbone.conv_stem.weight": 0.5**8,
                "backbone.blocks.0.0.conv_dw.weight": 0.5**7,
                "backbone.blocks.6.0.conv_pw.weight": 0.5,
                "backbone.conv_head.weight": 0.5,
                "head.weight": 1,
            },
        ),
        (
            "r3d_18",
            "none",
            {
                "backbone.net.stem.0.weight": 0.5**5,
                "backbone.net.layer1.0.conv1.0.weight": 0.5**4,
                "backbone.net.layer4.1.conv2.1.bias": 0.5,
                "head.weight": 1,
            },
        ),
    ],
)
def test_early_stages_move_less(backbone, temporal, rates):
    ours = rate_of(make(backbone, temporal, num_frames=4), layer_decay=0.5)
    assert {name: ours[name] for name in rates} == rates


@pytest.mark.parametrize("backbone", ["resnet50", "test_convnext", "mobilenetv3_small_050", "test_vit", "densenet121"])
def test_stages_are_those_that_timm_gives_the_whole_network(backbone):
    whole = timm.create_model(backbone, num_classes=3)
    levels = group_parameters(whole, whole.group_matcher(coarse=True), reverse=True)
    head = levels[f"{whole.default_cfg['classifier']}.weight"]
    assert head == max(levels.values())
    ours = rate_of(make(backbone, num_frames=2), layer_decay=0.5)
    backbones = {name.removeprefix("backbone."): rate for name, rate in ours.items() if name.startswith("backbone.")}
    assert backbones == {name: 0.5 ** (head - levels[name]) for name in backbones}
    assert len(backbones) == len(levels) - 2


@pytest.mark.parametrize("backbone", ["mc3_18", "r2plus1d_18", "s3d", "swin3d_t", "mvit_v2_s"])
def test_whole_video_networks_have_stages_and_a_first_conv(backbone):
    with torch.device("meta"):
        model = make(backbone, num_frames=16)
    rates = rate_of(model, layer_decay=0.5)
    assert set(rates.values()) == {0.5**number for number in range(6)}  # 5 stages, stem included, and the head
    strided = {"s3d": "features.14.", "swin3d_t": "features.5.", "mvit_v2_s": "blocks.14."}.get(backbone, "layer4.0.")
    assert next(name for name, rate in rates.items() if rate == 0.5).startswith(f"backbone.net.{strided}")
    in_order = [rates[name] for name, _ in model.named_parameters()]
    assert in_order == sorted(in_order)
    five = [name for name, rate in rate_of(model, first_conv_rate=5).items() if rate == 5]
    assert five[0] == next(name for name, one in model.named_parameters() if one.ndim == 5)


@pytest.mark.parametrize(
    ("freeze", "recipe", "sentence"),
    [
        ("backbone", {"layer_decay": 0.75}, r"layer_decay must be 1 where the backbone is not trained, got 0\.75"),
        ("backbone", {"first_conv_rate": 5}, r"first_conv_rate must be 1 where no first conv is trained, got 5"),
        ("", {"temporal_rate": 2}, r"temporal_rate must be 1 where temporal layers add no parameters, got 2"),
    ],
)
def test_a_rate_that_changes_nothing_is_refused(freeze, recipe, sentence):
    model = make()
    if freeze:
        model.get_submodule(freeze).requires_grad_(False)
    with pytest.raises(ValueError, match=sentence):
        parameter_groups(model, OptimizerRecipe(**recipe))


def test_a_backbone_without_known_stages_is_refused(monkeypatch):
    monkeypatch.delattr(timm.models.resnet.ResNet, "group_matcher")
    with pytest.raises(ValueError, match=r"layer_decay must be 1 with test_resnet, whose stages cannot be told"):
        parameter_groups(make(), OptimizerRecipe(layer_decay=0.75))


def test_what_is_frozen_is_in_no_group():
    model = make("resnet18", "tam")
    model.backbone.layer1.requires_grad_(False)
    names = {name for group in parameter_groups(model, OptimizerRecipe()) for name in group.names}
    assert names == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("backbone.layer1.") for name in names)
