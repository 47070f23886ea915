from __future__ import annotations

import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from kinema.models.backbones import create_backbone
from kinema.models.blocks import BLOCKS, FLAT_NETWORKS
from kinema.models.sites import SITE_NAMES, find_blocks, find_candidates, find_sites, named_sites, split_sites


def paths(backbone: nn.Module, site: str) -> list[tuple[str, ...]]:
    return [found.paths for found in find_sites(backbone, site)]


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("entry", [("layer1.0.conv1",), ("layer2.0.conv1",), ("layer3.0.conv1",), ("layer4.0.conv1",)]),
        (
            "spatial",
            [
                ("layer1.0.conv1",),
                ("layer1.0.conv2",),
                ("layer2.0.conv1",),
                ("layer2.0.conv2",),
                ("layer3.0.conv2",),
                ("layer4.0.conv1",),
                ("layer4.0.conv2",),
            ],
        ),
        ("exit", [("layer1.0.bn2",), ("layer2.0.bn2",), ("layer3.0.bn3",), ("layer4.0.bn2",)]),
        ("block", [("layer1.0",), ("layer2.0",), ("layer3.0",), ("layer4.0",)]),
    ],
)
def test_sites_of_a_network_with_both_kinds_of_block(site: str, expected: list[tuple[str, ...]]):
    assert paths(timm.create_model("test_resnet"), site) == expected


def test_spatial_bn_names_the_conv_and_its_norm():
    assert paths(timm.create_model("test_resnet"), "spatial_bn")[4] == ("layer3.0.conv2", "layer3.0.bn2")


@pytest.mark.parametrize("make", [timm.models.resnet50, torchvision.models.resnet50])
def test_resnet50_has_sixteen_spatial_convs_three_of_them_strided(make):
    with torch.device("meta"):
        backbone = make()

    convs = [backbone.get_submodule(found.paths[0]) for found in find_sites(backbone, "spatial")]

    assert [conv.kernel_size for conv in convs] == [(3, 3)] * 16
    assert sum(conv.stride == (2, 2) for conv in convs) == 3


@pytest.mark.parametrize("name", ["resnet18", "resnet26d", "seresnet50", "resnet50"])
def test_stem_and_downsampling_convs_are_no_sites(name: str):
    found = {
        path for site in ("entry", "spatial", "spatial_bn") for p in paths(timm.create_model(name), site) for path in p
    }

    assert all(path.startswith("layer") for path in found)
    assert not any("downsample" in path for path in found)


def test_sites_are_found_at_any_nesting():
    nested = nn.ModuleDict({"video": nn.Sequential(nn.Identity(), torchvision.models.resnet18())})

    assert paths(nested, "entry")[0] == ("video.1.layer1.0.conv1",)


def test_blocks_are_numbered_in_their_stage():
    found = find_sites(torchvision.models.resnet18(), "entry")

    assert [(one.stage, one.index) for one in found[:3]] == [("layer1", 0), ("layer1", 1), ("layer2", 0)]


def test_every_class_in_the_table_exists():
    for name in [*BLOCKS, *FLAT_NETWORKS]:
        module, _, attribute = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute)


def test_an_unknown_site_is_refused():
    with pytest.raises(ValueError, match="site must be one of entry, spatial, spatial_bn, exit, block, got 'stem'"):
        find_sites(torchvision.models.resnet18(), "stem")


def skeleton(name: str, **options: object) -> nn.Module:
    """A timm network without numbers, made at once."""
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0, **options)


# How many there are of entry, spatial, spatial_bn, exit and block, counted by hand from the networks' own papers.
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("resnet34", (16, 32, 32, 16, 16)),
        ("resnet101", (33, 33, 33, 33, 33)),
        ("resnext50_32x4d", (16, 16, 16, 16, 16)),
        ("wide_resnet50_2", (16, 16, 16, 16, 16)),
        ("res2net50_26w_4s", (16, 3 * 16, 3 * 16, 16, 16)),  # three of four splits have a conv
        ("regnety_002", (13, 13, 13, 13, 13)),
        ("vgg16_bn", (12, 12, 12, 12, 0)),  # 13 convs, and the first is the stem
        ("vgg16", (12, 12, 0, 12, 0)),
        ("densenet121", (58, 58, 0, 58, 0)),  # 6 + 12 + 24 + 16 layers that end in their conv
        ("mobilenetv2_100", (10, 17, 17, 17, 17)),  # TSM's official code shifts 10 blocks
        ("mobilenetv3_small_100", (6, 11, 11, 11, 11)),  # the last of timm's blocks is the 1 x 1 conv of the head
        ("efficientnet_b0", (9, 16, 16, 16, 16)),
        ("convnext_tiny", (18, 18, 0, 18, 18)),  # 3 + 3 + 9 + 3 blocks with a layer norm
        ("inception_v3", (40, 50, 50, 11, 11)),
        ("inception_v4", (60, 79, 79, 16, 16)),
        ("test_byobnet", (4, 5, 5, 4, 4)),
        ("test_nfnet", (4, 8, 0, 4, 4)),
        ("test_mambaout", (6, 6, 0, 0, 0)),
    ],
)
def test_the_sites_of_a_network_are_counted(name: str, numbers: tuple[int, ...]):
    blocks = find_blocks(skeleton(name))

    assert tuple(sum(len(block.sites[site]) for block in blocks) for site in SITE_NAMES) == numbers


ALL_KINDS = [
    "resnet26", "res2net50_26w_4s", "regnety_002", "vgg16_bn", "vgg11", "densenet121", "mobilenetv2_100",
    "mobilenetv3_large_100", "mobilenetv4_conv_small", "efficientnet_b0", "efficientnetv2_rw_t",
    "convnext_tiny", "inception_v3", "inception_v4",
    "inception_resnet_v2", "test_byobnet", "test_efficientnet", "test_mambaout", "test_nfnet",
]  # fmt: skip


@pytest.mark.parametrize("name", ALL_KINDS)
def test_a_spatial_site_is_a_kxk_conv_and_what_follows_it_is_its_norm(name: str):
    backbone = skeleton(name)
    modules = dict(backbone.named_modules())
    blocks = find_blocks(backbone)
    excluded = re.compile("stem|downsample|shortcut|squeeze|se[.]|attn|head|pre_logits|classifier")

    for conv in [modules[path] for block in blocks for (path,) in block.sites["spatial"]]:
        assert isinstance(conv, nn.Conv2d)
        assert max(conv.kernel_size) > 1
    for conv, norm in [paths for block in blocks for paths in block.sites["spatial_bn"]]:
        assert modules[norm].num_features == modules[conv].out_channels
    for block in blocks:
        assert not [
            path for paths in block.sites["entry"] + block.sites["spatial"] for path in paths if excluded.search(path)
        ]


@pytest.mark.parametrize("name", ALL_KINDS)
def test_the_modules_of_a_pair_run_one_after_the_other(name: str):
    # A norm that stood behind another conv would be folded into the wrong layer.
    backbone = skeleton(name).eval()
    pairs = [paths for block in find_blocks(backbone) for paths in block.sites["spatial_bn"]]
    outputs, inputs = {}, {}
    for conv, norm in pairs:
        backbone.get_submodule(conv).register_forward_hook(lambda m, i, o, path=conv: outputs.update({path: o}))
        backbone.get_submodule(norm).register_forward_pre_hook(lambda m, i, path=norm: inputs.update({path: i[0]}))

    with torch.no_grad():
        backbone(torch.zeros(2, 3, 96, 96, device="meta"))

    assert all(outputs[conv] is inputs[norm] for conv, norm in pairs)


def test_every_known_class_is_met_in_these_networks():
    others = ["resnet18", *ALL_KINDS]
    ours = [skeleton(name) for name in others]
    ours += [torchvision.models.resnet18(), torchvision.models.resnet50(), torchvision.models.mobilenet_v2()]
    ours += [torchvision.models.densenet121(), torchvision.models.vgg11()]
    met = {f"{type(m).__module__}.{type(m).__qualname__}" for net in ours for m in net.modules()}

    assert {*BLOCKS, *FLAT_NETWORKS} <= met


def test_tsms_sites_in_mobilenetv2_are_those_of_its_official_code():
    # Inverted residuals with a residual and an expansion: 2, 4, 5, 7, 8, 9, 11, 12, 14 and 15 of the blocks from 0.
    features = torchvision.models.mobilenet_v2()

    assert [int(path.split(".")[1]) - 1 for (path,) in paths(features, "entry")] == [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]
    assert len(paths(features, "spatial_bn")) == 17
    assert paths(features, "spatial_bn")[0] == ("features.1.conv.0.0", "features.1.conv.0.1")


def test_parts_may_be_nested_lists_or_absent():
    assert paths(skeleton("regnety_002"), "spatial_bn")[0] == ("s1.b1.conv2.conv", "s1.b1.conv2.bn")
    assert paths(skeleton("res2net50_26w_4s"), "spatial_bn")[1] == ("layer1.0.convs.1", "layer1.0.bns.1")
    assert paths(skeleton("vgg16_bn"), "spatial_bn")[0] == ("features.3", "features.4")
    with pytest.raises(
        ValueError, match=r"of ConvNeXt have \(entry, spatial, exit, block\), got 'spatial_bn': no k x k"
    ):
        find_sites(skeleton("convnext_tiny"), "spatial_bn")


def test_only_a_res2net_splits_its_channels():
    found = split_sites(skeleton("res2net50_26w_4s"))

    assert len(found) == 16
    assert found["layer2", 1].paths == tuple(
        f"layer2.1.{part}" for part in ("bn1", "relu", "convs.0", "convs.1", "convs.2", "conv3")
    )
    assert all(site.is_split for site in found.values())
    assert not split_sites(skeleton("resnet26"))


def test_a_network_without_known_blocks_is_told_its_candidates():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, (1, 5), stride=2, groups=4))

    with pytest.raises(ValueError, match=r"got a Sequential without any \(known are those of ByobNet") as info:
        find_sites(net, "spatial")

    assert str(info.value).endswith(
        "sites=[...], from its k x k convs: 0 (3 -> 8, 3 x 3); 2 (8 -> 4, 1 x 5, stride 2, groups 4)"
    )


def test_long_lists_of_candidates_are_cut():
    net = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(20)))

    assert len(find_candidates(net)) == 20
    with pytest.raises(ValueError, match=r"; and 8 more$"):
        find_sites(net, "spatial")


@pytest.mark.parametrize(
    ("sites", "count", "sentence"),
    [
        (["0.con"], 1, "sites must be paths of modules in the backbone, got '0.con'; did you mean 0.conv?"),
        ([["0.conv", "0.bn", "1"]], 1, "sites must hold one path each, got"),
        (["0.conv"], 2, "sites must hold the paths of a conv and of its batch norm, as a pair, got '0.conv'"),
    ],
)
def test_a_wrong_path_is_named(sites: list[object], count: int, sentence: str):
    net = nn.Sequential(nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3), "bn": nn.BatchNorm2d(8)}))

    with pytest.raises(ValueError, match=re.escape(sentence)):
        named_sites(net, sites, count=count)


def test_mobilenetv4_has_a_site_in_each_of_its_blocks():
    with torch.device("meta"):
        network = create_backbone("mobilenetv4_conv_small")
    convs = [path for path, conv in find_candidates(network) if path.startswith("blocks")]
    spatial = [path for site in find_sites(network, "spatial") for path in site.paths]
    assert spatial == convs
