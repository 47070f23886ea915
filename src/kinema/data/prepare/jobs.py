"""Runs one piece of work a video, several at a time; a video that cannot be read does not stop the others.

Threads do it: decoding, scaling and encoding hold no lock, and none of them outlives a process that is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Generic, TypeVar

from rich.console import Console
from rich.progress import track

from kinema.data.video.opening import VideoError

Job = TypeVar("Job")
Result = TypeVar("Result")


class StoppedError(Exception):
    """The run ends before this piece is done."""


class Jobs(Generic[Job, Result]):
    """Pieces of work, and what became of them."""

    def __init__(self, work: Callable[[Job, Event], Result], *, num_workers: int) -> None:
        """Remembers how a piece is done.

        Args:
            work: Does a piece; ends early, with a `StoppedError`, where the event is set.
            num_workers: Pieces at the same time.
        """
        self.work = work
        self.num_workers = num_workers

    def run(self, jobs: Sequence[Job], *, what: str, quiet: bool = False) -> Iterator[tuple[Job, Result | VideoError]]:
        """Does all pieces.

        Args:
            jobs: The pieces.
            what: What is done, for the bar that a terminal shows.
            quiet: Whether to show no bar.

        Yields:
            Each piece and what it gave, or why its video cannot be read, in the order of the pieces.
        """
        stop = Event()
        console = Console(stderr=True)
        disable = quiet or not console.is_terminal
        with ThreadPoolExecutor(max(1, self.num_workers)) as pool:
            try:
                done = self._in_order(pool, jobs, stop)
                yield from track(done, what, total=len(jobs), console=console, disable=disable, transient=True)
            finally:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def _in_order(
        self, pool: ThreadPoolExecutor, jobs: Sequence[Job], stop: Event
    ) -> Iterator[tuple[Job, Result | VideoError]]:
        """Yields results in order; a long piece does not keep the workers from those behind it, within reason."""
        futures: dict[int, Future[Result]] = {}
        following = 0
        for place, job in enumerate(jobs):
            while place not in futures or not futures[place].done():
                busy = sum(not future.done() for future in futures.values())
                while following < len(jobs) and busy < 2 * self.num_workers and len(futures) < 256:
                    futures[following] = pool.submit(self.work, jobs[following], stop)
                    following, busy = following + 1, busy + 1
                wait([future for future in futures.values() if not future.done()], return_when=FIRST_COMPLETED)
            try:
                yield job, futures.pop(place).result()
            except VideoError as error:
                yield job, error
