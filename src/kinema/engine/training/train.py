"""Training: from a recipe to weights, with everything said on the way that a person must know."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from kinema.data.split.samples import describe_split
from kinema.engine.device import choose_precision
from kinema.engine.memory import enough_memory, training_sentence
from kinema.engine.read_data import absolute, absolute_place
from kinema.engine.recipe import Recipe
from kinema.engine.recipe.files import recipe_to_yaml
from kinema.engine.speech import say
from kinema.engine.training import run_folder
from kinema.engine.training.best import check_patience
from kinema.engine.training.data import TrainingData, read_data
from kinema.engine.training.epochs import MIN_EPOCHS, choose_epochs, min_steps, steps_per_epoch
from kinema.engine.training.finish import finish
from kinema.engine.training.fit import fit
from kinema.engine.training.loggers import check_loggers
from kinema.engine.training.network import make_model
from kinema.engine.training.optimizer import describe_optimizer
from kinema.engine.training.origin import note_fingerprint, run_fingerprint
from kinema.engine.training.result import TrainingResult
from kinema.engine.training.stopping import Stop, say_how_to_go_on, stop_on_signals
from kinema.models.classifier import VideoClassifier
from kinema.models.cost import cost
from kinema.models.hub import is_on_hub
from kinema.models.weights import write_atomically
from kinema.wording import listed


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
        ValueError: If data, recipe and folder do not go together.
        RunError: If the loss is no longer finite, or memory is not enough.
        VideoError: If more training videos cannot be read than the recipe allows.
        OSError: If the disk is full, the folder cannot be written to, or a process that decodes was killed.
        KeyboardInterrupt: If the run was interrupted (`Terminated`: by SIGTERM); its steps are kept.
    """
    check_loggers(recipe.trainer.loggers)
    with stop_on_signals() as stop, say_how_to_go_on(Path(recipe.out)):
        return _train(recipe, resume=resume, overwrite=overwrite, stop=stop, console=console or Console())


def _train(recipe: Recipe, *, resume: bool, overwrite: bool, stop: Stop, console: Console) -> TrainingResult:
    """Trains what a recipe says."""
    out = Path(recipe.out)
    if resume:
        recipe = run_folder.continued_recipe(run_folder.stored_recipe(out), recipe)
    elif not overwrite:
        run_folder.check_free(out)
    data = read_data(recipe)
    data.unreadable.say = lambda line: say(console, line)
    if resume:
        data.unreadable.restore()
    data.unreadable.look_for_missing()
    check_patience(recipe.trainer, num_held_out=len(data.val))
    checkpoint = out / run_folder.CHECKPOINT
    goes_on = resume and checkpoint.is_file()
    model, recipe = make_model(recipe, data, fresh=not goes_on, console=console)
    recipe = _fill_in(recipe, num_train=len(data.train), console=console)
    _describe(recipe, data, model, console=console)
    if not resume:
        run_folder.begin_run(out)
        write_atomically(out / run_folder.RECIPE, recipe_to_yaml(recipe).encode())
    if resume:
        state = "from its last checkpoint" if goes_on else "from its beginning: it had no checkpoint yet"
        say(console, f"resuming the run in {out} {state}")
    note_fingerprint(out / run_folder.FINGERPRINTS, run_fingerprint(recipe, data))
    with enough_memory(partial(training_sentence, recipe)):
        best = fit(recipe, data, model, checkpoint=checkpoint if goes_on else None, stop=stop, console=console)
        return finish(recipe, data, model, best=best, console=console)


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
        say(console, f"epochs: {epochs} ({steps} steps on {num_train} videos), chosen for {floor}")
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


def _describe(recipe: Recipe, data: TrainingData, model: VideoClassifier, *, console: Console) -> None:
    """Says what was found and what is going to be trained."""
    classes = f"{len(data.class_names)} classes: {listed(data.class_names)}"
    say(console, f"data: {recipe.data.root}: {data.format}: {classes}")
    for note in data.notes:
        say(console, f"data: {note}")
    say(console, describe_split(data.train, data.val, group_pattern=recipe.data.group_pattern))
    say(console, data.mirrors.describe())
    temporal = "+".join(model.config.temporal)
    say(console, f"model: {temporal} on {recipe.model.backbone}: {cost(model)}")
    for line in describe_optimizer(model, recipe.optimizer, trainer=recipe.trainer):
        say(console, line)
    say(console, f"precision: {recipe.trainer.precision}\nout: {recipe.out}")
