from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kinema.models.classifier import VideoClassifier, create_model
from kinema.models.temporal_layers import TEMPORAL_LAYERS
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


def test_another_temporal_layer_takes_what_it_can_and_says_so(tmp_path: Path):
    save_model(tmp_path / "weights.safetensors", small_model("none"))

    taken, anew, unused = initialize_from(small_model("sth"), tmp_path / "weights.safetensors")

    assert "tensors taken" in taken
    assert "backbone.layer1.0.conv1.spatial" in anew
    assert "backbone.layer1.0.conv1.weight" in unused


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
