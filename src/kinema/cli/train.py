"""The command that trains a network."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.engine.arguments import CommandParser
    from kinema.engine.recipe import Recipe

INTERRUPTED = 130
TERMINATED = 143


def train(recipe: Recipe, *, resume: bool, overwrite: bool, given: Collection[str] | None) -> int:
    """Trains a network on videos; prints what it found and how well it does, and writes weights into --out.

    Without --config, network, size of the clips, batch, balance and cache are chosen by the data and the machine.
    """
    from kinema.engine.processes.launch import launch, needs_launch
    from kinema.engine.processes.ranks import is_main
    from kinema.engine.training.resuming.stopping import Terminated, how_to_go_on

    try:
        if needs_launch(recipe):
            launch(recipe, resume=resume, overwrite=overwrite, given=given)
        else:
            from kinema.engine.training.train import train as run

            run(recipe, resume=resume, overwrite=overwrite, given=given)
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        if is_main():
            state = "terminated" if terminated else "interrupted"
            print(f"kinema: {state}; {how_to_go_on(recipe.out)}", file=sys.stderr)
        return TERMINATED if terminated else INTERRUPTED
    return 0


def train_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `kinema train`."""
    parser.add_dataclass("kinema.engine.recipe", "Recipe", config=True)
    parser.add_flag("--resume", help="Go on with the run in --out, with the recipe that stands there.")
    parser.add_flag("--overwrite", help="Remove the run in --out and begin anew.")


def run_train(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Runs `kinema train`."""
    from kinema.engine.recipe import Recipe
    from kinema.engine.recipe.files import build
    from kinema.engine.training.run_folder import RECIPE, stored_recipe
    from kinema.wording import check

    resume, overwrite = values.pop("resume"), values.pop("overwrite")
    if resume and overwrite:
        raise ValueError("overwrite must not be given with resume, got both; choose one of them")
    if resume:
        out = Path(values["out"])
        stored_recipe(out)
        values = _parser().parse(["--config", str(out / RECIPE), *argv])
        del values["resume"], values["overwrite"]
        values["out"] = str(out)  # where the run lies now
    recipe = build(Recipe, values)
    check(bool(recipe.data.root), "data.root", "name the folder of the videos", None, "add --data.root FOLDER")
    given = _parser().given(argv)
    whole = resume or "config" in given
    return train(recipe, resume=resume, overwrite=overwrite, given=None if whole else given)


def _parser() -> CommandParser:
    """Returns a parser of these arguments, for what is to be read a second time."""
    from kinema.engine.arguments import CommandParser

    parser = CommandParser(prog="kinema train", description=train.__doc__ or "")
    train_arguments(parser)
    return parser
