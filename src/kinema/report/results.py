"""What weights have scored, with the protocol's name: from an evaluation's file, or from the folder of their run."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.data.views import protocol_name
from kinema.engine.recipe.files import recipe_to_json
from kinema.engine.training import run_folder
from kinema.models.weights import read_metadata
from kinema.wording import listed


@dataclass(frozen=True, kw_only=True)
class Result:
    """Scores under one protocol; what was not recorded is none."""

    protocol: str
    """How the videos were looked at."""
    top1: float
    """Part of the videos whose label is the most probable one."""
    num_videos: int | None = None
    """How many were scored, unreadable ones included."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval of top-1."""
    top5: float | None = None
    """Part of the videos whose label is among the five most probable ones."""
    mean_class: float | None = None
    """Mean over the classes of the part of their videos that is right."""
    notes: tuple[str, ...] = ()
    """What a reader has to know of these numbers."""


def as_percent(part: float | None) -> str:
    """Words of a part."""
    return "not recorded" if part is None else f"{part:.1%}"


def read_results(path: str | Path, *, class_names: Sequence[str]) -> Result:
    """Reads what `kinema evaluate --json` wrote.

    Args:
        path: The file.
        class_names: Those of the weights; the file's must be the same.

    Returns:
        The scores.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file, or of weights with other classes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; `kinema evaluate --json FILE` writes one")
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        low, high = values["top1_interval"]
        videos = int(values["num_clips"])
        result = Result(
            protocol=str(values["protocol"]),
            top1=float(values["top1"]),
            num_videos=videos,
            interval=(float(low), float(high)),
            top5=float(values["top5"]),
            mean_class=float(values["mean_class"]),
            notes=_notes(values),
        )
        names = list(values["class_names"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: results must be what `kinema evaluate --json` wrote, got something else "
            f"({type(error).__name__}: {error}); evaluate the weights"
        ) from error
    if names != list(class_names):
        raise ValueError(
            f"{path}: results must be those of weights with the same classes, got {listed(names, 4)}; evaluate these"
        )
    return result


def _notes(values: dict[str, Any]) -> tuple[str, ...]:
    """What a reader has to know of scores."""
    errors, precision = len(values["errors"]), values.get("mean_average_precision")
    notes = [f"{errors} of the videos could not be read and count as wrong."] if errors else []
    if precision is not None:
        notes.append(
            f"a video may show several classes: mean average precision is {as_percent(float(precision))}, and top-1 "
            "counts videos one of whose classes is the most probable one."
        )
    return tuple(notes)


def find_results(file: Path) -> list[Result]:
    """Looks into the folder of a run for what its weights scored on the held-out videos.

    The run's log has top-1 after each epoch, and not on how many videos. It is that of the weights if the folder's
    recipe is the one in them.

    Args:
        file: A weights file, in the folder of its run or not.

    Returns:
        The score of its epoch, if there is one.
    """
    folder, metadata = file.parent, read_metadata(file)
    log, own = folder / run_folder.METRICS, metadata.get("recipe")
    if (
        file.name not in (run_folder.LAST, run_folder.BEST)
        or not (folder / run_folder.MARK).exists()
        or not log.is_file()
    ):
        return []
    if own is None or not (folder / run_folder.RECIPE).is_file():
        return []
    recipe = run_folder.stored_recipe(folder)
    if recipe_to_json(recipe) != own:
        return []
    with log.open(newline="", encoding="utf-8") as lines:
        scores = {row["epoch"]: row["val_top1"] for row in csv.DictReader(lines)}
    score = scores.get(metadata.get("epoch", ""))
    if not score:
        return []
    note = "on the videos that the run held out, as its log says; `kinema evaluate` adds the confidence interval."
    notes = [note]
    if file.name == run_folder.BEST:
        notes.append("the weights are those of the epoch with the highest such number, which flatters it.")
    protocol = protocol_name(1, 1, sampling=recipe.clip.sampling)
    return [Result(protocol=protocol, top1=float(score), notes=tuple(notes))]
