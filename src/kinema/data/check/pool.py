"""Processes that do many tasks, and outlive the task that kills or stops one of them: it is named, the others go on."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Work = Callable[[Task, Callable[[], None]], Result]
"""Does a task; calls the function it is given now and then, to say that it goes on."""

_BEAT_SECONDS = 0.5
_START_SECONDS = 120.0


@dataclass(frozen=True)
class Lost:
    """A task that gave no result."""

    reason: str
    """Why: the process died, was silent for too long, or met an error that it does not know."""


def do_all(
    work: Work[Task, Result], tasks: Iterable[Task], *, num_workers: int, silence_seconds: float
) -> Iterator[tuple[Task, Result | Lost]]:
    """Does tasks in processes, and yields each with its result, in the order in which they are done.

    Args:
        work: A function of a module, so that a new process finds it.
        tasks: Taken one by one as processes become free.
        num_workers: Processes; 0 does the work in this one, where nothing protects from a crash.
        silence_seconds: How long a process may work without calling the function that it is given; it is then killed.

    Yields:
        Task and result.

    Raises:
        RuntimeError: If processes cannot be started.
    """
    if num_workers == 0:
        for task in tasks:
            yield task, _attempt(work, task, lambda: None)
        return
    queue = iter(tasks)
    workers: list[_Worker[Task, Result]] = []
    try:
        for task in queue:
            workers.append(_Worker(work, task, silence_seconds))
            if len(workers) == num_workers:
                break
        while workers:
            for worker in _stirred(workers):
                done = worker.look()
                if done is None:
                    continue
                yield worker.task, done
                workers.remove(worker)
                following = list(islice(queue, 1))
                if following:
                    workers.append(worker.followed_by(following[0]))
                else:
                    worker.end()
    finally:
        for worker in workers:
            worker.end()


def _stirred(workers: list[_Worker[Task, Result]]) -> list[_Worker[Task, Result]]:
    """Waits for a while; returns the workers that said something, died, or should have said something by now."""
    ready = wait([worker.connection for worker in workers], timeout=_BEAT_SECONDS)
    now = time.monotonic()
    return [worker for worker in workers if worker.connection in ready or now > worker.deadline]


class _Worker(Generic[Task, Result]):
    """A process and the task that it is at."""

    def __init__(self, work: Work[Task, Result], task: Task, silence_seconds: float) -> None:
        context = multiprocessing.get_context("spawn")  # nothing of this process's threads and locks goes along
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, work), daemon=True)
        self.process.start()
        there.close()
        self.work, self.silence_seconds = work, silence_seconds
        self.started = False
        self.give(task)

    def give(self, task: Task) -> None:
        """Hands a task over."""
        self.task = task
        self.deadline = time.monotonic() + (self.silence_seconds if self.started else _START_SECONDS)
        with contextlib.suppress(OSError):  # it died since: its end is read from the pipe
            self.connection.send(task)

    def followed_by(self, task: Task) -> _Worker[Task, Result]:
        """Hands another task over; to a new process where this one has ended."""
        if not self.process.is_alive():
            return _Worker(self.work, task, self.silence_seconds)
        self.give(task)
        return self

    def look(self) -> Result | Lost | None:
        """Reads what the process said: the result, if it has come."""
        try:
            while self.connection.poll():
                message = self.connection.recv()
                self.started = True
                self.deadline = time.monotonic() + self.silence_seconds
                if message is not None:
                    result: Result | Lost = message[0]
                    return result
        except (EOFError, OSError):
            self.process.join()
            if not self.started:
                raise RuntimeError(
                    f"a process that reads videos ended before it began ({_how(self.process.exitcode)})"
                ) from None
            return Lost(f"reading it ended the process ({_how(self.process.exitcode)}); replace or re-encode the file")
        if time.monotonic() <= self.deadline:
            return None
        self.end()
        return Lost(f"reading it came no further for {self.silence_seconds:g} seconds; replace or re-encode the file")

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _how(exit_code: int | None) -> str:
    """Words for the way in which a process ended."""
    if exit_code is None or exit_code >= 0:
        return f"exit status {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def _serve(connection: Connection, work: Work[Task, Result]) -> None:
    """Does tasks until there is no one left to give them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the process that a person looks at
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _BEAT_SECONDS:
            last = now
            connection.send(None)

    try:
        connection.send(None)
        while True:
            connection.send((_attempt(work, connection.recv(), beat),))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _attempt(work: Work[Task, Result], task: Task, beat: Callable[[], None]) -> Result | Lost:
    try:
        return work(task, beat)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # one file must not keep the others from being looked at
        return Lost(f"reading it failed ({type(error).__name__}: {error}); replace or re-encode the file")
