from __future__ import annotations

import time

import pytest
import torch

from kinema.models import backbones
from kinema.models.backbones import backbone_spec, create_backbone, num_features


# How many features there are behind the pooling, from the networks' papers: what a classifier would see.
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("test_resnet", 96),
        ("resnet18", 512),
        ("resnet50", 2048),
        ("resnext50_32x4d", 2048),
        ("wide_resnet50_2", 2048),
        ("res2net50_26w_4s", 2048),
        ("regnety_002", 368),
        ("vgg16_bn", 4096),
        ("densenet121", 1024),
        ("mobilenetv2_100", 1280),
        ("mobilenetv3_small_050", 1024),
        ("mobilenetv3_large_100", 1280),
        ("efficientnet_b0", 1280),
        ("convnext_tiny", 768),
        ("inception_v3", 2048),
        ("inception_v4", 1536),
        ("inception_resnet_v2", 1536),
        ("test_byobnet", 256),
        ("test_mambaout", 256),
        ("test_nfnet", 192),
    ],
)
@pytest.mark.parametrize("channels", [3, 10])
def test_a_backbone_gives_pooled_features_of_any_channels(name: str, number: int, channels: int):
    with torch.device("meta"):
        backbone = create_backbone(name, in_channels=channels).eval()
        features = backbone(torch.zeros(2, channels, 96, 96))

    assert features.shape == (2, number)
    assert num_features(backbone) == number


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

    assert time.monotonic() - start < 20.0  # timm by itself tries again for a minute
    assert "\n" not in str(info.value)
