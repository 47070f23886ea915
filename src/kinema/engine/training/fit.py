"""Lightning's loop around the task of a run."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import Console
from rich.text import Text

from kinema.engine.device import choose_precision
from kinema.engine.processes.ranks import is_main, own_seed
from kinema.engine.processes.sharded import lies_in_parts
from kinema.engine.processes.strategy import make_environment, make_strategy
from kinema.engine.recipe import Recipe
from kinema.engine.speech import say
from kinema.engine.training import run_folder
from kinema.engine.training.balance import inverse_frequency
from kinema.engine.training.choosing.epochs import epochs_of, steps_per_epoch
from kinema.engine.training.data import TrainingData, training_loader, validation_loader
from kinema.engine.training.finish import metadata
from kinema.engine.training.frame_cache import CacheReport
from kinema.engine.training.optimizing.averaging import Averaging
from kinema.engine.training.optimizing.freezing import StayFrozen
from kinema.engine.training.origin import run_fingerprint
from kinema.engine.training.quiet import plain_errors, quiet_lightning
from kinema.engine.training.resuming.best import BestEpoch
from kinema.engine.training.resuming.checkpoints import AtomicCheckpointIO, Checkpoints, EpochLog
from kinema.engine.training.resuming.progress import RankStates
from kinema.engine.training.resuming.stopping import Stop
from kinema.engine.training.task import VideoTask
from kinema.engine.training.watching.expected_time import ExpectedTime
from kinema.engine.training.watching.finite import FiniteNumbers
from kinema.engine.training.watching.loggers import StepCurves, closing, make_loggers
from kinema.engine.training.watching.time_profile import LoaderClock, TimeProfile
from kinema.models.classifier import VideoClassifier
from kinema.models.weights import save_model


def fit(
    recipe: Recipe, data: TrainingData, model: VideoClassifier, *, checkpoint: Path | None, stop: Stop, console: Console
) -> BestEpoch:
    """Runs Lightning's loop; the model holds the last weights afterwards, the averaged ones where there are such."""
    model.to(memory_format=torch.channels_last)
    if choose_precision(recipe.trainer) == "64-true":
        model.double()  # Lightning would do so after a checkpoint and the copy for averages are taken, in 32 bits
    averaging = None if recipe.trainer.ema is None else Averaging(model, decay=recipe.trainer.ema)
    trained = copy.deepcopy(model) if lies_in_parts(recipe.trainer) else model
    task = _make_task(recipe, data, trained, scored=averaging.averaged if averaging else model)
    best = BestEpoch(
        save=partial(_save_best, recipe, data, task.scored),
        patience=recipe.trainer.patience,
        say=lambda line: say(console, line),
    )
    profile = TimeProfile(LoaderClock(), recipe, num_train=len(data.train), say=lambda line: say(console, line))
    expected = ExpectedTime(say=lambda line: say(console, line))
    bar = console.is_terminal
    callbacks: list[Callback] = [
        StayFrozen(trained),
        RankStates(task.means),
        *([averaging] if averaging else []),
        EpochLog(
            Path(recipe.out) / run_folder.METRICS,
            means=task.means,
            console=None if bar else console,
            times=profile.columns,
        ),
        profile,
        StepCurves(every=_log_every(task), loss=lambda: task.step_loss),
        expected,
        best,
        Checkpoints(Path(recipe.out) / run_folder.CHECKPOINT, every=recipe.trainer.checkpoint_steps, stop=stop),
    ]
    if data.cache is not None:
        callbacks.append(CacheReport(data.cache, say=lambda line: data.unreadable.say(line)))
    if bar:
        callbacks.append(RichProgressBar(leave=False))
        for speaker in (data.unreadable, profile, expected, best):
            speaker.say = lambda line: task.print(Text(line))  # above the bar
    loggers = make_loggers(recipe, run_fingerprint(recipe, data), checkpoint=checkpoint)
    with quiet_lightning(), plain_errors(), closing(loggers):
        trainer = _make_trainer(task, callbacks=callbacks, logger=loggers, profiler=profile.clock, bar=bar)
        L.seed_everything(own_seed(recipe.seed), verbose=False)
        with stop.at_the_end_of_a_step(task.train_loader, task.val_loader):
            trainer.fit(task, ckpt_path=checkpoint, weights_only=True)
            task.take_whole()
    model.to(trainer.strategy.root_device)
    if averaging:
        model.load_state_dict(averaging.averaged.state_dict())
    return best


def _make_task(recipe: Recipe, data: TrainingData, model: VideoClassifier, *, scored: VideoClassifier) -> VideoTask:
    """Returns what a step of the run is."""
    return VideoTask(
        model,
        train_loader=training_loader(recipe, data, spec=model.spec),
        val_loader=validation_loader(recipe, data, spec=model.spec),
        recipe=recipe,
        num_epochs=epochs_of(recipe.trainer),
        steps_per_epoch=steps_per_epoch(recipe.trainer, num_train=len(data.train) * recipe.augment.repeats),
        data_hash=data.hash,
        unreadable=data.unreadable,
        scored=scored,
        class_weights=inverse_frequency(data.class_counts) if recipe.data.balance == "loss" else None,
        finite=FiniteNumbers(data.train, file=Path(recipe.out).absolute() / run_folder.LOST),
    )


def _save_best(recipe: Recipe, data: TrainingData, scored: VideoClassifier, epoch: int) -> None:
    """Writes the weights of the epoch that is the best so far."""
    if is_main():
        save_model(Path(recipe.out) / run_folder.BEST, scored, metadata=metadata(recipe, data, epoch=epoch))


def _make_trainer(task: VideoTask, *, bar: bool, **what_watches: Any) -> L.Trainer:  # noqa: ANN401 (Lightning's types)
    """Returns Lightning's loop, as the recipe of a task wants it."""
    trainer = task.recipe.trainer
    return L.Trainer(
        default_root_dir=task.recipe.out,
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        num_nodes=trainer.num_nodes,
        strategy=make_strategy(trainer),
        precision=choose_precision(trainer),
        max_epochs=task.num_epochs,
        accumulate_grad_batches=trainer.accumulate,
        gradient_clip_val=trainer.clip_norm,
        log_every_n_steps=_log_every(task),
        plugins=[AtomicCheckpointIO(), make_environment()],
        limit_val_batches=1.0 if len(task.val_loader.dataset) else 0,  # type: ignore[arg-type]
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=bar,
        **what_watches,
    )


def _log_every(task: VideoTask) -> int:
    """Returns how many steps are between two points of a curve."""
    return min(50, task.steps_per_epoch)
