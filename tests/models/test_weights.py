from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kinema.models import origins
from kinema.models.backbones import create_backbone
from kinema.models.classifier import VideoClassifier, create_model
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.models.temporalize import temporalize
from kinema.models.weights import initialize_from, load_model, read_metadata, save_model
from kinema.spec import ClipSpec
from networks import randomize_


def small_model(temporal: str = "sth", *, class_names: tuple[str, ...] = ("a", "b"), seed: int = 0) -> VideoClassifier:
    spec = ClipSpec(num_frames=4, resize=40, crop=32, span_seconds=1.5, class_names=class_names)
    model = create_model("test_resnet", temporal=temporal, num_frames=4, num_classes=len(class_names), spec=spec)
    return randomize_(model, seed=seed)


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_a_model_comes_back_bit_for_bit(temporal: str, tmp_path: Path):
    model = small_model(temporal)
    path = tmp_path / "weights.safetensors"

    save_model(path, model, metadata={"recipe": "{}"})
    loaded = load_model(path)

    assert not loaded.training
    assert (loaded.spec, loaded.config) == (model.spec, model.config)
    for (key, ours), (other, theirs) in zip(loaded.state_dict().items(), model.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(ours, theirs), key
    x = torch.randn(1, 4, 3, 32, 32)
    assert torch.equal(loaded(x), model.eval()(x))


def test_options_come_back(tmp_path: Path):
    model = create_model(
        "test_resnet", temporal=["tsm", "sth"], num_classes=3, causal=True, dropout=0.5, fraction=0.5, fusion="sum"
    )
    save_model(tmp_path / "weights.safetensors", model)

    loaded = load_model(tmp_path / "weights.safetensors")

    assert loaded.config == model.config
    assert loaded.backbone.layer1[0].conv1.net.causal


def test_metadata_holds_json_and_what_was_given(tmp_path: Path):
    save_model(tmp_path / "weights.safetensors", small_model(), metadata={"recipe": '{"seed": 1}'})

    metadata = read_metadata(tmp_path / "weights.safetensors")

    assert metadata.keys() == {"spec", "config", "recipe"}
    assert json.loads(metadata["recipe"]) == {"seed": 1}
    assert json.loads(metadata["spec"])["class_names"] == ["a", "b"]


def test_nothing_but_the_file_is_left(tmp_path: Path):
    save_model(tmp_path / "weights.safetensors", small_model())

    assert os.listdir(tmp_path) == ["weights.safetensors"]  # noqa: PTH208


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "weights.safetensors"
    save_model(path, small_model())
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        save_model(path, small_model(seed=1))

    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]
    assert path.read_bytes() == before


def test_metadata_must_leave_our_keys_alone(tmp_path: Path):
    with pytest.raises(ValueError, match=r"must leave the keys spec and config alone, got \['spec'\]"):
        save_model(tmp_path / "weights.safetensors", small_model(), metadata={"spec": "{}"})


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors: there is no such file"):
        load_model(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_another_file_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"weights\.safetensors: the file must be safetensors"):
        load_model(path)


def test_half_a_file_is_refused(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    save_model(path, small_model())
    path.write_bytes(path.read_bytes()[:10_000])

    with pytest.raises(ValueError, match=r"weights\.safetensors: the file must be safetensors"):
        load_model(path)


def test_tensors_without_a_model_are_refused(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(2)}, path)

    with pytest.raises(ValueError, match=r"the file must hold a kinema model, got none of its config and spec"):
        load_model(path)


def rewrite(path: Path, change: dict[str, torch.Tensor | None]) -> None:
    """Changes or drops tensors of a file."""
    model = small_model()
    tensors = {**model.state_dict(), **change}
    metadata = {"spec": model.spec.to_json(), "config": model.config.to_json()}
    save_file({key: value for key, value in tensors.items() if value is not None}, path, metadata=metadata)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"head.bias": None}, "head.bias is missing"),
        ({"backbone.extra": torch.zeros(1)}, "backbone.extra is not of this model"),
        ({"head.bias": torch.zeros(7)}, r"head.bias has shape \[7\] instead of \[2\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, torch.Tensor | None], problem: str):
    rewrite(tmp_path / "weights.safetensors", change)

    with pytest.raises(ValueError, match=rf"weights\.safetensors: .* fit their own config, but {problem}"):
        load_model(tmp_path / "weights.safetensors")


def test_another_class_list_gets_a_new_head_on_the_old_backbone(tmp_path: Path):
    source, path = small_model(), tmp_path / "weights.safetensors"
    save_model(path, source)
    model = small_model(class_names=("x", "y"), seed=1)
    fresh = model.head.weight.clone()

    lines = initialize_from(model, path)

    assert torch.equal(model.head.weight, fresh)
    assert all(
        torch.equal(a, b) for a, b in zip(model.backbone.parameters(), source.backbone.parameters(), strict=True)
    )
    assert "anew: head.weight, head.bias" in "\n".join(lines)


def test_the_same_class_list_keeps_its_head(tmp_path: Path):
    source, path = small_model(), tmp_path / "weights.safetensors"
    save_model(path, source)
    model = small_model(seed=1)

    lines = initialize_from(model, path)

    assert torch.equal(model.head.weight, source.head.weight)
    assert len(lines) == 1


def tensors_after(model: VideoClassifier, path: Path) -> dict[str, str]:
    """Initializes a model; says of each of its tensors under which words the lines have it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(origins, "listed", lambda names, limit: ", ".join(names))
        lines = initialize_from(model, path)
    words = {}
    for line in lines[1:]:
        kind, _, names = line.strip().partition(": ")
        words |= {name.split(" from ")[0]: kind for name in names.split(", ")}
    return words


def around_2d(temporal: str, weights: dict[str, torch.Tensor], **options: bool) -> dict[str, torch.Tensor]:
    """Tensors of a network that is temporalized with 2D weights in it, always with the same random ones."""
    torch.manual_seed(3)
    backbone = create_backbone("test_resnet")
    backbone.load_state_dict({key.removeprefix("backbone."): value for key, value in weights.items()})
    temporalize(backbone, temporal, num_frames=4, **options)
    return {f"backbone.{key}": value for key, value in backbone.state_dict().items()}


def of_backbone(model: VideoClassifier) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items() if key.startswith("backbone.")}


MAKES_ITS_OWN = ("sth", "i3d", "abm")
"""Layers that do not keep the conv at their site, but make kernels of their own from its."""


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_a_frame_networks_weights_become_what_temporalize_makes_of_them(temporal: str, tmp_path: Path):
    source, other = small_model("none"), small_model("none", seed=5)
    save_model(tmp_path / "weights.safetensors", source)
    model = small_model(temporal, seed=1)
    before = of_backbone(model)
    torch.manual_seed(7)
    state = torch.get_rng_state()

    words = tensors_after(model, tmp_path / "weights.safetensors")

    assert torch.equal(torch.get_rng_state(), state)
    after, wanted = of_backbone(model), around_2d(temporal, of_backbone(source))
    from_others = around_2d(temporal, of_backbone(other))
    assert after.keys() == wanted.keys() == before.keys()
    for key, value in after.items():
        if torch.equal(wanted[key], from_others[key]):  # nothing of the 2D weights is in it, or a counter
            assert torch.equal(value, before[key]) or torch.equal(value, wanted[key])
        else:
            assert torch.equal(value, wanted[key]), key
            assert words.get(key) in (None, "under another name", "made from 2D weights"), key
        if words.get(key) == "anew":
            assert torch.equal(value, before[key]), key
    assert "unused" not in words.values()
    made = {key for key, kind in words.items() if kind == "made from 2D weights"}
    assert bool(made) == (temporal in MAKES_ITS_OWN)


def test_what_stands_beside_the_2d_network_is_made_of_it_too(tmp_path: Path):
    source, other = small_model("none"), small_model("none", seed=5)
    save_model(tmp_path / "weights.safetensors", source)
    model = randomize_(create_model("test_resnet", num_frames=4, num_classes=2, short_term=True), seed=1)

    words = tensors_after(model, tmp_path / "weights.safetensors")

    wanted = around_2d("none", of_backbone(source), short_term=True)
    from_others = around_2d("none", of_backbone(other), short_term=True)
    for key, value in of_backbone(model).items():
        assert torch.equal(value, wanted[key]) or torch.equal(wanted[key], from_others[key]), key
    assert "made from 2D weights" in words.values()


@pytest.mark.parametrize("temporal", [name for name, kind in TEMPORAL_LAYERS.items() if kind and kind.starts_as_2d])
def test_a_network_that_starts_as_2d_gives_a_frame_networks_logits(temporal: str, tmp_path: Path):
    source = small_model("none").eval()
    save_model(tmp_path / "weights.safetensors", source)
    model = create_model("test_resnet", temporal=temporal, num_frames=4, num_classes=2, spec=source.spec).eval()

    initialize_from(model, tmp_path / "weights.safetensors")

    clip = torch.randn(2, 4, 3, 32, 32)
    torch.testing.assert_close(model(clip), source(clip))


@pytest.mark.parametrize("temporal", [name for name in TEMPORAL_LAYERS if name not in ("none", *MAKES_ITS_OWN)])
def test_the_2d_weights_come_back_out_of_a_layer_that_keeps_them(temporal: str, tmp_path: Path):
    source = small_model("none")
    around = small_model(temporal, seed=1)
    save_model(tmp_path / "flat.safetensors", source)
    initialize_from(around, tmp_path / "flat.safetensors")
    save_model(tmp_path / "weights.safetensors", around)
    model = small_model("none", seed=2)

    words = tensors_after(model, tmp_path / "weights.safetensors")

    for key, value in of_backbone(source).items():
        assert torch.equal(model.state_dict()[key], value), key
    assert "anew" not in words.values()


def test_what_a_layer_keeps_goes_from_one_kind_to_another(tmp_path: Path):
    source, model = small_model("tsm"), small_model("tadaconv", seed=1)
    save_model(tmp_path / "weights.safetensors", source)

    initialize_from(model, tmp_path / "weights.safetensors")

    theirs, ours = source.backbone.layer1[0], model.backbone.layer1[0]
    assert torch.equal(ours.conv1.conv.weight, theirs.conv1.net.weight)
    assert torch.equal(ours.conv1.norm.running_var, theirs.bn1.running_var)


def test_a_layers_own_tensors_are_found_behind_another_layer(tmp_path: Path):
    source = small_model("sth")
    save_model(tmp_path / "weights.safetensors", source)
    model = create_model("test_resnet", temporal=["tsm", "sth"], num_frames=4, num_classes=2, spec=source.spec)

    words = tensors_after(randomize_(model, seed=1), tmp_path / "weights.safetensors")

    theirs, ours = source.backbone.layer1[0].conv1, model.backbone.layer1[0].conv1.net
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert set(words.values()) == {"under another name"}


def test_tensors_of_one_name_in_two_kinds_of_layer_are_not_mixed_up(tmp_path: Path):
    save_model(tmp_path / "weights.safetensors", small_model("conv2plus1d_sequential"))
    model = small_model("conv2plus1d_parallel", seed=1)
    before = model.backbone.layer1[0].conv1.temporal.weight.clone()

    words = tensors_after(model, tmp_path / "weights.safetensors")

    assert torch.equal(model.backbone.layer1[0].conv1.temporal.weight, before)
    assert words["backbone.layer1.0.conv1.temporal.weight"] in ("anew", "unused")


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_another_number_of_frames_makes_only_what_depends_on_it_anew(temporal: str, tmp_path: Path):
    source = small_model(temporal)
    save_model(tmp_path / "weights.safetensors", source)
    spec = ClipSpec(num_frames=6, resize=40, crop=32, class_names=("a", "b"))
    model = create_model("test_resnet", temporal=temporal, num_frames=6, num_classes=2, spec=spec)
    fresh = {key: value.clone() for key, value in randomize_(model, seed=1).state_dict().items()}

    words = tensors_after(model, tmp_path / "weights.safetensors")

    kind = TEMPORAL_LAYERS[temporal]
    assert bool(words) == (kind is not None and not kind.any_length)
    assert set(words.values()) <= {"anew, for the file has T = 4"}
    before = source.state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(value, fresh[key] if key in words else before[key]), key


def test_of_tam_the_kernels_over_t_frames_start_anew(tmp_path: Path):
    save_model(tmp_path / "weights.safetensors", small_model("tam"))
    spec = ClipSpec(num_frames=6, resize=40, crop=32, class_names=("a", "b"))
    model = create_model("test_resnet", temporal="tam", num_frames=6, num_classes=2, spec=spec)

    words = tensors_after(model, tmp_path / "weights.safetensors")

    of_kernels = {key for key in model.state_dict() if ".G." in key}
    assert of_kernels
    assert words.keys() == of_kernels


@pytest.mark.parametrize(("head", "num_frames"), [("linear", 4), ("trn", 6)])
def test_a_head_of_another_kind_or_length_starts_anew(head: str, num_frames: int, tmp_path: Path):
    spec = ClipSpec(num_frames=4, resize=40, crop=32, class_names=("a", "b"))
    source = create_model("test_resnet", num_frames=4, num_classes=2, spec=spec, head="trn")
    save_model(tmp_path / "weights.safetensors", source)
    spec = replace(spec, num_frames=num_frames)
    model = create_model("test_resnet", num_frames=num_frames, num_classes=2, spec=spec, head=head)
    before = {key: value.clone() for key, value in model.state_dict().items() if key.startswith("head.")}

    words = tensors_after(model, tmp_path / "weights.safetensors")

    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert {key for key, kind in words.items() if key in before} == before.keys()


def test_another_setting_of_the_same_layer_is_said(tmp_path: Path):
    save_model(tmp_path / "weights.safetensors", small_model("tsm"))
    model = create_model("test_resnet", temporal="tsm", num_frames=4, num_classes=2, causal=True, num_divisions=4)

    lines = initialize_from(model, tmp_path / "weights.safetensors")

    assert lines[1] == "  layers are set in another way: causal True, not False, num_divisions 4, not default"


def test_another_shape_is_an_error_where_t_is_the_same(tmp_path: Path):
    save_model(tmp_path / "weights.safetensors", create_model("test_resnet", temporal="stm", num_classes=2))
    model = create_model("test_resnet", temporal="stm", num_classes=2, reduction=4)

    with pytest.raises(ValueError, match=r"weights\.safetensors: backbone\.\S+ must have shape .* or other options"):
        initialize_from(model, tmp_path / "weights.safetensors")


def test_what_is_not_taken_is_named(tmp_path: Path):
    save_model(tmp_path / "weights.safetensors", small_model("sth", class_names=("x", "y", "z")))

    first, anew, unused = initialize_from(small_model("none"), tmp_path / "weights.safetensors")

    assert "tensors taken" in first
    assert "  anew: backbone.layer1.0.conv1.weight, " in anew
    assert "backbone.layer1.0.conv1.spatial, " in unused


def test_what_is_made_of_2d_weights_must_fit_too(tmp_path: Path):
    path, source = tmp_path / "weights.safetensors", small_model("none")
    state = {**source.state_dict(), "backbone.layer1.0.conv1.weight": torch.zeros(1, 1, 3, 3)}
    metadata = {"spec": source.spec.to_json(), "config": source.config.to_json()}
    save_file(state, path, metadata=metadata)

    with pytest.raises(ValueError, match=r"layer1\.0\.conv1\.weight must have shape .* got \[1, 1, 3, 3\]"):
        initialize_from(small_model("sth"), path)


def test_another_backbone_is_an_error_that_names_the_tensor(tmp_path: Path):
    save_model(tmp_path / "weights.safetensors", small_model("none"))
    model = create_model("resnet18", num_frames=4, num_classes=2)

    with pytest.raises(ValueError, match=r"weights\.safetensors: backbone\.\S+ must have shape"):
        initialize_from(model, tmp_path / "weights.safetensors")


def test_double_precision_comes_back_as_it_is(tmp_path: Path):
    model = create_model("test_resnet", temporal="sth", num_frames=4, num_classes=3, pretrained=False).double()
    save_model(tmp_path / "m.safetensors", model)
    loaded = load_model(tmp_path / "m.safetensors")
    for (key, own), back in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert own.dtype == back.dtype, key
        assert torch.equal(own, back), key
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_weights_of_which_nothing_fits_are_refused(tmp_path: Path):
    path = tmp_path / "m.safetensors"
    save_model(path, create_model("test_resnet", num_classes=3))
    with pytest.raises(ValueError, match="must be of a backbone like test_convnext, got those of test_resnet"):
        initialize_from(create_model("test_convnext", num_classes=3), path)


def test_a_loaded_model_does_not_need_its_file_any_more(tmp_path: Path):
    path = tmp_path / "m.safetensors"
    model = create_model("test_resnet", num_classes=3)
    save_model(path, model)
    loaded = load_model(path)

    path.write_bytes(b"")

    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), loaded.parameters(), strict=True))


def test_a_whole_video_network_starts_from_another_ones_weights(tmp_path: Path):
    source, model = (create_model("mc3_18", num_frames=4, num_classes=count) for count in (2, 3))
    save_model(tmp_path / "weights.safetensors", source)

    words = initialize_from(model, tmp_path / "weights.safetensors")

    assert "anew: head.weight, head.bias" in words[1]
    for key, value in of_backbone(source).items():
        assert torch.equal(model.state_dict()[key], value), key
