"""The folder of a run: what stands where, and whether a run may begin or go on in it."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import Any

from kinema.data.atomic import write_atomically
from kinema.engine.recipe import Recipe
from kinema.engine.recipe.files import load_yaml, recipe_from_dict, recipe_to_yaml

RECIPE = "recipe.yaml"
METRICS = "metrics.csv"
UNREADABLE = "unreadable.jsonl"
QUARANTINE = "quarantine.jsonl"
"""A copy of the list of videos that a run leaves out, where the list lies in the folder: the run replaces its files."""
LOST = "lost.jsonl"
"""The videos of the step in which a run lost its numbers."""
FINGERPRINTS = "fingerprints.jsonl"
"""Where and on what the run was begun and gone on with, a line for each change."""
CHECKPOINT = "checkpoints/last.ckpt"
LAST = "last.safetensors"
BEST = "best.safetensors"
LOGS = "logs"
MARK = ".kinema-run"
"""An empty file that says: what lies here by these names a run has written."""
_OWN = (RECIPE, METRICS, UNREADABLE, QUARANTINE, LOST, FINGERPRINTS, str(Path(CHECKPOINT).parent), LAST, BEST, LOGS)

FREE_ON_RESUME = frozenset(
    {
        *("out", "data.root", "data.annotations", "data.class_list", "data.quarantine", "data.num_workers"),
        *("data.max_unreadable", "data.cache", "data.cache_folder", "model.init", "trainer.accelerator"),
        *("trainer.checkpoint_steps", "trainer.loggers"),
    }
)
"""What may differ when a run goes on: where things lie, on what it computes, what it keeps, and when it gives up."""

OPEN = frozenset({"model.pretrained", "trainer.batch_size", "trainer.epochs", "trainer.precision"})
"""What a recipe may leave open and a run decides when it begins."""


def stored_recipe(out: Path) -> Recipe:
    """Reads the recipe of the run in a folder.

    Raises:
        ValueError: If there is no run.
    """
    if not (out / RECIPE).is_file():
        raise ValueError(
            f"out must hold a run to resume, got {out} without a {RECIPE}; leave --resume out to begin one"
        )
    values = load_yaml(out / RECIPE)
    if not values:
        raise ValueError(f"{out / RECIPE}: the recipe of a run must say its numbers, got none; begin anew: --overwrite")
    return recipe_from_dict(values, source=str(out / RECIPE))


def check_free(out: Path) -> None:
    """Refuses to begin a run in a folder that holds one.

    Raises:
        ValueError: If it does.
    """
    check_removable(out)
    if (out / MARK).exists() and (out / RECIPE).exists():  # without it, it was killed before it had begun
        raise ValueError(
            f"out must be a folder without a run, got {out}, which holds one; go on with --resume, "
            "choose another --out, or begin anew with --overwrite"
        )


def check_removable(out: Path) -> None:
    """Refuses a folder in which files that no run has written have the names of a run's.

    Raises:
        ValueError: If there are such files.
    """
    taken = [name for name in _OWN if (out / name).exists()]
    if taken and not (out / MARK).exists():
        raise ValueError(
            f"out must be a folder in which nothing is in a run's way, got {out}, which has {', '.join(taken)} that no "
            "run has written; choose another --out, or move them"
        )


def begin_run(recipe: Recipe) -> Recipe:
    """Makes a folder ready for a new run; of what stands there only an older run's files are removed.

    Returns:
        The recipe; of a quarantine that lies in the folder, it names the run's own copy.

    Raises:
        ValueError: If there are files in the way that are no run's.
    """
    out, quarantine = Path(recipe.out), recipe.data.quarantine
    check_removable(out)
    inside = quarantine is not None and Path(quarantine).resolve().is_relative_to(out.resolve())
    left_out = Path(quarantine).read_bytes() if quarantine and inside else None
    for path in (out / name for name in _OWN):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    if left_out is not None:
        write_atomically(out / QUARANTINE, left_out)
        recipe = replace(recipe, data=replace(recipe.data, quarantine=str((out / QUARANTINE).resolve())))
    write_atomically(out / RECIPE, recipe_to_yaml(recipe).encode())
    return recipe


def how_to_begin_anew(out: Path) -> str:
    """Says how to change what a run cannot go on with: its numbers are those that it began with."""
    weights = out / BEST
    kept = f", or from its best weights with --model.init {quote(str(weights))} and another --out"
    return f"begin anew with --overwrite{kept if weights.is_file() else ''}"


def continued_recipe(stored: Recipe, given: Recipe) -> Recipe:
    """Returns the recipe that a run goes on with: what was left open is as the run began with.

    Raises:
        ValueError: If a value differs that the numbers of the run depend on.
    """
    before, now = _flat(asdict(stored)), _flat(asdict(given))
    for name in sorted(before.keys() | now.keys()):
        left_open = name in OPEN and now.get(name) in (None, "auto")
        if name not in FREE_ON_RESUME and not left_open and before.get(name) != now.get(name):
            raise ValueError(
                f"{name} must be as the run began with, {before.get(name)!r}, to resume it, got {now.get(name)!r}; "
                "leave it out, or begin another run from these weights with --model.init"
            )
    return replace(
        given,
        model=replace(given.model, pretrained=stored.model.pretrained),
        trainer=replace(
            given.trainer,
            batch_size=stored.trainer.batch_size,
            epochs=stored.trainer.epochs,
            precision=stored.trainer.precision,
        ),
    )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and path not in ("data.mirrors", "model.options"):
            flat |= _flat(value, prefix=f"{path}.")
        else:
            flat[path] = value
    return flat
