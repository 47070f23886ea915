"""The command line: one typed function a command; what is heavy is imported when a command runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.cli import (
    data_bench,
    data_check,
    data_extract,
    data_flow,
    data_motion,
    data_pack,
    fuse,
    hub,
    networks,
    train,
    weights,
)

if TYPE_CHECKING:
    from kinema.demo.config import DemoConfig
    from kinema.engine.arguments import CommandParser
    from kinema.engine.recipe import Accelerator, EvaluationRecipe

OK = 0
UNREADABLE = 1
"""Exit status where a file could not be read, or a run could not go on."""
USAGE = 2
INTERRUPTED = 130


def evaluate(weights: str, recipe: EvaluationRecipe, *, json_file: str | None) -> int:
    """Scores a weights file on videos; prints top-1, top-5 and mean class accuracy with the protocol's name."""
    from rich.console import Console

    from kinema.engine.evaluate_weights import evaluate_weights
    from kinema.engine.processes.ranks import is_main
    from kinema.models.weights import write_atomically
    from kinema.wording import one_line

    folder = Path(json_file or ".").absolute().parent
    if json_file and (Path(json_file).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK)):
        raise ValueError(
            f"json must be a file in a folder that can be written to, got {json_file}; make the folder first"
        )
    evaluation = evaluate_weights(weights, recipe, console=Console())
    if not is_main():
        return UNREADABLE if evaluation.errors else OK
    for name, reason in evaluation.errors.items():
        print(f"kinema: {one_line(name)} counts as wrong: {one_line(reason)}", file=sys.stderr)
    if json_file:
        text = json.dumps(evaluation.to_dict()) + "\n"
        target = Path(json_file).resolve()
        if target.exists() and not target.is_file():  # a pipe or a device
            target.write_text(text)
        else:
            write_atomically(target, text.encode())
    return UNREADABLE if evaluation.errors else OK


def predict(
    weights: str, files: list[str], *, top: int, as_json: bool, num_clips: int, num_crops: int, accelerator: Accelerator
) -> int:
    """Names what happens in videos; prints the most probable classes of each file."""
    from kinema.predict import Failure, Predictor

    status = OK
    predictor = Predictor(weights, accelerator=accelerator)
    for result in predictor.predict_files(files, top=top, num_clips=num_clips, num_crops=num_crops):
        if isinstance(result, Failure):
            status = UNREADABLE
            print(f"kinema: {result.error}", file=sys.stderr)
        if as_json:
            print(result.to_json(), flush=True)
        elif not isinstance(result, Failure):
            print(result.path)
            for name, probability in result.top:
                print(f"  {probability:6.1%}  {name}", flush=True)
    return status


def demo(config: DemoConfig) -> int:
    """Trains three networks on built-in videos in minutes, and leaves a report on what time is good for."""
    from kinema.demo.run import run_demo

    run_demo(config)
    return OK


def _evaluate_arguments(parser: CommandParser) -> None:
    parser.add_positional("weights", help="Weights file, or hf://owner/name.")
    parser.add_dataclass("kinema.engine.recipe", "EvaluationRecipe")
    parser.add_argument("--json", type=str, metavar="FILE", help="Also write the scores of every video to this file.")


def _run_evaluate(values: dict[str, Any], argv: Sequence[str]) -> int:
    from kinema.engine.recipe import EvaluationRecipe
    from kinema.engine.recipe.files import build

    weights, json_file = values.pop("weights"), values.pop("json")
    return evaluate(weights, build(EvaluationRecipe, values), json_file=json_file)


def _predict_arguments(parser: CommandParser) -> None:
    from kinema.engine.recipe import Accelerator

    parser.add_positional("weights", help="Weights file, or hf://owner/name.")
    parser.add_positional("files", several=True, help="Video files, or folders of numbered frames.")
    parser.add_argument("--top", type=int, default=5, help="Classes to name for each file.")
    parser.add_flag("--json", help="Print one line of JSON for each file.")
    parser.add_argument("--num_clips", type=int, default=1, help="Clips along time; their logits are averaged.")
    parser.add_argument("--num_crops", type=int, default=1, help="Crops of each clip: 1 (centre), 3, 5 or 10.")
    parser.add_argument("--accelerator", type=Accelerator, default="auto", help="Device; auto: a GPU if there is one.")


def _run_predict(values: dict[str, Any], argv: Sequence[str]) -> int:
    return predict(as_json=values.pop("json"), **values)


def _demo_arguments(parser: CommandParser) -> None:
    parser.add_dataclass("kinema.demo.config", "DemoConfig")


def _run_demo(values: dict[str, Any], argv: Sequence[str]) -> int:
    from kinema.demo.config import DemoConfig
    from kinema.engine.recipe.files import build

    return demo(build(DemoConfig, values))


@dataclass(frozen=True)
class Command:
    """A command of the command line."""

    function: Callable[..., int]
    """What it does; the docstring is its help."""
    arguments: Callable[[CommandParser], None]
    """Adds its arguments to a parser."""
    run: Callable[[dict[str, Any], Sequence[str]], int]
    """Calls the function with the values parsed."""

    @property
    def summary(self) -> str:
        """One line of help."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


COMMANDS = {
    "demo": Command(demo, _demo_arguments, _run_demo),
    "train": Command(train.train, train.train_arguments, train.run_train),
    "evaluate": Command(evaluate, _evaluate_arguments, _run_evaluate),
    "predict": Command(predict, _predict_arguments, _run_predict),
    "profile": Command(networks.profile, networks.profile_arguments, networks.run_profile),
    "tables": Command(networks.tables, networks.tables_arguments, networks.run_tables),
    "sites": Command(networks.sites, networks.sites_arguments, networks.run_sites),
    "import": Command(weights.import_weights, weights.import_arguments, weights.run_import),
    "fuse": Command(fuse.fuse, fuse.fuse_arguments, fuse.run_fuse),
    "push": Command(hub.push, hub.push_arguments, hub.run_push),
    "data check": Command(data_check.data_check, data_check.check_arguments, data_check.run_check),
    "data flow": Command(data_flow.data_flow, data_flow.flow_arguments, data_flow.run_flow),
    "data motion": Command(data_motion.data_motion, data_motion.motion_arguments, data_motion.run_motion),
    "data extract": Command(data_extract.data_extract, data_extract.extract_arguments, data_extract.run_extract),
    "data bench": Command(data_bench.data_bench, data_bench.bench_arguments, data_bench.run_bench),
    "data pack": Command(data_pack.data_pack, data_pack.pack_arguments, data_pack.run_pack),
}


def make_parser(name: str) -> CommandParser:
    """Returns the parser of one command."""
    from kinema.engine.arguments import CommandParser

    parser = CommandParser(prog=f"kinema {name}", description=COMMANDS[name].summary)
    COMMANDS[name].arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, 1 where a file could not be read, or 2 where the command was called wrongly."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be in no encoding at all
    if not argv or argv[0] in ("-h", "--help"):
        print(_help(), file=sys.stdout if argv else sys.stderr)
        return OK if argv else USAGE
    if argv[0] == "--version":
        print(f"kinema {version('kinema')}")
        return OK
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads leave the cores to the processes that decode
    try:
        done = _run(argv)
        sys.stdout.flush()
        return done
    except BrokenPipeError:  # the reader has seen enough, as in `kinema tables | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        print("kinema: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        status = _status(error)
        if status is None or os.environ.get("KINEMA_TRACEBACK") == "1":
            raise
        print(f"kinema: {error}", file=sys.stderr)
        return status


def _run(argv: list[str]) -> int:
    """Finds the command and runs it."""
    for count in (1, 2):
        name = " ".join(argv[:count])
        if name in COMMANDS:
            rest = argv[count:]
            return COMMANDS[name].run(make_parser(name).parse(rest), rest)
    from kinema.wording import nearest

    family = [name for name in COMMANDS if name.startswith(f"{argv[0]} ")]
    if family and argv[1:2] in ([], ["-h"], ["--help"]):
        print(_help(family), file=sys.stdout if argv[1:] else sys.stderr)
        return OK if argv[1:] else USAGE
    words = " ".join(argv[:2] if family else argv[:1])
    raise ValueError(f"command must be one of kinema's, got {words!r}; {nearest(words, list(COMMANDS))}")


def _status(error: Exception) -> int | None:
    """Exit status of an error that a person can mend; none for a fault of the program."""
    if isinstance(error, ValueError):
        return USAGE
    if isinstance(error, OSError) or type(error).__name__ in ("VideoError", "RunError"):
        return UNREADABLE
    return None


def _help(names: Sequence[str] = ()) -> str:
    """Lists the commands."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{COMMANDS[name].summary}" for name in names or COMMANDS]
    return "\n".join(
        [
            "usage: kinema COMMAND [options]",
            "",
            "Turns any 2D CNN into a video network.",
            "",
            "commands:",
            *lines,
            "",
            "`kinema COMMAND --help` lists the options of a command; `kinema --version` prints the version.",
            "With KINEMA_TRACEBACK=1 in the environment an error shows where it came from.",
        ]
    )
