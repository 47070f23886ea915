"""The recipes of the repository: the files, what their YAML says, and what their comments print."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.engine.recipe.files import load_yaml, recipe_from_dict
from pages import load_script

if TYPE_CHECKING:
    from kinema.engine.recipe import Recipe

FOLDER = Path(__file__).resolve().parents[1] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))
PAPER_RECIPES = [path for path in RECIPES if path.parent.name != "motion"]

comments = load_script("recipes").comments
printed_numbers = load_script("recipes").printed_numbers


def name_of(path: Path) -> str:
    """Returns the path of a recipe in its folder, without extension."""
    return path.relative_to(FOLDER).with_suffix("").as_posix()


@cache
def read_recipe(path: Path) -> Recipe:
    """Reads a recipe as `kinema train --config` does."""
    return recipe_from_dict(load_yaml(path), source=path.name)


def commands(path: Path, verb: str) -> list[str]:
    """Returns the commands `kinema <verb> ...` in the comments of a recipe."""
    return [line for line in comments(path).splitlines() if line.startswith(f"kinema {verb} ")]


def views_of(command: str) -> tuple[int, int]:
    """Returns the clips and crops that a command of evaluation asks for."""
    clips, crops = (re.search(rf"--views\.num_{what} (\d+)", command) for what in ("clips", "crops"))
    return int(clips[1]) if clips else 1, int(crops[1]) if crops else 1


def temporal_of(recipe: Recipe) -> list[str]:
    """Returns the temporal layers of a recipe."""
    temporal = recipe.model.temporal
    return [temporal] if isinstance(temporal, str) else list(temporal)
