"""What the numbers of a run depend on beside its recipe, for its weights files, its logs and its folder."""

from __future__ import annotations

import json
from pathlib import Path

from kinema.data.atomic import write_atomically
from kinema.engine.processes.ranks import is_main, num_ranks
from kinema.engine.recipe import Recipe
from kinema.engine.training.data import TrainingData


def run_fingerprint(recipe: Recipe, data: TrainingData) -> dict[str, str | int | None]:
    """Returns data hash, versions, commit, seed and machine, and how this run computes on it."""
    return {**data.fingerprint, "precision": recipe.trainer.precision, "processes": num_ranks()}


def note_fingerprint(file: Path, fingerprint: dict[str, str | int | None]) -> None:
    """Adds a line to a file, unless it is the last one already: a run may go on elsewhere than it began."""
    if not is_main():
        return
    line = json.dumps(fingerprint, ensure_ascii=False)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    if lines[-1:] != [line]:
        write_atomically(file, "".join(f"{line}\n" for line in [*lines, line]).encode())
