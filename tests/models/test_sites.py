from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from kinema.models.sites import BLOCKS, find_sites


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
    for name in BLOCKS:
        module, _, attribute = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute)


def test_an_unknown_site_is_refused():
    with pytest.raises(ValueError, match="site must be one of entry, spatial, spatial_bn, exit, block, got 'stem'"):
        find_sites(torchvision.models.resnet18(), "stem")


def test_a_network_without_known_blocks_is_refused():
    with pytest.raises(ValueError, match=r"got a Sequential without any; known are those of ResNet \(timm's"):
        find_sites(nn.Sequential(nn.Conv2d(3, 8, 3)), "spatial")
