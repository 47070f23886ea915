"""Lightning's loop around the task of a run."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import Console
from rich.text import Text

from kinema.engine.device import choose_precision
from kinema.engine.recipe import Recipe
from kinema.engine.speech import say
from kinema.engine.training import run_folder
from kinema.engine.training.checkpoints import AtomicCheckpointIO, EpochCheckpoints, EpochLog, RandomStates
from kinema.engine.training.data import TrainingData, training_loader, validation_loader
from kinema.engine.training.epochs import epochs_of, steps_per_epoch
from kinema.engine.training.finish import metadata
from kinema.engine.training.finite import FiniteNumbers
from kinema.engine.training.loggers import StepCurves, closing, make_loggers
from kinema.engine.training.origin import run_fingerprint
from kinema.engine.training.quiet import plain_errors, quiet_lightning
from kinema.engine.training.task import VideoTask
from kinema.engine.training.time_profile import LoaderClock, TimeProfile
from kinema.models.classifier import VideoClassifier
from kinema.models.weights import save_model


def fit(
    recipe: Recipe, data: TrainingData, model: VideoClassifier, *, checkpoint: Path | None, console: Console
) -> EpochCheckpoints:
    """Runs Lightning's loop; the model holds the last weights afterwards."""
    out, trainer_recipe = Path(recipe.out), recipe.trainer
    model.to(memory_format=torch.channels_last)
    num_steps = steps_per_epoch(trainer_recipe, num_train=len(data.train) * recipe.augment.repeats)
    epochs = epochs_of(recipe.trainer)
    task = VideoTask(
        model,
        train_loader=training_loader(recipe, data, spec=model.spec),
        val_loader=validation_loader(recipe, data, spec=model.spec),
        recipe=recipe,
        num_epochs=epochs,
        steps_per_epoch=num_steps,
        data_hash=data.hash,
        unreadable=data.unreadable,
        finite=FiniteNumbers(data.train, file=out.absolute() / run_folder.LOST),
    )
    best = EpochCheckpoints(
        out / run_folder.CHECKPOINT,
        save_best=lambda epoch: save_model(out / run_folder.BEST, model, metadata=metadata(recipe, data, epoch=epoch)),
    )
    bar = console.is_terminal
    profile = TimeProfile(LoaderClock(), recipe, num_train=len(data.train), say=lambda line: say(console, line))
    callbacks: list[Callback] = [
        RandomStates(),
        EpochLog(out / run_folder.METRICS, console=None if bar else console, times=profile.columns),
        profile,
        StepCurves(every=min(50, num_steps)),
        best,
    ]
    if bar:
        callbacks.append(RichProgressBar(leave=False))
        data.unreadable.say = profile.say = lambda line: task.print(Text(line))  # above the bar
    loggers = make_loggers(recipe, run_fingerprint(recipe, data), checkpoint=checkpoint)
    with quiet_lightning(), plain_errors(), closing(loggers):
        trainer = L.Trainer(
            default_root_dir=out,
            accelerator=trainer_recipe.accelerator,
            devices=1,
            precision=choose_precision(trainer_recipe),
            max_epochs=epochs,
            accumulate_grad_batches=trainer_recipe.accumulate,
            gradient_clip_val=trainer_recipe.clip_norm,
            logger=loggers,
            log_every_n_steps=min(50, num_steps),
            profiler=profile.clock,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            limit_val_batches=1.0 if data.val else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=bar,
        )
        L.seed_everything(recipe.seed, verbose=False)
        trainer.fit(task, ckpt_path=checkpoint)
    model.to(trainer.strategy.root_device)
    return best
