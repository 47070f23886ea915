"""Checkpoints that a kill at any moment cannot break, and from which a run goes on as if it had never stopped."""

from __future__ import annotations

import csv
import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint
from rich.console import Console

from kinema.engine.training.ranks import gather_states, is_main, own_state
from kinema.models.weights import write_atomically

METRICS = ("train_loss", "train_top1", "val_loss", "val_top1")


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's checkpoints, written atomically, and read without executing what stands in them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Writes a checkpoint; the one that stood there is kept until the new one is complete."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())

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


class RandomStates(Callback):
    """Keeps the states of all random generators in the checkpoint; an epoch begins with the state it would have had."""

    def __init__(self) -> None:
        """Starts with nothing loaded."""
        self.loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of all processes as values that load without unpickling."""
        return {"ranks": gather_states(self._state())}

    def _state(self) -> dict[str, Any]:
        name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
        return {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the states until the next epoch begins."""
        self.loaded = state_dict

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sets the states of the checkpoint, once."""
        if self.loaded is None:
            return
        state, self.loaded = own_state(self.loaded["ranks"]), None
        random.setstate(state["python"])
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])


class EpochLog(Callback):
    """Writes `metrics.csv`, one row an epoch; the rows are in the checkpoint, so that a resumed run has each once."""

    def __init__(self, path: Path, *, console: Console | None) -> None:
        """Remembers where to write.

        Args:
            path: The file.
            console: Where each epoch is also said in a line; none: nowhere.
        """
        self.path = path
        self.console = console
        self.rows: list[dict[str, float | int | None]] = []
        self.started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Returns the rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows of the epochs that the checkpoint has seen."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Adds the row of this epoch."""
        metrics = trainer.callback_metrics
        row: dict[str, float | int | None] = {"epoch": trainer.current_epoch}
        names = (*METRICS, "val_map") if "val_map" in metrics else METRICS  # where a video may show several classes
        row |= {name: metrics[name].item() if name in metrics else None for name in names}
        row |= {"lr": trainer.optimizers[0].param_groups[0]["lr"], "seconds": round(time.monotonic() - self.started, 3)}
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


class EpochCheckpoints(Checkpoint):
    """After each epoch writes the checkpoint to resume from, and the weights if they are the best so far.

    Best is the highest top-1 on the held-out videos, or the highest mean average precision where a video may show
    several classes, and among equals, which few videos give often, the lowest loss.
    """

    def __init__(self, path: Path, *, save_best: Callable[[int], None]) -> None:
        """Starts with no best epoch.

        Args:
            path: Where the checkpoint stands.
            save_best: Writes the weights of an epoch.
        """
        self.path = path
        self.save_best = save_best
        self.best: tuple[float, float] | None = None
        self.best_epoch: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Returns what was the best so far."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what was the best when the checkpoint was written."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes both; the checkpoint last, so that it never knows of weights that are not there."""
        metrics = trainer.callback_metrics
        if "val_top1" in metrics:
            score = (metrics.get("val_map", metrics["val_top1"]).item(), -metrics["val_loss"].item())
            if self.best is None or score > self.best:
                self.best, self.best_epoch = score, trainer.current_epoch
                self.save_best(trainer.current_epoch)
        trainer.save_checkpoint(self.path, weights_only=False)


def _line(row: dict[str, float | int | None], *, num_epochs: int | None) -> str:
    """Words of one row for a log that is no terminal."""
    parts = [f"epoch {int(row['epoch'] or 0) + 1}/{num_epochs}: training loss {row['train_loss']:.3f}"]
    parts.append(f"top-1 {row['train_top1']:.1%}")
    if row["val_top1"] is not None:
        parts.append(f"held-out loss {row['val_loss']:.3f}, top-1 {row['val_top1']:.1%}")
    if row.get("val_map") is not None:
        parts.append(f"mean average precision {row['val_map']:.1%}")
    return ", ".join(parts) + f" ({row['seconds']:.1f} s)"
