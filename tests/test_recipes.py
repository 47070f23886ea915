"""Every recipe is read, names its network, and builds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kinema.demo.config import DemoConfig
from kinema.engine.recipe import Recipe
from kinema.engine.recipe.files import load_yaml, recipe_from_dict
from kinema.models.classifier import create_model

FOLDER = Path(__file__).resolve().parents[1] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))


def read(path: Path) -> Recipe:
    return recipe_from_dict(load_yaml(path), source=path.name)


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_named_after_its_network(path):
    recipe = read(path)
    temporal = [recipe.model.temporal] if isinstance(recipe.model.temporal, str) else recipe.model.temporal
    backbone = recipe.model.backbone.partition(".")[0]
    ending = f"{'_'.join(temporal)}_{recipe.clip.num_frames}f"
    assert path.stem in (f"{backbone}_{ending}", f"footage_{ending}")
    assert path.stem.removeprefix("footage_") in recipe.out


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_builds_a_network_that_takes_its_clips(path):
    recipe = read(path)
    model = create_model(
        recipe.model.backbone,
        temporal=recipe.model.temporal,
        num_frames=recipe.clip.num_frames,
        num_classes=8,
        dropout=recipe.model.dropout,
        causal=recipe.model.causal,
        **recipe.model.options,
    )
    size = recipe.clip.crop
    with torch.inference_mode():
        logits = model.eval()(torch.zeros(1, recipe.clip.num_frames, 3, size, size))
    assert logits.shape == (1, 8)


@pytest.mark.parametrize("temporal", ["none", "tsm", "sth"])
def test_the_recipes_of_the_built_in_motions_are_those_of_the_demo(temporal):
    recipe = read(FOLDER / "motion" / f"test_resnet_{temporal}_8f.yaml")
    demo = DemoConfig().recipe(temporal)
    assert replace(recipe, out=demo.out, data=replace(recipe.data, root=demo.data.root)) == demo
