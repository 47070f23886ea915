"""Where the time of training goes: waiting for data or computing, and what to change where the data is late."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler

from kinema.engine.device import choose_device
from kinema.engine.loader_bench import pack_command
from kinema.engine.machine import num_cores
from kinema.engine.processes.ranks import num_local_ranks, num_ranks
from kinema.engine.recipe import Recipe
from kinema.engine.training.data import MAX_WORKERS, choose_workers

STARVED = 0.2
"""Part of the time spent waiting for data from which on there is advice."""
WORTH_SECONDS = 10.0
"""Time that a whole run waits from which on there is advice."""


class LoaderClock(Profiler):
    """Measures how long the loop waits for batches; asks no device to finish, and looks at nothing else.

    On a GPU, what the loop waits for a batch may be time in which the GPU still computes: the wait is an upper bound.
    """

    def __init__(self) -> None:
        """Starts at zero."""
        super().__init__()
        self.seconds = 0.0
        """Waited so far."""
        self._started = 0.0

    def start(self, action_name: str) -> None:
        """Notes when a batch is asked for."""
        if action_name == _NEXT_BATCH:
            self._started = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Adds the time until it was there."""
        if action_name == _NEXT_BATCH:
            self.seconds += time.perf_counter() - self._started

    def describe(self) -> None:
        """Says nothing: `TimeProfile` does."""


_NEXT_BATCH = "[_TrainingEpochLoop].train_dataloader_next"


@dataclass(frozen=True)
class Spent:
    """Time of training, without evaluation."""

    data_seconds: float = 0.0
    """Waiting for batches."""
    compute_seconds: float = 0.0
    """All else: forward, backward, step, and what the loop itself takes."""
    num_clips: int = 0
    """Clips that this process trained on; the others have as many, but for an epoch's last batch."""

    @property
    def data_share(self) -> float:
        """Part of the time that went by waiting."""
        return self.data_seconds / max(self.data_seconds + self.compute_seconds, 1e-9)

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.data_seconds + other.data_seconds,
            self.compute_seconds + other.compute_seconds,
            self.num_clips + other.num_clips,
        )

    def describe(self) -> str:
        """Says it in a line."""
        seconds = max(self.data_seconds + self.compute_seconds, 1e-9)
        num_clips = self.num_clips * num_ranks()
        rate = f"{num_clips / seconds:.1f} clips a second, {num_clips / _some(self):.1f} without waiting"
        return f"time: {self.data_share:.0%} data, {1 - self.data_share:.0%} compute ({rate})"


def _some(spent: Spent) -> float:
    return max(spent.compute_seconds, 1e-9)


class TimeProfile(Callback):
    """Sums up each epoch's time, says it after the first epoch and at the end, and gives it to the loggers."""

    def __init__(self, clock: LoaderClock, recipe: Recipe, *, num_train: int, say: Callable[[str], None]) -> None:
        """Starts with no epoch.

        Args:
            clock: What the trainer's profiler measures.
            recipe: For advice.
            num_train: Videos that are trained on.
            say: Tells a person a line.
        """
        self.clock = clock
        self.recipe = recipe
        self.num_train = num_train
        self.say = say
        self.epoch = Spent()
        """Of the epoch that runs, or has just ended."""
        self.total = Spent()
        """Of all epochs of this process, but for the first batch, for which the workers had to start."""
        self.num_epochs = 0
        self._first: Spent | None = None
        self._began = 0.0
        self._waited = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Returns what the epoch has taken so far."""
        return asdict(self.epoch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the epoch of a checkpoint."""
        self.epoch = Spent(**state_dict)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock, also where a resumed run goes on inside an epoch."""
        self._began, self._waited = time.perf_counter(), self.clock.seconds

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins an epoch."""
        self.epoch = Spent()
        self._began, self._waited = time.perf_counter(), self.clock.seconds

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: Any,  # noqa: ANN401 (what the loader yields)
        batch_idx: int,
    ) -> None:
        """Adds the time since the last batch."""
        now, waited = time.perf_counter(), self.clock.seconds
        data = waited - self._waited
        spent = Spent(data, now - self._began - data, len(batch.get("clip", ())))
        self.epoch += spent
        if self._first is None:
            self._first = spent
        else:
            self.total += spent
        self._began, self._waited = now, waited

    def columns(self) -> dict[str, float]:
        """Returns what `metrics.csv` says of the epoch that has just ended."""
        return {"data_seconds": round(self.epoch.data_seconds, 3)}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sums up the epoch; validation, which runs before this, is not in it."""
        self.num_epochs += 1
        times = {"data_seconds": self.epoch.data_seconds, "compute_seconds": self.epoch.compute_seconds}
        for logger in trainer.loggers:
            logger.log_metrics(times, trainer.global_step)
        if self.num_epochs == 1:
            self._tell(trainer.max_epochs or 0)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says how it was over all epochs."""
        if self.num_epochs > 1:
            self._tell(trainer.max_epochs or 0)

    def _tell(self, num_epochs: int) -> None:
        if not self.total.num_clips:
            return
        self.say(self.total.describe())
        if self.total.data_seconds / self.num_epochs * num_epochs >= WORTH_SECONDS:
            for line in advice(self.total, self.recipe, num_train=self.num_train):
                self.say(f"  {line}")


def advice(spent: Spent, recipe: Recipe, *, num_train: int) -> list[str]:
    """Returns what to change where the loader is slower than the network, most useful first.

    Args:
        spent: Where the time went.
        recipe: Of the run.
        num_train: Videos that are trained on.
    """
    if spent.data_share < STARVED:
        return []
    workers, cores = choose_workers(recipe.data.num_workers, num_videos=num_train), num_cores() // num_local_ranks()
    more = min(cores, num_train, 2 * workers or MAX_WORKERS)
    free = workers == 0 or choose_device(recipe.trainer.accelerator).type != "cpu"  # or do they compute?
    faster = (spent.data_seconds + spent.compute_seconds) / _some(spent)
    gain = f"training could be up to {faster:.1f} times as fast" if faster < 20 else "training could be far faster"
    lines = [f"the network waits for the videos: {gain} with a faster loader"]
    if free and workers < more:
        lines.append(f"--data.num_workers {more}: {workers} of {cores} cores read videos")
    if recipe.data.cache == "none":
        lines.append(f"--data.cache ram: each of the {num_train} videos is decoded in the first epoch only")
    lines.append(
        f"{pack_command(recipe.data.root, recipe.clip.resize)}: larger frames are decoded and scaled each time"
    )
    lines.append(f"kinema data bench {quote(recipe.data.root)}: measures what takes the loader so long")
    return lines
