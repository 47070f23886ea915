"""Training: from a recipe to weights, with everything said on the way that a person must know."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from kinema.data.split.samples import describe_split
from kinema.engine.device import choose_precision
from kinema.engine.memory import enough_memory, scoring_sentence, training_sentence
from kinema.engine.processes.joining import as_launched, together
from kinema.engine.processes.launch import given_to_launcher, launch, leave_result, needs_launch
from kinema.engine.processes.ranks import check_same_weights, from_main, is_main
from kinema.engine.read_data import absolute, absolute_place
from kinema.engine.recipe import Recipe
from kinema.engine.speech import say
from kinema.engine.training import run_folder
from kinema.engine.training.balance import describe_balance
from kinema.engine.training.choosing.batch_size import fill_batch_size
from kinema.engine.training.choosing.choose import choose_by_facts
from kinema.engine.training.choosing.epochs import MIN_EPOCHS, choose_epochs, epochs_of, min_steps, steps_per_epoch
from kinema.engine.training.data import TrainingData, read_data
from kinema.engine.training.finish import finish
from kinema.engine.training.fit import fit
from kinema.engine.training.frame_cache import frame_cache
from kinema.engine.training.network import make_model
from kinema.engine.training.optimizing.averaging import describe_averaging
from kinema.engine.training.optimizing.optimizer import describe_optimizer
from kinema.engine.training.origin import note_fingerprint, run_fingerprint
from kinema.engine.training.result import TrainingResult
from kinema.engine.training.resuming.best import check_patience
from kinema.engine.training.resuming.stopping import Stop, say_how_to_go_on, stop_on_signals
from kinema.engine.training.watching.loggers import check_loggers
from kinema.models.classifier import VideoClassifier
from kinema.models.cost import cost
from kinema.models.hub import is_on_hub
from kinema.wording import listed


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    overwrite: bool = False,
    given: Collection[str] | None = None,
    console: Console | None = None,
) -> TrainingResult:
    """Trains what a recipe says, in as many processes as it says.

    Args:
        recipe: All numbers of the run.
        resume: Whether to go on with the run in `recipe.out` where it was stopped.
        overwrite: Whether a run in `recipe.out` may be removed.
        given: Dotted names of what a person has given of the recipe; the rest may be chosen by data and machine. None:
            the recipe is taken as it is.
        console: Where to say what happens; by default the terminal. Several processes speak on the terminal.

    Returns:
        Weights and scores.

    Raises:
        ValueError: If data, recipe and folder do not go together.
        RunError: If the loss is no longer finite, or memory is not enough.
        VideoError: If more training videos cannot be read than the recipe allows.
        OSError: If the disk is full, the folder cannot be written to, or a process that decodes was killed.
        ChildProcessError: If one of several processes ended before the run.
        KeyboardInterrupt: If the run was interrupted (`Terminated`: by SIGTERM); its steps are kept.
    """
    check_loggers(recipe.trainer.loggers)
    if needs_launch(recipe):
        return launch(recipe, resume=resume, overwrite=overwrite, given=given)
    with together(recipe.trainer.accelerator), stop_on_signals() as stop, say_how_to_go_on(Path(recipe.out)):
        console = (console or Console()) if is_main() else Console(quiet=True, force_terminal=False)
        recipe, given = as_launched(recipe), given_to_launcher(given)
        result = _train(recipe, resume=resume, overwrite=overwrite, given=given, stop=stop, console=console)
        leave_result(result)
    return result


def _train(
    recipe: Recipe,
    *,
    resume: bool,
    overwrite: bool,
    given: Collection[str] | None,
    stop: Stop,
    console: Console,
) -> TrainingResult:
    """Trains in this process what a recipe says."""
    out = Path(recipe.out)
    if resume:
        recipe = run_folder.continued_recipe(run_folder.stored_recipe(out), recipe)
    elif not overwrite and is_main():
        run_folder.check_free(out)
    data = read_data(recipe)
    data.unreadable.say = lambda line: say(console, line)
    if resume:
        data.unreadable.restore()
    data.unreadable.look_for_missing()
    if given is not None and not resume:
        recipe, lines = from_main(choose_by_facts(recipe, data, given=given) if is_main() else (recipe, []))
        for line in lines:
            say(console, line)
    check_patience(recipe.trainer, num_held_out=len(data.val))
    checkpoint = out / run_folder.CHECKPOINT
    goes_on = from_main(resume and checkpoint.is_file())
    model, recipe = _make_together(recipe, data, fresh=not goes_on, console=console)
    _describe(recipe, data, model, console=console)
    if not resume:
        recipe = from_main(run_folder.begin_run(recipe) if is_main() else recipe)
    if resume:
        state = "from its last checkpoint" if goes_on else "from its beginning: it had no checkpoint yet"
        say(console, f"resuming the run in {out} {state}")
    if is_main():
        note_fingerprint(out / run_folder.FINGERPRINTS, run_fingerprint(recipe, data))
    with enough_memory(partial(training_sentence, recipe)), frame_cache(recipe) as cache:
        cached = replace(data, cache=cache)
        best = fit(recipe, cached, model, checkpoint=checkpoint if goes_on else None, stop=stop, console=console)
    with enough_memory(partial(scoring_sentence, recipe)):
        return finish(recipe, data, model, best=best, console=console)


def _make_together(
    recipe: Recipe, data: TrainingData, *, fresh: bool, console: Console
) -> tuple[VideoClassifier, Recipe]:
    """Builds the network and decides what the recipe left open; the first process does so for all."""
    if is_main():
        model, recipe = make_model(recipe, data, fresh=fresh, console=console)
        recipe, reason = fill_batch_size(recipe, model, num_train=len(data.train))
        if reason is not None:
            say(console, reason)
        recipe = _fill_in(recipe, num_train=len(data.train), console=console)
    recipe = from_main(recipe)
    if not is_main():
        model, _ = make_model(recipe, data, fresh=fresh, console=console)
    check_same_weights(model)
    return model, recipe


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
        data=replace(absolute_place(recipe.data), cache_folder=absolute(recipe.data.cache_folder)),
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
    if (line := describe_balance(recipe.data.balance, data.class_counts)) is not None:
        say(console, line)
    temporal = "+".join(model.config.temporal)
    say(console, f"model: {temporal} on {recipe.model.backbone}: {cost(model)}")
    for line in describe_optimizer(model, recipe.optimizer, trainer=recipe.trainer):
        say(console, line)
    say(console, f"precision: {recipe.trainer.precision}\nout: {recipe.out}")
    if recipe.trainer.ema is not None:
        num_steps = steps_per_epoch(recipe.trainer, num_train=len(data.train) * recipe.augment.repeats)
        say(console, describe_averaging(recipe.trainer.ema, num_steps=num_steps * epochs_of(recipe.trainer)))
