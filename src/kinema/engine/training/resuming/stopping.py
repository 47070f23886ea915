"""A run that is asked to end, or that cannot go on: it keeps what it has and says how to go on."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

from kinema.engine.processes.joining import LAUNCHER
from kinema.engine.processes.ranks import is_launched, is_main

GRACE_SECONDS = 30
"""How long a process that decodes outlives SIGTERM, which a cluster sends to all processes of a run at once."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_ONE_REQUEST_SECONDS = 1.0
"""Signals that come faster are one request: a launcher passes on what the terminal has sent already."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has ended a run, as a cluster does that wants its machine back."""


class Stop:
    """Whether a signal has asked a run to end: it does so at once, or, while it waits, at the end of a step."""

    def __init__(self) -> None:
        """Starts unasked, and not waiting."""
        self.signum: int | None = None
        self.waits = False
        self._asked_at = 0.0

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Is called for a signal.

        Raises:
            KeyboardInterrupt: If the run is not in a step, or a person asks a second time.
        """
        again = self.signum is not None and time.monotonic() - self._asked_at > _ONE_REQUEST_SECONDS
        if self.signum is None:
            self.signum, self._asked_at = signum, time.monotonic()
            if self.waits and signum == signal.SIGINT and is_main():  # no print: it may have been interrupted itself
                os.write(2, b"\nkinema: stopping at the end of this step; once more: at once\n")
        if not self.waits or (again and signum == signal.SIGINT):
            raise self.error()

    @contextmanager
    def at_the_end_of_a_step(self, *loaders: DataLoader[Any]) -> Iterator[None]:
        """Has the processes of loaders live on when their whole group is asked to end, and the loop end between steps.

        Raises:
            KeyboardInterrupt: If a request came after the last step.
        """
        for loader in loaders:
            loader.worker_init_fn = _outlive_signals
        try:
            yield
        finally:
            self.waits = False
        if self.signum is not None:
            raise self.error()

    def listen(self) -> None:
        """Takes the signals; only the main thread can, and another one goes without."""
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                signal.signal(signum, self.handle)

    def error(self) -> KeyboardInterrupt:
        """Returns what ends the run."""
        return Terminated() if self.signum == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Takes Ctrl-C and SIGTERM as requests to end the run."""
    stop = Stop()
    before = [signal.getsignal(signum) for signum in _SIGNALS]
    stop.listen()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for signum, handler in zip(_SIGNALS, before, strict=True):
                signal.signal(signum, handler)


@contextmanager
def say_how_to_go_on(out: Path) -> Iterator[None]:
    """Says what a run that cannot go on has kept.

    Raises:
        OSError: In one sentence, if the disk is full, the folder cannot be written to, or a worker was killed.
    """
    out = out.resolve()
    try:
        yield
    except OSError as error:
        inside = error.filename is not None and Path(os.fsdecode(error.filename)).resolve().is_relative_to(out)
        if error.errno not in _CANNOT_WRITE and not inside:
            raise
        raise OSError(
            f"out must be a folder that can be written to, got {out} ({error.strerror}); what it has of the run is "
            f"whole: mend that, then {how_to_go_on(out)}"
        ) from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise ChildProcessError(
            f"data.num_workers must be processes that live, got one that ended ({_first_sentence(error)}), most often "
            f"for want of memory; take fewer with --data.num_workers and {how_to_go_on(out)}"
        ) from error


def how_to_go_on(out: str | Path) -> str:
    """Says what to call for a run to go on."""
    if is_launched() and not os.environ.get(LAUNCHER):
        return f"start torchrun again, with --resume --out {quote(str(out))}"
    return f"go on with: kinema train --resume --out {quote(str(out))}"


def _first_sentence(error: RuntimeError) -> str:
    return str(error).partition(". ")[0].strip().rstrip(".")


def _outlive_signals(worker: int) -> None:
    """Lets a process that decodes live on for a while: the step at work needs its clips."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # the threads that it starts have the mask too
        threading.Thread(target=_wait_for_the_end, args=(os.getppid(),), daemon=True).start()


def _wait_for_the_end(parent: int) -> None:
    """Ends this process: at once where its parent asks for it, after a while where anybody else does."""
    if signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        signal.sigtimedwait({signal.SIGTERM}, GRACE_SECONDS)
    os._exit(0)  # as torch has it: a status of failure would be one more error of the parent
