"""The recipes of the repository: the files, what their YAML says, and what their comments print."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.engine.recipe.files import load_yaml, recipe_from_dict

if TYPE_CHECKING:
    from kinema.engine.recipe import Recipe

FOLDER = Path(__file__).resolve().parents[1] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))
PAPER_RECIPES = [path for path in RECIPES if path.parent.name != "motion"]

_NUMBER = re.compile(
    r"(?P<kind>paper|fused): (?P<top1>[\d.]+) top-1(?:, (?P<top5>[\d.]+) top-5)?; "
    r"(?P<clips>\d+) clips? x (?P<crops>\d+) crops?; (?:with (?P<other>\S+\.yaml); )?(?P<source>.+); not measured by us"
)


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A number that the comments of a recipe cite."""

    kind: str
    """`paper`, of the network alone, or `fused`, with another one."""
    top1: float
    top5: float | None
    views: tuple[int, int]
    """Clips and crops."""
    other: str | None
    """Recipe of the other network."""
    source: str
    line: str


def name_of(path: Path) -> str:
    """Returns the path of a recipe in its folder, without extension."""
    return path.relative_to(FOLDER).with_suffix("").as_posix()


@cache
def read_recipe(path: Path) -> Recipe:
    """Reads a recipe as `kinema train --config` does."""
    return recipe_from_dict(load_yaml(path), source=path.name)


def comments(path: Path) -> str:
    """Returns the comments at the head of a recipe, each paragraph and each command on one line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line[1:].rstrip()
        goes_on = bool(lines) and (lines[-1].endswith("\\") or re.match(r"   (?!kinema )\S", text) is not None)
        if goes_on:
            lines[-1] = lines[-1].removesuffix("\\").rstrip() + " " + text.strip()
        else:
            lines.append(text.strip())
    return "\n".join(lines)


def printed_numbers(path: Path) -> list[Printed]:
    """Returns the numbers that the comments of a recipe cite; a line that is not as it must be is an error."""
    found = []
    for line in comments(path).splitlines():
        if not line.startswith(("paper:", "fused:")) or line.startswith("paper: no number; "):
            continue
        match = _NUMBER.fullmatch(line)
        assert match, f"{path.name}: {line}"
        found.append(
            Printed(
                kind=match["kind"],
                top1=float(match["top1"]),
                top5=None if match["top5"] is None else float(match["top5"]),
                views=(int(match["clips"]), int(match["crops"])),
                other=match["other"],
                source=match["source"],
                line=line,
            )
        )
    return found


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
