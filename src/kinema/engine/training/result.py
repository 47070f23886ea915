"""What a training run left behind, and how it is summed up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from kinema.engine.evaluate import Evaluation
from kinema.engine.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a run left behind."""

    recipe: Recipe
    """The full recipe; what it left open is filled in."""
    last: Path
    """Weights after the last epoch."""
    best: Path
    """Weights of the epoch that was best on the held-out videos; the last ones where none are held out."""
    last_epoch: int
    """That epoch, counted from 0; patience may have ended the run before the recipe's last one."""
    best_epoch: int
    """The best epoch, counted from 0."""
    best_score: float | None
    """Its held-out top-1, or mean average precision where a video may show several classes: chosen as the highest, so
    it flatters."""
    training: Evaluation
    """Scores of the last weights on training videos, seen as in an evaluation."""
    held_out: Evaluation | None
    """Scores of the last weights on the held-out videos."""


def summary(result: TrainingResult) -> Table:
    """Lays out the scores of a run."""
    training, held_out = result.training, result.held_out
    name = "top-1" if training.mean_average_precision is None else "mAP"
    table = Table("weights", "epoch", f"training {name}", f"held-out {name}", "95 % interval", title=training.protocol)
    interval = held_out and held_out.mean_average_precision is None
    low, high = held_out.interval if held_out else (0.0, 0.0)
    table.add_row(
        result.last.name,
        f"{result.last_epoch + 1}",
        f"{training.score:.1%} of {training.num_clips}",
        f"{held_out.score:.1%} of {held_out.num_clips}" if held_out else "none held out",
        f"{low:.1%} to {high:.1%}" if interval else "",
    )
    if held_out and result.best_score is not None:
        table.add_row(result.best.name, f"{result.best_epoch + 1}", "", f"{result.best_score:.1%}", "")
    return table
