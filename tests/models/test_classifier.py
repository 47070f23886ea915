from __future__ import annotations

import pytest
import torch

from kinema.models.classifier import ModelConfig, create_model
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.spec import ClipSpec
from networks import randomize_


def small_model(temporal: str = "sth", **options):
    return randomize_(create_model("test_resnet", temporal=temporal, num_frames=4, num_classes=5, **options)).eval()


def clips(num_clips: int = 2, num_frames: int = 4) -> torch.Tensor:
    return torch.randn(num_clips, num_frames, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_only_a_network_with_a_layer_that_sees_order_sees_the_order_of_frames(temporal: str):
    model, x = small_model(temporal).double(), clips().double()

    with torch.no_grad():
        difference = (model(x) - model(x[:, [2, 0, 3, 1]])).abs().max()

    # The two orders of summing the frames' logits may round differently.
    kind = TEMPORAL_LAYERS[temporal]
    assert (difference > 1e-6) if kind is not None and kind.sees_order else (difference < 1e-10)


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_clips_do_not_mix(temporal: str):
    model, x = small_model(temporal), clips()

    with torch.no_grad():
        # Convolutions of other batch sizes may sum in another order.
        torch.testing.assert_close(model(x), torch.cat([model(x[:1]), model(x[1:])]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_every_parameter_gets_a_gradient(temporal: str):
    model = small_model(temporal)

    model(clips()).square().sum().backward()

    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


def test_logits_are_the_mean_of_the_frames_own():
    model, x = small_model(), clips()

    with torch.no_grad():
        assert model.frame_logits(x).shape == (2, 4, 5)
        torch.testing.assert_close(model(x), model.frame_logits(x).mean(dim=1))


@pytest.mark.slow
@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_exports_with_any_batch(temporal: str):
    model = small_model(temporal)

    program = torch.export.export(model, (clips(),), dynamic_shapes=({0: torch.export.Dim("num_clips", min=1)},))

    for num_clips in (1, 3):
        with torch.no_grad():
            torch.testing.assert_close(program.module()(clips(num_clips)), model(clips(num_clips)))


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((2, 3, 4, 32, 32), r"T = 4 frames of C = 3 channels; this looks like \[N, C, T, H, W\]: transpose it"),
        ((2, 8, 3, 32, 32), r"got \[2, 8, 3, 32, 32\]; .*; sample that many frames"),
        ((4, 3, 32, 32), r"add the clip's own axis with clip\[None\]"),
        ((2, 4, 2, 32, 32), r"clip must have shape \[N, T, C, H, W\], got \[2, 4, 2, 32, 32\]; this model takes T = 4"),
    ],
)
def test_another_shape_is_refused_with_advice(shape: tuple[int, ...], advice: str):
    with pytest.raises(ValueError, match=advice):
        small_model()(torch.zeros(shape))


def test_the_spec_is_the_backbones_unless_given():
    spec = ClipSpec(num_frames=4, resize=72, crop=64, class_names=("a", "b"))

    assert create_model("test_resnet", num_frames=4, num_classes=2).spec.mean == (0.5, 0.5, 0.5)
    assert create_model("test_resnet", num_frames=4, num_classes=2, spec=spec).spec is spec


def test_channels_are_the_specs():
    spec = ClipSpec(num_frames=2, mean=(0.5,) * 10, std=(0.5,) * 10)
    model = create_model("test_resnet", num_frames=2, num_classes=2, spec=spec)

    assert model(torch.zeros(2, 2, 10, 32, 32)).shape == (2, 2)


def test_another_number_of_frames_is_known_everywhere():
    model = small_model()

    model.set_num_frames(2)

    assert (model.spec.num_frames, model.config.num_frames) == (2, 2)
    assert model(clips(num_frames=2)).shape == (2, 5)


def test_options_stand_in_the_config():
    config = create_model("test_resnet", temporal=["sth"], num_classes=5, fraction=0.5, fusion="sum").config

    assert config.options == {"fraction": 0.5, "fusion": "sum"}
    assert ModelConfig.from_json(config.to_json()) == config


def test_fresh_logits_are_nearly_equal():
    with torch.no_grad():
        assert create_model("test_resnet", num_frames=4, num_classes=5)(clips()).abs().max() < 0.1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"spec": ClipSpec(num_frames=16)}, "spec must have the model's num_frames 8, got 16"),
        ({"spec": ClipSpec(class_names=("a", "b"))}, "num_classes must be the number of spec.class_names, got 5 for 2"),
        (
            {"temporal": "sth", "farction": 0.5},
            "options must be those of sth, got 'farction'; did you mean fraction",
        ),
        ({"num_frames": 0}, "num_frames must be a whole number of at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        create_model("test_resnet", **{"num_classes": 5, **options})


@pytest.mark.parametrize("text", ['{"backbone": "resnet18"}', '{"temporal": ["sth"], "arrangement": "new"}'])
def test_a_config_of_another_version_is_refused(text: str):
    with pytest.raises(ValueError, match="a model config must have the fields of this version"):
        ModelConfig.from_json(text)
