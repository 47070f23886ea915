"""What a run leaves behind when its loop has ended: weights, scores, and a summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from kinema.data.annotations import Sample
from kinema.data.views import grid_views, protocol_name
from kinema.engine.evaluate import Evaluation, evaluate
from kinema.engine.processes.ranks import is_main
from kinema.engine.recipe import Recipe
from kinema.engine.recipe.files import recipe_to_json
from kinema.engine.speech import say
from kinema.engine.training import run_folder
from kinema.engine.training.choosing.epochs import batch_size_of
from kinema.engine.training.data import TrainingData, choose_workers
from kinema.engine.training.origin import run_fingerprint
from kinema.engine.training.result import TrainingResult, summary
from kinema.engine.training.resuming.best import BestEpoch
from kinema.models.classifier import VideoClassifier
from kinema.models.weights import save_model
from kinema.wording import one_line


def finish(
    recipe: Recipe, data: TrainingData, model: VideoClassifier, *, best: BestEpoch, console: Console
) -> TrainingResult:
    """Writes the last weights, scores them, and says how it went."""
    out = Path(recipe.out)
    assert best.last_epoch is not None
    if is_main():
        save_model(out / run_folder.LAST, model, metadata=metadata(recipe, data, epoch=best.last_epoch))
    if is_main() and best.best_epoch is None:
        save_model(out / run_folder.BEST, model, metadata=metadata(recipe, data, epoch=best.last_epoch))
    chosen = np.random.default_rng(recipe.seed).permutation(len(data.train))[:MAX_TRAINING_CLIPS]
    result = TrainingResult(
        recipe=recipe,
        last=out / run_folder.LAST,
        best=out / run_folder.BEST,
        last_epoch=best.last_epoch,
        best_epoch=best.last_epoch if best.best_epoch is None else best.best_epoch,
        best_score=best.best[0] if best.best else None,
        training=_score(recipe, model, [data.train[index] for index in sorted(chosen)], console=console),
        held_out=_score(recipe, model, data.val, console=console) if data.val else None,
    )
    console.print(summary(result))
    if result.held_out and result.best_score is not None:
        say(console, f"{result.best.name}: chosen by its held-out score, which flatters it")
    if data.unreadable.reasons:
        say(console, data.unreadable.describe())
    for name, reason in (result.held_out.errors if result.held_out else {}).items():
        say(console, f"unreadable, counted as wrong: {one_line(name)}: {one_line(reason)}")
    return result


MAX_TRAINING_CLIPS = 250
"""Training clips that the final training accuracy is measured on, at most."""


def _score(recipe: Recipe, model: VideoClassifier, samples: Sequence[Sample], *, console: Console) -> Evaluation:
    """Scores a model on the centre views of some videos."""
    return evaluate(
        model,
        samples,
        views=grid_views(model.spec),
        protocol=protocol_name(1, 1, sampling=model.spec.sampling),
        batch_size=batch_size_of(recipe.trainer),
        num_workers=choose_workers(recipe.data.num_workers, num_videos=len(samples)),
        progress=console.is_terminal,
        together=True,
    )


def metadata(recipe: Recipe, data: TrainingData, *, epoch: int) -> dict[str, str]:
    """Returns what a weights file says of its origin."""
    ema = recipe.trainer.ema
    return {
        "recipe": recipe_to_json(recipe),
        "fingerprint": json.dumps(run_fingerprint(recipe, data)),
        "epoch": str(epoch),
        **({} if ema is None else {"average": f"moving average of the weights, decay {ema} a step"}),
    }
