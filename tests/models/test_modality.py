"""Networks on flow and on differences: their spec, and their first conv made of one on RGB."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinema.models.backbones import create_backbone
from kinema.models.classifier import create_model
from kinema.models.first_conv import adapt_kernels, copy_adapted
from kinema.models.video_networks import create_video_network, first_conv
from kinema.models.weights import initialize_from, load_model, save_model
from kinema.spec import ClipSpec
from networks import randomize_

SPEC = ClipSpec(num_frames=2, resize=32, crop=32, class_names=("a", "b", "c"))


def mean_of(kernels, channels):
    """TSN's: the mean over red, green and blue, in every channel."""
    return torch.stack([kernels.double().sum(dim=1) / 3] * channels, dim=1).to(kernels.dtype)


def test_kernels_for_other_channels_are_the_mean_of_those_for_rgb():
    kernels = torch.randn(4, 3, 5, 5)

    torch.testing.assert_close(adapt_kernels(kernels, 10), mean_of(kernels, 10))
    torch.testing.assert_close(adapt_kernels(kernels[:, :, None], 15), mean_of(kernels, 15)[:, :, None])
    assert adapt_kernels(kernels, 3) is kernels


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "mobilenetv2_050"])
def test_any_backbone_is_copied_but_for_its_first_conv(name):
    colour, flow = create_backbone(name), create_backbone(name, in_channels=10)
    copy_adapted(colour, flow)

    own, theirs = flow.state_dict(), colour.state_dict()
    (first,) = [key for key in own if own[key].shape != theirs[key].shape]
    torch.testing.assert_close(own[first], mean_of(theirs[first], 10))
    assert all(torch.equal(own[key], theirs[key]) for key in own if key != first)


def test_a_whole_video_network_is_adapted_in_the_same_way():
    torch.manual_seed(0)
    colour = first_conv(create_video_network("r3d_18", pretrained=False, in_channels=3)).weight
    torch.manual_seed(0)
    flow = first_conv(create_video_network("r3d_18", pretrained=False, in_channels=10)).weight

    torch.testing.assert_close(flow, mean_of(colour, 10))


@pytest.mark.parametrize(
    ("modality", "stack", "channels", "mean", "std"),
    [
        ("rgb", None, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("flow", None, 10, (0.5, 0.5), (0.5, 0.5)),
        ("flow", 3, 6, (0.5, 0.5), (0.5, 0.5)),
        ("rgbdiff", None, 15, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ("rgbdiff", 2, 6, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ],
)
def test_a_model_of_a_modality_has_its_spec(modality, stack, channels, mean, std):
    model = create_model("test_resnet", num_classes=2, num_frames=2, modality=modality, stack=stack)

    assert (model.spec.modality, model.spec.mean, model.spec.std) == (modality, mean, std)
    assert model.config.in_channels == channels == len(mean) * model.spec.stack
    assert model(torch.randn(1, 2, channels, 32, 32)).shape == (1, 2)


def test_flow_has_the_mean_of_the_deviations():
    assert create_model("resnet18.tv_in1k", num_classes=2, modality="flow").spec.std == (0.226, 0.226)


@pytest.mark.parametrize(("modality", "channels"), [("flow", 10), ("rgbdiff", 15)])
@pytest.mark.parametrize("temporal", ["none", "sth", "tsm"])
def test_a_network_starts_from_one_on_rgb(temporal, modality, channels, tmp_path):
    settings = {"num_classes": 3, "num_frames": 2, "temporal": temporal}
    colour = create_model("test_resnet", spec=SPEC, **settings)
    randomize_(colour)
    save_model(tmp_path / "rgb.safetensors", colour)
    model = create_model("test_resnet", modality=modality, **settings)
    model.spec = replace(model.spec, class_names=SPEC.class_names)

    lines = initialize_from(model, tmp_path / "rgb.safetensors")

    assert [line for line in lines if line.startswith("  adapted from RGB: backbone.")]
    own, theirs = model.state_dict(), colour.state_dict()
    (first,) = [key for key in own if own[key].shape != theirs[key].shape]
    torch.testing.assert_close(own[first], mean_of(theirs[first], channels))
    assert all(torch.equal(own[key], theirs[key]) for key in own if key != first)


def test_a_network_on_flow_starts_from_one_on_flow(tmp_path):
    flow = create_model("test_resnet", num_classes=3, num_frames=2, modality="flow")
    save_model(tmp_path / "flow.safetensors", flow)
    model = create_model("test_resnet", num_classes=3, num_frames=2, modality="flow", temporal="tsm")

    lines = initialize_from(model, tmp_path / "flow.safetensors")

    assert not [line for line in lines if "adapted" in line]
    assert torch.equal(model.state_dict()["backbone.conv1.0.weight"], flow.state_dict()["backbone.conv1.0.weight"])


def test_a_network_on_rgb_does_not_start_from_one_on_flow(tmp_path):
    save_model(tmp_path / "flow.safetensors", create_model("test_resnet", num_classes=3, num_frames=2, modality="flow"))

    with pytest.raises(ValueError, match=r"must have shape \[\d+, 3, 3, 3\], got \[\d+, 10, 3, 3\]"):
        initialize_from(create_model("test_resnet", num_classes=3, num_frames=2), tmp_path / "flow.safetensors")


def test_a_model_on_flow_comes_back_from_its_file(tmp_path):
    model = create_model("test_resnet", num_classes=3, num_frames=2, modality="flow", temporal="sth").eval()
    save_model(tmp_path / "flow.safetensors", model)

    again = load_model(tmp_path / "flow.safetensors")

    clip = torch.randn(1, 2, 10, 32, 32)
    assert again.spec == model.spec
    torch.testing.assert_close(again(clip), model(clip))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"modality": "depth"}, "modality must be one of rgb, flow, rgbdiff, got 'depth'"),
        ({"stack": 3}, r"stack must be left out for modality rgb, got 3; a spec says it: ClipSpec\(stack=3"),
        ({"modality": "flow", "stack": 0}, "stack must be a whole number of at least 1, got 0; TSN takes 5"),
        ({"modality": "flow", "short_term": True, "temporal": "tdn"}, "modality must be rgb for short_term"),
        ({"modality": "flow", "spec": SPEC}, "modality and stack must be left out beside a spec, which says rgb and 1"),
        (
            {"spec": replace(SPEC, modality="flow", stack=5, mean=(0.5, 0.5), std=(1.0, 1.0)), "short_term": True},
            "modality must be rgb for short_term",
        ),
    ],
)
def test_a_modality_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        create_model("test_resnet", num_classes=3, num_frames=2, **options)
