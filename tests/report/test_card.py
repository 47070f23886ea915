"""Model cards: what is in the weights file stands in them, nothing is invented, and no local path is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinema.cli import main
from kinema.engine.recipe import DataRecipe, ModelRecipe, Recipe
from kinema.engine.recipe.files import recipe_from_dict, recipe_to_yaml
from kinema.models.classifier import create_model
from kinema.models.cost import cost
from kinema.models.weights import save_model
from kinema.report.card import model_card
from kinema.report.publish import publish
from kinema.report.results import Result, read_results
from kinema.spec import ClipSpec

CLASS_NAMES = ("falling", "rising|up", "two\nlines", "`code`")
FINGERPRINT = {"kinema": "0.1", "torch": "2.11", "commit": None, "data": "0123abcd", "seed": 3}


def write_weights(path: Path, *, metadata: dict[str, str] | None = None, **options: Any) -> Path:
    class_names = options.pop("class_names", CLASS_NAMES)
    spec = ClipSpec(
        num_frames=4,
        resize=40,
        crop=32,
        class_names=class_names,
        span_seconds=1.5,
        spacing_seconds=0.375,
        **options.pop("sampling", {}),
    )
    model = create_model("test_resnet", num_frames=4, num_classes=max(len(class_names), 1), spec=spec, **options)
    save_model(path, model, metadata=metadata)
    return path


def absolute_recipe(tmp_path: Path) -> Recipe:
    return Recipe(
        seed=3,
        out=str(tmp_path / "runs" / "one"),
        data=DataRecipe(root=str(tmp_path / "videos"), annotations=str(tmp_path / "list.csv"), group_pattern="/a(b)/c"),
        model=ModelRecipe(temporal="sth", options={"fraction": 0.5}, init=str(tmp_path / "first.safetensors")),
    )


def scores(**changes: Any) -> dict[str, Any]:
    """What `kinema evaluate --json` writes, in its own order and with its own names."""
    return {
        "protocol": "2 clips × 3 crops",  # noqa: RUF001
        "num_clips": 40,
        "top1": 0.75,
        "top1_interval": [0.598, 0.858],
        "top5": 1.0,
        "mean_class": 0.7,
        "loss": 0.5,
        "class_names": list(CLASS_NAMES),
        "confusion": [],
        "errors": {},
        "videos": [],
        **changes,
    }


def section(card: str, title: str) -> str:
    return re.split(r"^## ", card, flags=re.MULTILINE)[[*re.findall(r"^## (.*)$", card, re.MULTILINE)].index(title) + 1]


def test_a_card_says_what_the_network_is_and_what_it_takes(tmp_path: Path):
    path = write_weights(tmp_path / "w.safetensors", temporal=["tsm", "sth"], causal=True, fraction=0.5)

    card = model_card(path, name="hf://me/motion", results=[], license="apache-2.0")

    front = yaml.safe_load(card.split("---")[1])
    assert (front["library_name"], front["pipeline_tag"]) == ("kinema", "video-classification")
    assert front["license"] == "apache-2.0"
    assert {"tsm", "sth", "test_resnet"} <= set(front["tags"])
    network = section(card, "Network")
    same = create_model("test_resnet", temporal=["tsm", "sth"], num_frames=4, num_classes=4, causal=True, fraction=0.5)
    counted = cost(same, size=32)
    for words in (
        "| temporal layers | `tsm`, `sth` |",
        '| options | `{"fraction": 0.5}` |',
        "| causal | yes",
        "| frames T of a clip | 4 |",
        "| classes K | 4 |",
        f"| parameters | {counted.parameters / 1e6:.2f} M |",
        f"| multiply-adds | {counted.macs / 1e9:.2f} G for a clip of 4 frames of 32 × 32 pixels |",  # noqa: RUF001
    ):
        assert words in network
    spec = section(card, "How a video becomes a clip")
    for words in ("short side to 40 pixels", "0.485, 0.456, 0.406", "1.50 s long", "0.375 s apart"):
        assert words in spec
    use = section(card, "Use")
    assert "pip install kinema\nkinema predict hf://me/motion clip.mp4\n" in use
    assert 'Predictor("hf://me/motion")' in use


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({}, "| frames | 4, one from each of as many equal parts of the video |"),
        ({"sampling": "dense"}, "| frames | 4, one in 16 of a window of 64 frames |"),
        ({"sampling": "stride", "stride": 8}, "| frames | 4, 8 frames from one to the next |"),
        ({"sampling": "stride", "stride_seconds": 0.25}, "| frames | 4, 0.25 s from one to the next |"),
    ],
)
def test_a_card_says_how_clips_are_sampled(tmp_path: Path, sampling: dict[str, Any], words: str):
    path = write_weights(tmp_path / "w.safetensors", sampling=sampling)
    assert words in section(model_card(path, name="w", results=[]), "How a video becomes a clip")


def test_nothing_is_invented(tmp_path: Path):
    path = write_weights(tmp_path / "w.safetensors", class_names=())

    card = model_card(path, name="model.safetensors", results=[])

    assert "license" not in yaml.safe_load(card.split("---")[1])
    assert section(card, "Results").strip() == "Results\n\nNot measured."
    assert section(card, "Recipe").strip() == "Recipe\n\nNot recorded."
    assert section(card, "Fingerprint").strip() == "Fingerprint\n\nNot recorded."
    assert "1; their names are not recorded." in section(card, "Classes")
    assert "predict" not in section(card, "Use")
    assert 'load_model("model.safetensors")' in section(card, "Use")
    assert "| temporal layers | none |\n| head | `linear` |" in section(card, "Network")
    assert "made with kinema: the 2D network `test_resnet`, which" in card


def test_the_recipe_stands_there_without_local_paths(tmp_path: Path):
    recipe = absolute_recipe(tmp_path)
    values = yaml.safe_load(recipe_to_yaml(recipe))
    metadata = {"recipe": json.dumps(values), "fingerprint": json.dumps(FINGERPRINT)}
    path = write_weights(tmp_path / "w.safetensors", metadata=metadata)

    card = model_card(path, name="hf://me/motion", results=[])

    text = section(card, "Recipe")
    assert "Paths are cut to their last part." in text
    shown = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert (shown["out"], shown["data"]["root"], shown["data"]["annotations"]) == ("one", "videos", "list.csv")
    assert shown["model"]["init"] == "first.safetensors"
    assert shown["data"]["group_pattern"] == "/a(b)/c"
    assert recipe_from_dict(shown).optimizer == recipe.optimizer
    assert str(tmp_path) not in card
    fingerprint = section(card, "Fingerprint")
    assert "| data | `0123abcd` |" in fingerprint
    assert "| commit | not recorded |" in fingerprint
    assert "| seed | `3` |" in fingerprint


@pytest.mark.parametrize(
    ("value", "last"), [("C:\\videos\\own", "own"), ("/a/b/", "b"), ("hf://me/first", "hf://me/first")]
)
def test_paths_of_other_systems_are_cut_too_and_public_names_are_kept(value: str, last: str, tmp_path: Path):
    metadata = {"recipe": json.dumps({"model": {"init": value}, "data": None})}
    path = write_weights(tmp_path / "w.safetensors", metadata=metadata)

    text = section(model_card(path, name="hf://me/motion", results=[]), "Recipe")

    assert yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["model"]["init"] == last


def test_class_names_stay_in_their_lines_and_many_are_folded_away(tmp_path: Path):
    few = section(model_card(write_weights(tmp_path / "w.safetensors"), name="x", results=[]), "Classes")
    assert few.splitlines()[3:7] == ["0  falling", "1  rising|up", '2  "two\\nlines"', "3  `code`"]
    assert "<details>" not in few

    names = tuple(f"class ``` {number}" for number in range(30))
    many = section(
        model_card(write_weights(tmp_path / "m.safetensors", class_names=names), name="x", results=[]), "Classes"
    )
    assert "<summary>30 classes</summary>" in many
    assert "\n````text\n 0  class ``` 0\n" in many
    assert "\n29  class ``` 29\n````\n" in many


def test_results_stand_under_their_protocols_name(tmp_path: Path):
    path = write_weights(tmp_path / "w.safetensors")
    (tmp_path / "scores.json").write_text(json.dumps(scores(errors={"a.mp4": "is broken"})))
    full = read_results(tmp_path / "scores.json", class_names=CLASS_NAMES)
    partial = Result(protocol="1 clip", top1=0.5)

    text = section(model_card(path, name="x", results=[full, partial]), "Results")

    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "| protocol | videos | top-1 | 95 % interval | top-4 | mean class accuracy |"
    assert rows[2] == "| 2 clips × 3 crops | 40 | 75.0% | 59.8% to 85.8% | 100.0% | 70.0% |"  # noqa: RUF001
    assert rows[3] == "| 1 clip | not recorded | 50.0% | not recorded | not recorded | not recorded |"
    assert "- 2 clips × 3 crops: 1 of the videos could not be read and count as wrong." in text  # noqa: RUF001


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("no json", "must be what `kinema evaluate --json` wrote, got something else"),
        ("[1]", "must be what `kinema evaluate --json` wrote, got something else"),
        (json.dumps({"top1": 0.5}), "must be what `kinema evaluate --json` wrote, got something else"),
        (
            json.dumps(scores(class_names=["x"])),
            "must be those of weights with the same classes, got x; evaluate these",
        ),
    ],
)
def test_other_files_are_no_results(content: str, sentence: str, tmp_path: Path):
    (tmp_path / "scores.json").write_text(content)

    with pytest.raises(ValueError, match=rf"scores\.json: results {re.escape(sentence)}"):
        read_results(tmp_path / "scores.json", class_names=CLASS_NAMES)


def test_results_that_are_not_there_are_named(tmp_path: Path):
    path = write_weights(tmp_path / "w.safetensors")

    with pytest.raises(FileNotFoundError, match=r"none\.json: there is no such file; `kinema evaluate --json FILE`"):
        publish(path, str(tmp_path / "new"), results=[tmp_path / "none.json"])

    assert not (tmp_path / "new").exists()


def test_strings_that_are_no_json_are_an_error(tmp_path: Path):
    path = write_weights(tmp_path / "w.safetensors", metadata={"recipe": "[1, 2"})

    with pytest.raises(ValueError, match=r"the recipe in a weights file must be a JSON object, got '\[1, 2'"):
        model_card(path, name="x", results=[])


def test_push_takes_several_files_of_results(tmp_path: Path, capsys):
    path = write_weights(tmp_path / "w.safetensors")
    for name, protocol in (("one", "1 clip"), ("two", "2 clips")):
        (tmp_path / f"{name}.json").write_text(json.dumps(scores(protocol=protocol)))
    one, two = str(tmp_path / "one.json"), str(tmp_path / "two.json")

    assert main(["push", str(path), str(tmp_path / "a"), "--results", one]) == 0
    assert main(["push", str(path), str(tmp_path / "b"), "--results", json.dumps([one, two])]) == 0

    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("results")] == ["results: 1 clip", "results: 1 clip, 2 clips"]
    card = (tmp_path / "b" / "README.md").read_text()
    assert "| 1 clip | 40 |" in card
    assert "| 2 clips | 40 |" in card


def test_a_card_says_whose_weights_were_converted(tmp_path: Path):
    origin = {"file": "tsm.pth", "sha256": "0123", "layout": "ResNet, official code of TSM", "notes": ["T = 4: asked"]}
    file = write_weights(tmp_path / "w.safetensors", metadata={"origin": json.dumps(origin)})

    card = model_card(file, name="me/it", results=[])

    assert "## Origin\n\nConverted by `kinema import` from the checkpoint of another project" in card
    assert "| file | `tsm.pth` |" in card
    assert "- T = 4: asked" in card
    assert "## Origin" not in model_card(write_weights(tmp_path / "own.safetensors"), name="me/it", results=[])
