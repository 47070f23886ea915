from __future__ import annotations

import time

import pytest
import torch

from kinema.models import backbones
from kinema.models.backbones import backbone_spec, create_backbone, num_features


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "mobilenetv3_small_050"])
def test_a_backbone_gives_pooled_features(name: str):
    backbone = create_backbone(name).eval()

    with torch.no_grad():
        assert backbone(torch.zeros(2, 3, 64, 64)).shape == (2, num_features(backbone))


def test_channels_are_the_callers():
    assert create_backbone("test_resnet", in_channels=10)(torch.zeros(2, 10, 64, 64)).shape[0] == 2


@pytest.mark.parametrize(
    ("name", "crop", "resize", "interpolation", "mean"),
    [
        # The papers' ImageNet weights: 224 of 256, and the usual mean.
        ("resnet50.tv_in1k", 224, 256, "bilinear", (0.485, 0.456, 0.406)),
        ("test_resnet.r160_in1k", 160, 168, "bilinear", (0.5, 0.5, 0.5)),
    ],
)
def test_the_spec_is_what_the_weights_expect(
    name: str, crop: int, resize: int, interpolation: str, mean: tuple[float, ...]
):
    spec = backbone_spec(create_backbone(name), num_frames=4)

    assert (spec.num_frames, spec.crop, spec.resize) == (4, crop, resize)
    assert (spec.interpolation, spec.mean) == (interpolation, mean)


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(ValueError, match=r"network of timm, got 'resnet51'; the nearest are .*resnet50"):
        create_backbone("resnet51")


def test_an_unknown_tag_gets_the_known_ones():
    with pytest.raises(ValueError, match=r"got 'resnet50\.tv_in2k'; for resnet50 there are .*resnet50\.tv_in1k"):
        create_backbone("resnet50.tv_in2k")


def test_a_closed_network_fails_in_one_sentence_and_at_once(monkeypatch: pytest.MonkeyPatch):
    def refuse(url: str, **_: object) -> None:
        raise ConnectionError(f"no route to {url}")

    monkeypatch.setattr(backbones, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(backbones, "try_to_load_from_cache", lambda *_: None)
    start = time.monotonic()

    with pytest.raises(
        ValueError, match=r"weights that can be had, got test_resnet \(no route .*pretrained=False"
    ) as info:
        create_backbone("test_resnet", pretrained=True)

    assert time.monotonic() - start < 2.0
    assert "\n" not in str(info.value)
