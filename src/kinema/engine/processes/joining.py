"""What each of the processes of a run does before and after its work: it finds the others, and reports its failure."""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from kinema.data.atomic import write_atomically
from kinema.data.video.opening import VideoError
from kinema.engine.device import choose_device
from kinema.engine.processes.ranks import is_launched, local_rank, num_local_ranks, num_ranks, rank
from kinema.engine.recipe import Accelerator, Recipe, TrainerRecipe
from kinema.engine.run_error import RunError
from kinema.wording import one_line

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others: the first writes weights and checkpoints meanwhile."""
LAUNCHER = "KINEMA_LAUNCHER"
"""Environment variable: a file for the result. Where it is set, the launcher speaks of failures, not the process."""
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""Environment variable: where torchrun looks for what ended a process."""


class LostContactError(OSError):
    """Another process of the run has ended before its time."""


@contextmanager
def together(accelerator: Accelerator) -> Iterator[None]:
    """Joins the processes that torchrun has started; a process that is alone has nothing to join.

    Raises:
        LostContactError: If another process has ended.
        SystemExit: In place of any error where a launcher speaks for the process.
    """
    if not is_launched():
        yield
        return
    _end_with_parent()
    try:
        if num_ranks() > 1:
            device = choose_device(accelerator)
            if device.type == "cuda":
                torch.cuda.set_device(local_rank())
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        yield
        if num_ranks() > 1:
            dist.barrier()
            dist.destroy_process_group()
    except (Exception, KeyboardInterrupt) as error:
        plain = _plain(error)
        _report(plain)
        if os.environ.get(LAUNCHER):
            raise SystemExit(1) from error
        if plain is error:
            raise
        raise plain from error


def as_launched(recipe: Recipe) -> Recipe:
    """Returns a recipe with the number of processes that there are, `auto` and what torchrun says made a number.

    Raises:
        ValueError: If the recipe says another number than torchrun.
    """
    trainer = recipe.trainer
    devices = num_devices(trainer)
    if is_launched():
        nodes = num_ranks() // num_local_ranks()
        if trainer.num_nodes != nodes:
            raise ValueError(
                f"trainer.num_nodes must be as many machines as torchrun has, {nodes}, got {trainer.num_nodes}; "
                f"give --trainer.num_nodes {nodes}, or torchrun another --nnodes"
            )
        if trainer.devices not in (1, "auto", num_local_ranks()):
            raise ValueError(
                f"trainer.devices must be as many processes as torchrun has on a machine, {num_local_ranks()}, got "
                f"{trainer.devices}; leave it out, or give torchrun --nproc-per-node {trainer.devices}"
            )
        devices = num_local_ranks()
    _check_devices(trainer, devices)
    return replace(recipe, trainer=replace(trainer, devices=devices))


def num_devices(trainer: TrainerRecipe) -> int:
    """Returns how many processes a recipe wants on a machine; `auto` is one for each GPU."""
    if trainer.devices != "auto":
        return trainer.devices
    return torch.cuda.device_count() if choose_device(trainer.accelerator).type == "cuda" else 1


def _check_devices(trainer: TrainerRecipe, devices: int) -> None:
    """Refuses what several processes, or the devices of this machine, cannot do together."""
    device, num_processes = choose_device(trainer.accelerator).type, devices * trainer.num_nodes
    if trainer.batch_size == "auto" and num_processes > 1:  # each would find its own
        raise ValueError(
            "trainer.batch_size must be a number where several processes train together, got auto; find it with one "
            "process, then give it as a number"
        )
    if trainer.batch_norm == "sync" and num_processes > 1 and device != "cuda":
        raise ValueError(
            f"trainer.batch_norm must not be sync for several processes on {device}, got sync, which torch has for "
            "GPUs only; leave it out"
        )
    if device == "cuda" and devices > torch.cuda.device_count():
        raise ValueError(
            f"trainer.devices must be at most the GPUs of this machine, {torch.cuda.device_count()}, got {devices}; "
            "lower it, or take --trainer.accelerator cpu"
        )
    if device == "mps" and num_processes > 1:
        raise ValueError(
            f"trainer.devices must be 1 on mps, got {devices}; leave it out, or take --trainer.accelerator cpu"
        )


def _plain(error: BaseException) -> BaseException:
    """Returns what is left to say of an error: that another process has ended is said in one sentence."""
    lost = isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error).lower())
    if not lost:
        return error
    return LostContactError(
        f"rank {rank()} of {num_ranks()} must not lose contact to the others, got {one_line(str(error))[:200]}; the "
        "first process that ended says why"
    )


def _report(error: BaseException) -> None:
    """Writes down what ended this process, where torchrun or the launcher looks for it."""
    file = os.environ.get(ERROR_FILE)
    if file is None:
        return
    now = time.time()
    extra = {
        "py_callstack": "".join(traceback.format_exception(error)),
        "timestamp": str(int(now)),
        "time": now,
        "kind": _kind(error),
        "text": str(error),
    }
    content = {"message": {"message": f"{type(error).__name__}: {error}", "extraInfo": extra}}
    write_atomically(Path(file), json.dumps(content).encode())  # the launcher may end this process at any moment


def _kind(error: BaseException) -> str:
    """Returns which way of ending an error is."""
    kinds = {
        LostContactError: "lost",
        KeyboardInterrupt: "interrupt",
        VideoError: "video",
        ValueError: "value",
        RunError: "run",
        OSError: "system",
    }
    return next((name for cls, name in kinds.items() if isinstance(error, cls)), "fault")


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone, however that ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="kinema-parent").start()
