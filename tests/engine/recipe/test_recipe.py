"""Recipes: what they refuse, and that they come back from a file as they went in."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import get_type_hints

import pytest

from kinema.engine.recipe import (
    EvaluationRecipe,
    Recipe,
    augment,
    clip,
    data,
    evaluation,
    model,
    optimizer,
    run,
    trainer,
)
from kinema.engine.recipe.files import (
    build,
    check_keys,
    field_paths,
    load_yaml,
    recipe_from_dict,
    recipe_to_json,
    recipe_to_yaml,
)

MODULES = (augment, clip, data, evaluation, model, optimizer, run, trainer)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"modl": {"backbone": "resnet18"}}, "got modl; did you mean model?"),
        ({"model": {"backbon": "resnet18"}}, "got model.backbon; did you mean model.backbone?"),
        ({"batch_size": 4}, "got batch_size; did you mean trainer.batch_size?"),
        ({"trainer": {"learning_rate": 0.1}}, "got trainer.learning_rate; did you mean optimizer.learning_rate?"),
        ({"trainer": 4}, "trainer must hold `key: value` lines, got 4"),
        ({"seed": "three"}, "seed"),
        ({"trainer": {"batch_size": 2.5}}, "trainer.batch_size"),
        ({"trainer": {"batch_size": True}}, "trainer.batch_size"),
        ({"optimizer": {"name": "adam"}}, "optimizer.name"),
        ({"seed": -1}, r"seed must lie in \[0, 2\*\*32\), got -1"),
        ({"data": {"val_fraction": 1.0}}, r"data.val_fraction must lie in \[0, 1\), got 1.0"),
        ({"data": {"num_workers": -1}}, "data.num_workers must be 0 or more, got -1"),
        ({"trainer": {"strategy": "fsdp", "ema": 0.9}}, "trainer.ema must be null with fsdp"),
        ({"clip": {"num_frames": 0}}, "clip.num_frames must be at least 1, got 0"),
        ({"clip": {"resize": 100, "crop": 112}}, r"clip.crop must lie between 1 and clip.resize \(100\), got 112"),
        ({"augment": {"min_scale": 0}}, "augment.min_scale must .* got 0"),
        ({"augment": {"max_scale": 1.5}}, "augment.max_scale must be at most 1, got 1.5"),
        ({"augment": {"min_aspect": 2.0}}, "augment.min_aspect must .* got 2.0"),
        ({"clip": {"sampling": "dens"}}, "clip.sampling"),
        ({"clip": {"sampling": "stride"}}, "clip.stride must be given where clip.sampling is 'stride'"),
        ({"clip": {"stride": 4}}, "clip.stride must be left out unless clip.sampling is 'stride', got 4"),
        ({"clip": {"sampling": "dense", "num_frames": 80}}, "clip.num_frames must be at most 64"),
        ({"augment": {"crop": "multi"}}, "augment.crop"),
        ({"augment": {"scales": [1.0, 0.5]}}, "augment.scales must be left out unless augment.crop is multiscale"),
        (
            {"augment": {"crop": "resized", "min_scale": 0.5}},
            "augment.min_scale must be left out unless augment.crop is box, got 0.5; drop it, or turn that on",
        ),
        (
            {"augment": {"crop": "multiscale", "scales": []}},
            r"augment.scales must be some numbers in \(0, 1\], got \[\]",
        ),
        ({"augment": {"crop": "resized", "min_area": 0}}, "augment.min_area must .* got 0"),
        ({"augment": {"crop": "resized", "max_area": 2}}, "augment.max_area must be at most 1, got 2"),
        ({"augment": {"hue_jitter": 0.6}}, r"augment.hue_jitter must lie in \[0, 0.5\], got 0.6"),
        ({"augment": {"randaugment_magnitude": 31}}, r"augment.randaugment_magnitude must lie in \[0, 30\], got 31"),
        ({"augment": {"mixup": -1}}, r"augment.mixup must lie in \[0, 100\], got -1"),
        ({"augment": {"label_smoothing": 1}}, r"augment.label_smoothing must lie in \[0, 1\), got 1"),
        (
            {"augment": {"crop": "multiscale", "max_aspect": 2.0}},
            "augment.max_aspect must be left out unless augment.crop is box or resized, got 2.0",
        ),
        (
            {"augment": {"randaugment_magnitude": 7}},
            "augment.randaugment_magnitude must be left out unless augment.rand",
        ),
        (
            {"augment": {"mix_chance": 0.5}},
            "augment.mix_chance must be left out unless augment.mixup or augment.cutmix",
        ),
        ({"augment": {"repeats": 0}}, "augment.repeats must be at least 1, got 0"),
        ({"augment": {"repeats": 3}}, r"augment.repeats must divide trainer.batch_size \(8\), got 3"),
        ({"augment": {"repeats": 8, "cutmix": 1.0}}, "trainer.batch_size must be at least 16 for .* got 8"),
        ({"augment": {"mirror": 1.1}}, r"augment.mirror must lie in \[0, 1\], got 1.1"),
        ({"model": {"dropout": 1}}, r"model.dropout must lie in \[0, 1\), got 1"),
        (
            {"model": {"pretrained": True, "init": "a.safetensors"}},
            "model.pretrained must not name weights where model.init",
        ),
        ({"optimizer": {"learning_rate": 0}}, "optimizer.learning_rate must be positive, got 0"),
        ({"optimizer": {"learning_rate": float("nan")}}, "optimizer.learning_rate must be positive, got nan"),
        ({"optimizer": {"schedule": "steps"}}, "optimizer.milestones must name at least one epoch"),
        ({"trainer": {"epochs": 0}}, "trainer.epochs must be at least 1, got 0"),
        ({"trainer": {"batch_size": 0}}, "trainer.batch_size must be at least 1, or auto, got 0"),
        ({"trainer": {"clip_norm": 0}}, "trainer.clip_norm must be positive, got 0"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence_that_names_it(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        recipe_from_dict(values)


def test_an_empty_recipe_is_all_defaults():
    assert recipe_from_dict({}) == Recipe()


def test_values_land_in_their_fields():
    recipe = recipe_from_dict(
        {"seed": 3, "model": {"temporal": ["tsm", "sth"], "options": {"fraction": 0.5}}, "trainer": {"epochs": 7}}
    )
    assert (recipe.seed, recipe.model.temporal, recipe.model.options) == (3, ["tsm", "sth"], {"fraction": 0.5})
    assert recipe.trainer == replace(Recipe().trainer, epochs=7)


def test_a_recipe_survives_yaml(tmp_path):
    recipe = recipe_from_dict(
        {
            "data": {"root": "vidéos", "mirrors": {"turn left": "turn right", "wave": None}},
            "model": {"pretrained": False, "options": {"fraction": 0.25}},
            "optimizer": {"learning_rate": 1e-5, "schedule": "steps", "milestones": [1.5, 3.0]},
        }
    )
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_to_yaml(recipe), encoding="utf-8")
    assert recipe_from_dict(load_yaml(path)) == recipe


def test_a_recipe_in_a_weights_file_names_no_local_folder():
    recipe = recipe_from_dict(
        {
            "out": "/some/where/runs/mine",
            "data": {"root": "/some/where/videos", "annotations": "/some/where/list.csv"},
            "model": {"init": "/some/where/start.safetensors"},
        }
    )
    text = recipe_to_json(recipe)
    assert "some" not in text
    values = json.loads(text)
    assert (values["out"], values["data"]["root"], values["model"]["init"]) == ("mine", "videos", "start.safetensors")
    assert recipe_from_dict(values).optimizer == recipe.optimizer


@pytest.mark.parametrize(("text", "sentence"), [("a: [1", "must be YAML"), ("- 1\n", "must hold"), ("sed: 1", "seed")])
def test_a_file_that_is_no_recipe_is_refused_by_name(tmp_path, text, sentence):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"wrong\.yaml.*{sentence}"):
        load_yaml(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml: no such file"):
        load_yaml(tmp_path / "none.yaml")


def test_an_empty_file_is_an_empty_recipe(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_yaml(path) == {}


def test_build_fills_nested_dataclasses():
    built = build(EvaluationRecipe, {"data": {"root": "x"}, "views": {"num_clips": 2}})
    assert (built.data.root, built.views.num_clips, built.views.num_crops) == ("x", 2, 1)


def test_field_paths_name_groups_and_values():
    paths = field_paths(EvaluationRecipe)
    assert {"split", "data", "data.root", "views.num_crops"} <= set(paths)
    check_keys(EvaluationRecipe, {"data": {"root": "x"}}, source="test")


def test_every_field_of_every_recipe_has_a_docstring():
    undocumented = []
    classes = [(module, item) for module in MODULES for item in ast.parse(inspect.getsource(module)).body]
    for module, node in ((module, item) for module, item in classes if isinstance(item, ast.ClassDef)):
        for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(statement, ast.AnnAssign):
                continue
            name = statement.target.id
            group = is_dataclass(get_type_hints(getattr(module, node.name))[name])
            documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if not (group or documented):
                undocumented.append(f"{node.name}.{name}")
    assert not undocumented
    assert len(fields(Recipe)) == 8


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[3].glob("recipes/**/*.yaml")), ids=lambda path: path.stem
)
def test_every_recipe_of_the_repository_parses(path):
    assert recipe_from_dict(load_yaml(path), source=str(path)) != Recipe()
