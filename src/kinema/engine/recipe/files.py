"""Reads and writes recipes: YAML for people, JSON in a weights file, with keys and types checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import jsonargparse
import yaml

from kinema.engine.recipe.run import Recipe
from kinema.models.hub import is_on_hub
from kinema.wording import nearest

T = TypeVar("T")


def field_paths(cls: type) -> list[str]:
    """Returns the dotted names of all groups and values in a tree of dataclasses: `data`, `data.root`, ..."""
    paths = []
    for name, kind in get_type_hints(cls).items():
        paths.append(name)
        if is_dataclass(kind):
            paths += [f"{name}.{path}" for path in field_paths(cast("type", kind))]
    return paths


def check_keys(cls: type, values: object, *, source: str, prefix: str = "", known: Sequence[str] = ()) -> None:
    """Refuses keys that are no field of the tree.

    Raises:
        ValueError: If a key is unknown; it names the nearest known one.
    """
    known = known or field_paths(cls)
    if not isinstance(values, Mapping):
        place = f"{source}: {prefix.rstrip('.')}" if prefix else source
        raise ValueError(f"{place} must hold `key: value` lines, got {values!r}; write its fields so")
    hints = get_type_hints(cls)
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in hints:
            raise ValueError(f"{source}: keys must be fields of the recipe, got {path}; {nearest(path, known)}")
        if is_dataclass(hints[key]):
            check_keys(cast("type", hints[key]), value, source=source, prefix=f"{path}.", known=known)


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """Makes a tree of dataclasses from nested mappings whose keys and types have been checked."""
    hints = get_type_hints(cls)
    arguments = {
        name: build(hints[name], value) if is_dataclass(hints[name]) else value for name, value in values.items()
    }
    return cls(**arguments)


def load_yaml(path: Path, cls: type = Recipe) -> dict[str, Any]:
    """Reads a YAML file whose keys are fields of the tree.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not YAML, or a key is unknown.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; --config takes a recipe, such as those in recipes/")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: a recipe must be YAML, got {' '.join(str(error).split())}; correct it") from error
    values = {} if values is None else values
    check_keys(cls, values, source=str(path))
    return values


def recipe_from_dict(values: Mapping[str, Any], *, source: str = "recipe") -> Recipe:
    """Makes a recipe from nested mappings; keys, types and ranges are checked.

    Raises:
        ValueError: If a key is unknown, a value of another type, or out of its range.
    """
    check_keys(Recipe, values, source=source)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe, None)
    try:
        parsed = parser.parse_object(dict(values))
    except jsonargparse.ArgumentError as error:
        raise ValueError(f"{source}: {error}") from error
    return build(Recipe, parsed.as_dict())


def recipe_to_yaml(recipe: Recipe) -> str:
    """Returns the full recipe as YAML that `--config` takes."""
    return yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=True)


def recipe_to_json(recipe: Recipe) -> str:
    """Returns the recipe as JSON for a weights file, its paths cut to their last part: they mean nothing elsewhere."""

    def last(path: str | None) -> str | None:
        return Path(path).resolve().name if path else path

    init, pretrained = recipe.model.init, recipe.model.pretrained
    public = replace(
        recipe,
        out=last(recipe.out) or recipe.out,
        data=replace(
            recipe.data,
            root=last(recipe.data.root) or "",
            annotations=last(recipe.data.annotations),
            class_list=last(recipe.data.class_list),
            quarantine=last(recipe.data.quarantine),
            cache_folder=last(recipe.data.cache_folder),
        ),
        model=replace(
            recipe.model,
            init=init if is_on_hub(init) else last(init),
            pretrained=Path(pretrained).name if isinstance(pretrained, str) else pretrained,
        ),
    )
    return json.dumps(asdict(public), ensure_ascii=False)
