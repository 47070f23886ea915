"""Starts the processes of a run through torch's elastic launcher, waits for them, and says what ended them."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from kinema.data.video.opening import VideoError
from kinema.engine.processes.joining import LAUNCHER, as_launched, num_devices
from kinema.engine.processes.ranks import is_launched, is_main
from kinema.engine.recipe import Recipe
from kinema.engine.recipe.files import recipe_from_dict, recipe_to_yaml
from kinema.engine.run_error import RunError
from kinema.engine.training.resuming.stopping import GRACE_SECONDS, Terminated
from kinema.wording import one_line

if TYPE_CHECKING:
    from kinema.engine.training.result import TrainingResult

GIVEN = "given.json"
"""File beside the recipe of the processes: names of what a person has given of it, where the rest may be chosen."""
_SENTENCES = {"value": ValueError, "video": VideoError, "run": RunError, "system": OSError}
"""Errors that say by themselves what to do."""


def needs_launch(recipe: Recipe) -> bool:
    """Says whether a run is for several processes and this is none of them.

    Raises:
        ValueError: If it is for several machines: then torchrun starts it on each.
    """
    if is_launched():
        return False
    nodes = recipe.trainer.num_nodes
    if nodes > 1:
        raise ValueError(
            f"trainer.num_nodes must be 1 where torchrun has not started kinema, got {nodes}; start torchrun on each "
            "machine, as in docs/distributed.md"
        )
    return num_devices(recipe.trainer) > 1


def launch(recipe: Recipe, *, resume: bool, overwrite: bool, given: Collection[str] | None = None) -> TrainingResult:
    """Trains with as many processes as a recipe says, each of which runs `kinema train` with this recipe.

    Returns:
        What the first of them returns.

    Raises:
        ValueError: What a process says of the recipe or the data.
        VideoError: What a process says of the videos.
        ChildProcessError: If a process ended in another way.
        RunError: What a process says of a run that cannot go on.
        OSError: What a process says of the disk or the machine.
        KeyboardInterrupt: If the run was interrupted (`Terminated`: by another signal).
    """
    recipe = as_launched(recipe)
    assert isinstance(recipe.trainer.devices, int)
    with tempfile.TemporaryDirectory(prefix="kinema-") as name:
        folder = Path(name)
        (folder / "recipe.yaml").write_text(recipe_to_yaml(recipe), encoding="utf-8")
        if given is not None:
            (folder / GIVEN).write_text(json.dumps(sorted(given)), encoding="utf-8")
        flags = ["--resume"] * resume + ["--overwrite"] * overwrite
        arguments = ("-m", "kinema", "train", "--config", str(folder / "recipe.yaml"), *flags)
        with _environment(recipe.trainer.devices, result=folder / "result.pt"), _quiet_launcher(), _own_signals():
            _run(arguments, num_processes=recipe.trainer.devices, folder=folder)
        return _read_result(folder / "result.pt")


def given_to_launcher(given: Collection[str] | None) -> Collection[str] | None:
    """Returns what a person has given of the recipe: to the process that started this one, if that was `launch`."""
    file = os.environ.get(LAUNCHER)
    if not file:
        return given
    stated = Path(file).parent / GIVEN
    return frozenset(json.loads(stated.read_text(encoding="utf-8"))) if stated.is_file() else None


def leave_result(result: TrainingResult) -> None:
    """Hands the result of a run to the process that started it, if that was `launch`."""
    file = os.environ.get(LAUNCHER)
    if not file or not is_main():
        return
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    for name in ("training", "held_out"):
        if scores := values[name]:
            values[name] = {field.name: getattr(scores, field.name) for field in fields(scores)}
            values[name]["errors"] = dict(scores.errors)
    files = {"last": str(result.last), "best": str(result.best)}
    torch.save(values | files | {"recipe": asdict(result.recipe)}, file)


def _read_result(file: Path) -> TrainingResult:
    """Reads what `leave_result` wrote."""
    from kinema.engine.evaluate import Evaluation
    from kinema.engine.training.result import TrainingResult

    values = torch.load(file, weights_only=True)
    held_out = values["held_out"] and Evaluation(**values["held_out"])
    return TrainingResult(
        recipe=recipe_from_dict(values["recipe"], source="the recipe of the run"),
        last=Path(values["last"]),
        best=Path(values["best"]),
        last_epoch=values["last_epoch"],
        best_epoch=values["best_epoch"],
        best_score=values["best_score"],
        training=Evaluation(**values["training"]),
        held_out=held_out,
    )


def _run(arguments: tuple[str, ...], *, num_processes: int, folder: Path) -> None:
    """Runs the processes until all have ended."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        rdzv_configs={"is_host": True},
        local_addr="127.0.0.1",
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
        max_restarts=0,
        shutdown_timeout=GRACE_SECONDS,
    )
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        raise _first_error(error.failures) from error
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        raise Terminated from error


def _first_error(failures: dict[int, ProcessFailure]) -> BaseException:
    """Returns what ended a run, as one sentence: the first failure that is not the answer to another one."""

    def order(number: int) -> tuple[int, float]:
        failure = failures[number]
        said = _said(failure)
        answered = failure.exitcode == -signal.SIGTERM or said.get("kind") == "lost"
        return answered, said.get("time", failure.timestamp)

    first = min(failures, key=order)
    failure = failures[first]
    said = _said(failure)
    kind, text = said.get("kind"), said.get("text", "")
    if kind == "interrupt":
        return KeyboardInterrupt()
    if kind in _SENTENCES:
        return _SENTENCES[kind](text)
    if kind == "fault" and os.environ.get("KINEMA_TRACEBACK") == "1":
        text = said["py_callstack"]
    elif kind == "fault":
        text = f"{said['py_callstack'].strip().splitlines()[-1]} (KINEMA_TRACEBACK=1 shows where)"
    elif not text:
        text = f"signal {failure.signal_name()}" if failure.exitcode < 0 else f"exit status {failure.exitcode}"
    return ChildProcessError(
        f"rank {first} must not end before the run, got {text if chr(10) in text else one_line(text)}; the others were "
        "ended too: mend what it says, and go on with --resume"
    )


def _said(failure: ProcessFailure) -> dict[str, Any]:
    """Returns what a process has written of its failure; nothing where it could not."""
    message: Any = failure.message
    return message.get("extraInfo", {}) if isinstance(message, dict) else {}


@contextmanager
def _environment(num_processes: int, *, result: Path) -> Iterator[None]:
    """Sets what the processes inherit: the cores are shared out, and on one machine they talk through it alone."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    values = {
        LAUNCHER: str(result),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // num_processes))),
    }
    if sys.platform == "linux":
        values["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    before = {name: os.environ.get(name) for name in (*values, "TORCHELASTIC_SIGNALS_TO_HANDLE")}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _quiet_launcher() -> Iterator[None]:
    """Keeps back what torch's launcher says of a failure: it is said here in a sentence."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Puts back the handlers of signals that the launcher replaces."""
    signals = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)
