from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from kinema.demo.config import NETWORKS, DemoConfig


def test_reading_the_config_imports_nothing_heavy():
    code = "import sys, kinema.demo.config; print({'torch', 'timm', 'lightning', 'matplotlib'} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def test_the_command_says_what_differs_from_the_defaults():
    assert DemoConfig().command == "kinema demo"
    config = DemoConfig(out="my runs/demo", seed=3, learning_rate=1e-3)
    assert config.command == "kinema demo --out 'my runs/demo' --seed 3 --learning_rate 0.001"


def test_recipes_differ_in_the_temporal_layer_and_the_folder_alone():
    recipes = [DemoConfig(out="demo").recipe(temporal) for temporal in NETWORKS]
    first, *others = recipes
    assert [recipe.out for recipe in recipes] == ["demo/none", "demo/tsm", "demo/sth"]
    for recipe in others:
        different = {
            field.name for field in fields(recipe) if getattr(recipe, field.name) != getattr(first, field.name)
        }
        assert different == {"out", "model"}
        assert (recipe.model.backbone, recipe.model.pretrained) == (first.model.backbone, first.model.pretrained)


def test_the_seed_reaches_dataset_and_training():
    config = DemoConfig(seed=7)
    assert config.motion().seed == 7
    assert config.recipe("sth").seed == 7


def test_too_few_frames_to_shuffle_are_refused():
    with pytest.raises(ValueError, match="num_frames must be at least 3, got 2"):
        DemoConfig(num_frames=2)
