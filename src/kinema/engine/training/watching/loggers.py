"""Where the curves of a run go: TensorBoard, a CSV file, Weights & Biases, MLflow, or several of them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor

from kinema.engine.processes.ranks import is_main
from kinema.engine.recipe import Recipe
from kinema.engine.recipe.files import recipe_to_json
from kinema.engine.recipe.trainer import Logger as LoggerName
from kinema.engine.training.optimizing.optimizer import learning_rate_now
from kinema.engine.training.resuming.checkpoints import AtomicCheckpointIO
from kinema.engine.training.run_folder import LOGS
from kinema.engine.training.watching.logged_once import LoggedSteps, MLFlowOnce, StepsFile, WandbOnce

EXTRAS = ("wandb", "mlflow")
"""Loggers whose package is an extra of the same name."""
PROJECT = "kinema"
"""Project or experiment that a run is filed under where the environment names none."""


def check_loggers(names: Sequence[LoggerName]) -> None:
    """Refuses loggers that cannot be had.

    Raises:
        ValueError: If one is named twice, or its package is not installed.
    """
    known = get_args(LoggerName)
    if len(set(names)) < len(names):
        raise ValueError(f"trainer.loggers must name each logger once, got {list(names)}; known are {', '.join(known)}")
    for name in EXTRAS:
        if name in names and find_spec(name) is None:
            raise ValueError(
                f"trainer.loggers must be installed, got {name}, which is not there: pip install 'kinema[{name}]'"
            )


def make_loggers(recipe: Recipe, fingerprint: dict[str, Any], *, checkpoint: Path | None) -> list[Logger]:
    """Returns the loggers of a run, which know its recipe and fingerprint; none in any process but the main one.

    Args:
        recipe: Says which; what left the machine with them has no local paths.
        fingerprint: What the numbers depend on beside the recipe.
        checkpoint: Where the run goes on from; none where it begins.
    """
    if not is_main():
        return []
    step = int(AtomicCheckpointIO().load_checkpoint(checkpoint)["global_step"]) if checkpoint else None
    origin = {"recipe": json.loads(recipe_to_json(recipe)), "fingerprint": fingerprint}
    loggers = [_make_logger(name, Path(recipe.out).resolve(), step=step) for name in recipe.trainer.loggers]
    for logger in loggers:
        logger.log_hyperparams(origin)
        if isinstance(logger, TensorBoardLogger):  # which keeps them in a file that its pages do not show
            logger.experiment.add_text("run", _indented(json.dumps(origin, indent=2, ensure_ascii=False)), step or 0)
    return loggers


def _make_logger(name: LoggerName, out: Path, *, step: int | None) -> Logger:
    """Makes one logger.

    Args:
        name: Which.
        out: Folder of the run.
        step: Step of the checkpoint that the run goes on from.
    """
    folder = out / LOGS
    if name == "tensorboard":
        purge = 0 if step is None else step + 1  # 0: what was logged before a first checkpoint is logged again
        return TensorBoardLogger(
            save_dir=folder.parent, name=folder.name, version="", default_hp_metric=False, purge_step=purge
        )
    if name == "csv":
        return StepsFile(folder, after=step)
    steps = LoggedSteps(folder / f"{name}.json")
    if name == "wandb":
        steps.begin(steps.id or uuid.uuid4().hex[:12])
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        return WandbOnce(steps, name=out.name, save_dir=folder, project=project, id=steps.id)
    return MLFlowOnce(
        steps,
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        run_name=out.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}"),
        artifact_location=None if "MLFLOW_TRACKING_URI" in os.environ else (folder / "mlflow").as_uri(),
    )


@contextmanager
def closing(loggers: Sequence[Logger]) -> Iterator[None]:
    """Ends what would else go on in this process: the run of Weights & Biases, which the next one would add to."""
    try:
        yield
    finally:
        for logger in loggers:
            if isinstance(logger, WandbOnce):
                logger.experiment.finish()


class StepCurves(Callback):
    """Gives the loggers the loss and the rate of single steps; an epoch's mean hides how a loss falls."""

    def __init__(self, *, every: int, loss: Callable[[], Tensor | None]) -> None:
        """Remembers how often.

        Args:
            every: Steps from one point to the next.
            loss: Returns the loss of the last batch; none where no video of it could be read.
        """
        self.every = every
        self.loss = loss
        self.last = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins behind the steps of a checkpoint, which have been logged."""
        self.last = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: Any,  # noqa: ANN401 (what the loader yields)
        batch_idx: int,
    ) -> None:
        """Logs a point where one is due."""
        step = trainer.global_step
        if step % self.every or step in (0, self.last) or not trainer.loggers or (loss := self.loss()) is None:
            return
        self.last = step
        point = {"train_loss_step": float(loss), "lr": learning_rate_now(trainer.optimizers[0])}
        for logger in trainer.loggers:
            logger.log_metrics(point, step)


def _indented(text: str) -> str:
    """Returns text as a block of code in Markdown."""
    return "".join(f"    {line}\n" for line in text.splitlines())
