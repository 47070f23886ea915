"""Training: from a recipe to weights, with everything said on the way that a person must know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.text import Text

from kinema.data.annotations import Sample
from kinema.data.split.samples import describe_split
from kinema.data.views import grid_views, protocol_name
from kinema.engine.device import choose_precision
from kinema.engine.evaluate import Evaluation, evaluate
from kinema.engine.read_data import absolute, absolute_place
from kinema.engine.recipe import Recipe
from kinema.engine.recipe.files import recipe_to_json, recipe_to_yaml
from kinema.engine.speech import say as _say
from kinema.engine.speech import warn as _warn
from kinema.engine.training import run_folder
from kinema.engine.training.checkpoints import AtomicCheckpointIO, EpochCheckpoints, EpochLog, RandomStates
from kinema.engine.training.data import (
    TrainingData,
    choose_workers,
    read_data,
    training_loader,
    training_spec,
    validation_loader,
)
from kinema.engine.training.epochs import MIN_EPOCHS, choose_epochs, epochs_of, min_steps, steps_per_epoch
from kinema.engine.training.quiet import plain_errors, quiet_lightning
from kinema.engine.training.result import TrainingResult, summary
from kinema.engine.training.task import VideoTask
from kinema.models.classifier import VideoClassifier, create_model
from kinema.models.cost import cost
from kinema.models.hub import is_on_hub
from kinema.models.weights import initialize_from, save_model, write_atomically
from kinema.wording import listed, one_line

MAX_TRAINING_CLIPS = 250
"""Training clips that the final training accuracy is measured on, at most."""


def train(
    recipe: Recipe, *, resume: bool = False, overwrite: bool = False, console: Console | None = None
) -> TrainingResult:
    """Trains what a recipe says.

    Args:
        recipe: All numbers of the run.
        resume: Whether to go on with the run in `recipe.out` where it was stopped.
        overwrite: Whether a run in `recipe.out` may be removed.
        console: Where to say what happens; by default the terminal.

    Returns:
        Weights and scores.

    Raises:
        ValueError: If data, recipe and folder do not go together, or the loss is no longer finite.
        VideoError: If more training videos cannot be read than the recipe allows.
        KeyboardInterrupt: If the run was interrupted; its finished epochs are kept.
    """
    console = console or Console()
    out = Path(recipe.out)
    if resume:
        recipe = run_folder.continued_recipe(run_folder.stored_recipe(out), recipe)
    elif not overwrite:
        run_folder.check_free(out)
    data = read_data(recipe)
    data.unreadable.say = lambda line: _say(console, line)
    if resume:
        data.unreadable.restore()
    data.unreadable.look_for_missing()
    checkpoint = out / run_folder.CHECKPOINT
    goes_on = resume and checkpoint.is_file()
    model, recipe = _make_model(recipe, data, fresh=not goes_on, console=console)
    recipe = _fill_in(recipe, num_train=len(data.train), console=console)
    _describe(recipe, data, model, console=console)
    if not resume:
        run_folder.begin_run(out)
        write_atomically(out / run_folder.RECIPE, recipe_to_yaml(recipe).encode())
    if resume:
        state = "from its last finished epoch" if goes_on else "from its beginning: no epoch was finished"
        _say(console, f"resuming the run in {out} {state}")
    best = _fit(recipe, data, model, checkpoint=checkpoint if goes_on else None, console=console)
    return _finish(recipe, data, model, best=best, console=console)


def _fill_in(recipe: Recipe, *, num_train: int, console: Console) -> Recipe:
    """Decides what the recipe left open, says why, and makes its paths absolute."""
    trainer = recipe.trainer
    pretrained, init = recipe.model.pretrained, recipe.model.init
    random_weights = not (pretrained or init)
    num_clips = num_train * recipe.augment.repeats
    epochs = choose_epochs(trainer, num_train=num_clips, random_weights=random_weights)
    if trainer.epochs is None:
        steps = epochs * steps_per_epoch(trainer, num_train=num_clips)
        start = "from random weights" if random_weights else "from learned weights"
        floor = f"at least {min_steps(trainer, random_weights=random_weights)} steps {start} and {MIN_EPOCHS} epochs"
        _say(console, f"epochs: {epochs} ({steps} steps on {num_train} videos), chosen for {floor}")
    return replace(
        recipe,
        out=str(Path(recipe.out).resolve()),
        data=absolute_place(recipe.data),
        model=replace(
            recipe.model,
            init=init if is_on_hub(init) else absolute(init),
            pretrained=str(Path(pretrained).resolve()) if isinstance(pretrained, str) else pretrained,
        ),
        trainer=replace(trainer, epochs=epochs, precision=choose_precision(trainer)),
    )


def _make_model(recipe: Recipe, data: TrainingData, *, fresh: bool, console: Console) -> tuple[VideoClassifier, Recipe]:
    """Builds the network with its first weights; returns the recipe with the choice of weights made.

    Where a checkpoint brings the weights (not fresh), none are looked for.
    """
    choice = recipe.model.pretrained if fresh and not recipe.model.init else False
    try:
        model = _create(recipe, data, pretrained=True if choice == "auto" else choice)
    except ValueError as error:
        if choice != "auto":
            raise
        model = _create(recipe, data, pretrained=False)
        choice = False
        name, reason = recipe.model.backbone, error.__cause__ or error
        _warn(
            console,
            f"RANDOM WEIGHTS: the published weights of {name} cannot be had ({reason})",
            "  training takes longer and needs more data: connect to the network, or start from --model.init FILE",
        )
    lines = initialize_from(model, recipe.model.init) if recipe.model.init and fresh else model.notes
    for line in lines:
        _say(console, line)
    if not fresh:
        return model, recipe
    choice = True if choice == "auto" else choice
    return model, replace(recipe, model=replace(recipe.model, pretrained=choice))


def _create(recipe: Recipe, data: TrainingData, *, pretrained: bool | str) -> VideoClassifier:
    """Builds the network of a recipe, always with the same random weights."""
    L.seed_everything(recipe.seed, verbose=False)
    model = create_model(
        recipe.model.backbone,
        temporal=recipe.model.temporal,
        num_frames=recipe.clip.num_frames,
        num_classes=len(data.class_names),
        modality=recipe.clip.modality,
        stack=recipe.clip.stack,
        pretrained=pretrained,
        dropout=recipe.model.dropout,
        causal=recipe.model.causal,
        head=recipe.model.head,
        **recipe.model.options,
    )
    model.spec = training_spec(model.spec, recipe, data)
    return model


def _describe(recipe: Recipe, data: TrainingData, model: VideoClassifier, *, console: Console) -> None:
    """Says what was found and what is going to be trained."""
    classes = f"{len(data.class_names)} classes: {listed(data.class_names)}"
    _say(console, f"data: {recipe.data.root}: {data.format}: {classes}")
    for note in data.notes:
        _say(console, f"data: {note}")
    _say(console, describe_split(data.train, data.val, group_pattern=recipe.data.group_pattern))
    _say(console, data.mirrors.describe())
    temporal = "+".join(model.config.temporal)
    _say(console, f"model: {temporal} on {recipe.model.backbone}: {cost(model)}")
    _say(console, f"precision: {recipe.trainer.precision}\nout: {recipe.out}")


def _fit(
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
    best = EpochCheckpoints(
        out / run_folder.CHECKPOINT,
        save_best=lambda epoch: save_model(out / run_folder.BEST, model, metadata=_metadata(recipe, data, epoch=epoch)),
    )
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
            devices=1,
            precision=choose_precision(trainer_recipe),
            max_epochs=epochs,
            accumulate_grad_batches=trainer_recipe.accumulate,
            gradient_clip_val=trainer_recipe.clip_norm,
            logger=TensorBoardLogger(save_dir=out, name=run_folder.LOGS, version=""),
            log_every_n_steps=min(50, num_steps),
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


def _finish(
    recipe: Recipe, data: TrainingData, model: VideoClassifier, *, best: EpochCheckpoints, console: Console
) -> TrainingResult:
    """Writes the last weights, scores them, and says how it went."""
    out = Path(recipe.out)
    num_epochs = epochs_of(recipe.trainer)
    save_model(out / run_folder.LAST, model, metadata=_metadata(recipe, data, epoch=num_epochs - 1))
    if best.best_epoch is None:
        save_model(out / run_folder.BEST, model, metadata=_metadata(recipe, data, epoch=num_epochs - 1))
    chosen = np.random.default_rng(recipe.seed).permutation(len(data.train))[:MAX_TRAINING_CLIPS]
    result = TrainingResult(
        recipe=recipe,
        last=out / run_folder.LAST,
        best=out / run_folder.BEST,
        best_epoch=num_epochs - 1 if best.best_epoch is None else best.best_epoch,
        best_score=best.best[0] if best.best else None,
        training=_score(recipe, model, [data.train[index] for index in sorted(chosen)], console=console),
        held_out=_score(recipe, model, data.val, console=console) if data.val else None,
    )
    console.print(summary(result))
    if data.unreadable.reasons:
        _say(console, data.unreadable.describe())
    for name, reason in (result.held_out.errors if result.held_out else {}).items():
        _say(console, f"unreadable, counted as wrong: {one_line(name)}: {one_line(reason)}")
    return result


def _score(recipe: Recipe, model: VideoClassifier, samples: Sequence[Sample], *, console: Console) -> Evaluation:
    """Scores a model on the centre views of some videos."""
    return evaluate(
        model,
        samples,
        views=grid_views(model.spec),
        protocol=protocol_name(1, 1, sampling=model.spec.sampling),
        batch_size=recipe.trainer.batch_size,
        num_workers=choose_workers(recipe.data.num_workers, num_videos=len(samples)),
        progress=console.is_terminal,
    )


def _metadata(recipe: Recipe, data: TrainingData, *, epoch: int) -> dict[str, str]:
    """Returns what a weights file says of its origin."""
    return {
        "recipe": recipe_to_json(recipe),
        "fingerprint": json.dumps(data.fingerprint),
        "epoch": str(epoch),
    }
