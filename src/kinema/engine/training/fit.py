"""Lightning's loop around the task of a run."""

from __future__ import annotations

import copy
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
from kinema.engine.training.averaging import Averaging
from kinema.engine.training.balance import inverse_frequency
from kinema.engine.training.best import BestEpoch
from kinema.engine.training.checkpoints import AtomicCheckpointIO, Checkpoints, EpochLog
from kinema.engine.training.data import TrainingData, training_loader, validation_loader
from kinema.engine.training.epochs import epochs_of, steps_per_epoch
from kinema.engine.training.finish import metadata
from kinema.engine.training.finite import FiniteNumbers
from kinema.engine.training.frame_cache import CacheReport
from kinema.engine.training.freezing import StayFrozen
from kinema.engine.training.loggers import StepCurves, closing, make_loggers
from kinema.engine.training.origin import run_fingerprint
from kinema.engine.training.progress import RankStates
from kinema.engine.training.quiet import plain_errors, quiet_lightning
from kinema.engine.training.ranks import is_main, own_seed
from kinema.engine.training.sharded import lies_in_parts
from kinema.engine.training.stopping import Stop, outlive_signals
from kinema.engine.training.strategy import make_environment, make_strategy
from kinema.engine.training.task import VideoTask
from kinema.engine.training.time_profile import LoaderClock, TimeProfile
from kinema.models.classifier import VideoClassifier
from kinema.models.weights import save_model


def fit(
    recipe: Recipe, data: TrainingData, model: VideoClassifier, *, checkpoint: Path | None, stop: Stop, console: Console
) -> BestEpoch:
    """Runs Lightning's loop; the model holds the last weights afterwards, the averaged ones where there are such."""
    out, trainer_recipe = Path(recipe.out), recipe.trainer
    model.to(memory_format=torch.channels_last)
    num_steps = steps_per_epoch(trainer_recipe, num_train=len(data.train) * recipe.augment.repeats)
    epochs = epochs_of(recipe.trainer)
    averaging = None if trainer_recipe.ema is None else Averaging(model, decay=trainer_recipe.ema)
    scored = averaging.averaged if averaging else model
    trained = copy.deepcopy(model) if lies_in_parts(trainer_recipe) else model
    task = VideoTask(
        trained,
        train_loader=training_loader(recipe, data, spec=model.spec),
        val_loader=validation_loader(recipe, data, spec=model.spec),
        recipe=recipe,
        num_epochs=epochs,
        steps_per_epoch=num_steps,
        data_hash=data.hash,
        unreadable=data.unreadable,
        scored=scored,
        class_weights=inverse_frequency(data.class_counts) if recipe.data.balance == "loss" else None,
        finite=FiniteNumbers(data.train, file=out.absolute() / run_folder.LOST),
    )

    def save_best(epoch: int) -> None:
        if is_main():
            save_model(out / run_folder.BEST, scored, metadata=metadata(recipe, data, epoch=epoch))

    best = BestEpoch(
        save=save_best,
        patience=trainer_recipe.patience,
        say=lambda line: say(console, line),
    )
    bar = console.is_terminal
    profile = TimeProfile(LoaderClock(), recipe, num_train=len(data.train), say=lambda line: say(console, line))
    callbacks: list[Callback] = [
        StayFrozen(trained),
        RankStates(task.means),
        *([averaging] if averaging else []),
        EpochLog(out / run_folder.METRICS, means=task.means, console=None if bar else console, times=profile.columns),
        profile,
        StepCurves(every=min(50, num_steps)),
        best,
        Checkpoints(out / run_folder.CHECKPOINT, every=trainer_recipe.checkpoint_steps, stop=stop),
    ]
    if data.cache is not None:
        callbacks.append(CacheReport(data.cache, say=lambda line: data.unreadable.say(line)))
    if bar:
        callbacks.append(RichProgressBar(leave=False))
        data.unreadable.say = profile.say = best.say = lambda line: task.print(Text(line))  # above the bar
    loggers = make_loggers(recipe, run_fingerprint(recipe, data), checkpoint=checkpoint)
    with quiet_lightning(), plain_errors(), closing(loggers):
        trainer = L.Trainer(
            default_root_dir=out,
            accelerator=trainer_recipe.accelerator,
            devices=trainer_recipe.devices,
            num_nodes=trainer_recipe.num_nodes,
            strategy=make_strategy(trainer_recipe),
            precision=choose_precision(trainer_recipe),
            max_epochs=epochs,
            accumulate_grad_batches=trainer_recipe.accumulate,
            gradient_clip_val=trainer_recipe.clip_norm,
            logger=loggers,
            log_every_n_steps=min(50, num_steps),
            profiler=profile.clock,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), make_environment()],
            limit_val_batches=1.0 if data.val else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=bar,
        )
        L.seed_everything(own_seed(recipe.seed), verbose=False)
        for loader in (task.train_loader, task.val_loader):
            loader.worker_init_fn = outlive_signals
        try:
            trainer.fit(task, ckpt_path=checkpoint, weights_only=True)
            task.take_whole()
        finally:
            stop.waits = False
    model.to(trainer.strategy.root_device)
    if averaging:
        model.load_state_dict(averaging.averaged.state_dict())
    return best
