"""Lightning's loop around the task of a run."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.text import Text

from kinema.engine.device import choose_precision
from kinema.engine.recipe import Recipe
from kinema.engine.training import run_folder
from kinema.engine.training.checkpoints import AtomicCheckpointIO, EpochCheckpoints, EpochLog, RandomStates
from kinema.engine.training.data import TrainingData, training_loader, validation_loader
from kinema.engine.training.epochs import epochs_of, steps_per_epoch
from kinema.engine.training.finish import metadata
from kinema.engine.training.quiet import plain_errors, quiet_lightning
from kinema.engine.training.ranks import is_main, own_seed
from kinema.engine.training.strategy import make_environment, make_strategy
from kinema.engine.training.task import VideoTask
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
    )

    def save_best(epoch: int) -> None:
        if is_main():
            save_model(out / run_folder.BEST, model, metadata=metadata(recipe, data, epoch=epoch))

    best = EpochCheckpoints(out / run_folder.CHECKPOINT, save_best=save_best)
    bar = console.is_terminal
    callbacks: list[Callback] = [
        RandomStates(),
        EpochLog(out / run_folder.METRICS, console=None if bar else console),
        best,
    ]
    if bar:
        callbacks.append(RichProgressBar(leave=False))
        data.unreadable.say = lambda line: task.print(Text(line))  # above the bar
    with quiet_lightning(), plain_errors():
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
            logger=TensorBoardLogger(save_dir=out, name=run_folder.LOGS, version=""),
            log_every_n_steps=min(50, num_steps),
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), make_environment()],
            limit_val_batches=1.0 if data.val else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=bar,
        )
        L.seed_everything(own_seed(recipe.seed), verbose=False)
        trainer.fit(task, ckpt_path=checkpoint, weights_only=True)
        task.take_whole()
    model.to(trainer.strategy.root_device)
    return best
