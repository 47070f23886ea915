"""Checkpoints that a kill at any moment cannot break, and from which a run goes on as if it had never stopped."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint
from rich.console import Console

from kinema.engine.processes.ranks import is_main
from kinema.engine.training.optimizing.optimizer import learning_rate_now
from kinema.engine.training.resuming.progress import EpochMeans
from kinema.engine.training.resuming.stopping import Stop
from kinema.models.weights import write_atomically

METRICS = ("train_loss", "train_top1", "val_loss", "val_top1")


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's checkpoints, written atomically, and read without executing what stands in them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Writes a checkpoint; the one that stood there is kept until the new one is complete."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads a checkpoint onto the CPU.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is no checkpoint, or half of one.
        """
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, UnpicklingError, EOFError, KeyError) as error:
            unsafe = isinstance(error, UnpicklingError)  # torch's sentence tells how to run what stands in it
            reason = "not a checkpoint, or one with code in it" if unsafe else str(error).strip().partition("\n")[0]
            raise ValueError(
                f"{path}: the checkpoint cannot be read ({reason}); put it back from a copy, or begin anew with "
                "--overwrite"
            ) from error

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint if it is there."""
        Path(path).unlink(missing_ok=True)


class EpochLog(Callback):
    """Writes `metrics.csv`, one row an epoch; the rows are in the checkpoint, so that a resumed run has each once."""

    def __init__(
        self,
        path: Path,
        *,
        means: EpochMeans,
        console: Console | None,
        times: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        """Remembers where to write.

        Args:
            path: The file.
            means: Of training.
            console: Where each epoch is also said in a line; none: nowhere.
            times: Returns the last columns of an epoch that has ended: where its time went.
        """
        self.times = times
        self.path = path
        self.means = means
        self.console = console
        self.rows: list[dict[str, float | int | None]] = []
        self.started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Returns the rows so far, and the seconds of the epoch."""
        return {"rows": self.rows, "seconds": time.monotonic() - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows of the epochs that the checkpoint has seen."""
        self.rows = list(state_dict["rows"])
        self.started = time.monotonic() - state_dict["seconds"]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Adds the row of this epoch."""
        metrics = trainer.callback_metrics
        row: dict[str, float | int | None] = {"epoch": trainer.current_epoch}
        names = (*METRICS, "val_map") if "val_map" in metrics else METRICS  # where a video may show several classes
        values = {name: value.item() for name, value in metrics.items()} | self.means.result()
        row |= {name: values.get(name) for name in names}
        row |= {"lr": learning_rate_now(trainer.optimizers[0]), "seconds": round(time.monotonic() - self.started, 3)}
        row |= self.times() if self.times is not None else {}
        self.rows.append(row)
        if not is_main():
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue().encode())
        if self.console is not None:
            self.console.print(_line(row, num_epochs=trainer.max_epochs), soft_wrap=True, highlight=False)


class Checkpoints(Checkpoint):
    """Writes the state to resume from: after each epoch, every so many steps inside it, and when a run is to end.

    Only between steps, so that no gradient that was added up is lost.
    """

    def __init__(self, path: Path, *, every: int | None, stop: Stop) -> None:
        """Remembers where and when to write.

        Args:
            path: Where the checkpoint stands.
            every: Steps from one checkpoint to the next inside an epoch; none: none there.
            stop: Whether the run is to end.
        """
        self.path = path
        self.every = every
        self.stop = stop
        self.in_validation = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From now on a signal waits for the end of a step; Lightning's own way would end inside one."""
        self.stop.waits = True
        self.stop.listen()
        trainer._signal_connector.received_sigterm = False

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Writes where it is time to; after the last batch the end of the epoch is to come first."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches or batch_idx + 1 == trainer.num_training_batches:
            return
        due = self.every is not None and trainer.global_step % self.every == 0
        self._write(trainer, due=due)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes if the run is to end; validation is then run as a whole when it goes on."""
        self._leave_validation(trainer)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """As at its start, where no other process waits: they may have other numbers of held-out batches."""
        if trainer.world_size == 1:
            self._leave_validation(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes, after the weights of the epoch, so that it never knows of weights that are not there."""
        self._write(trainer, due=True)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Makes of a state inside a validation one before it, in the way that Lightning knows such a state by."""
        if self.in_validation:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            progress["total"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress["current"] |= {"ready": 0, "started": 0, "processed": 0, "completed": 0}

    def _leave_validation(self, trainer: L.Trainer) -> None:
        self.in_validation = True
        self._write(trainer, due=False)
        self.in_validation = False

    def _write(self, trainer: L.Trainer, *, due: bool) -> None:
        """Writes if it is time to, or if a process has been asked to end; then ends the run."""
        asked = trainer.strategy.reduce_boolean_decision(self.stop.signum is not None, all=False)
        if due or asked:
            trainer.save_checkpoint(self.path, weights_only=False)
        if asked:
            raise self.stop.error()


def _line(row: dict[str, float | int | None], *, num_epochs: int | None) -> str:
    """Words of one row for a log that is no terminal."""
    parts = [f"epoch {int(row['epoch'] or 0) + 1}/{num_epochs}: training loss {row['train_loss']:.3f}"]
    parts.append(f"top-1 {row['train_top1']:.1%}")
    if row["val_top1"] is not None:
        parts.append(f"held-out loss {row['val_loss']:.3f}, top-1 {row['val_top1']:.1%}")
    if row.get("val_map") is not None:
        parts.append(f"mean average precision {row['val_map']:.1%}")
    return ", ".join(parts) + f" ({row['seconds']:.1f} s)"
