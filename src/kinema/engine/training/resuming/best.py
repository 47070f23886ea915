"""The best epoch of a run, and the end of a run in which none is better for too long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from kinema.engine.recipe import TrainerRecipe


class BestEpoch(Callback):
    """Writes the weights of an epoch that is the best so far, and ends training where patience is over.

    Best is the highest top-1 on the held-out videos, or the highest mean average precision where a video may show
    several classes, and among equals, which few videos give often, the lowest loss.
    """

    def __init__(
        self, *, save: Callable[[int], None], patience: int | None = None, say: Callable[[str], None] = print
    ) -> None:
        """Starts with no best epoch.

        Args:
            save: Writes the weights of an epoch.
            patience: Epochs without a better one after which training ends; none: never.
            say: Tells a person a line.
        """
        self.save = save
        self.patience = patience
        self.say = say
        self.best: tuple[float, float] | None = None
        self.best_epoch: int | None = None
        self.last_epoch: int | None = None
        """The last epoch that was finished."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what was the best so far."""
        return {"best": self.best, "best_epoch": self.best_epoch, "last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what was the best when the checkpoint was written."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
        self.last_epoch = state_dict["last_epoch"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ends a resumed run whose patience was over."""
        self._look(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compares the epoch with the best one."""
        self.last_epoch = trainer.current_epoch
        metrics = trainer.callback_metrics
        if "val_top1" not in metrics:
            return
        score = (metrics.get("val_map", metrics["val_top1"]).item(), -metrics["val_loss"].item())
        if self.best is None or score > self.best:
            self.best, self.best_epoch = score, trainer.current_epoch
            self.save(trainer.current_epoch)
        self._look(trainer)

    def _look(self, trainer: L.Trainer) -> None:
        """Ends training where patience is over."""
        if self.patience is None or self.best is None or self.best_epoch is None or self.last_epoch is None:
            return
        if self.last_epoch - self.best_epoch >= self.patience:
            trainer.should_stop = True
            self.say(
                f"stopping after epoch {self.last_epoch + 1}: none was better on the held-out videos since epoch "
                f"{self.best_epoch + 1} ({self.best[0]:.1%}), for as long as trainer.patience {self.patience} allows"
            )


def check_patience(trainer: TrainerRecipe, *, num_held_out: int) -> None:
    """Refuses patience where there is nothing to wait for.

    Raises:
        ValueError: If no video is held out.
    """
    if trainer.patience is not None and not num_held_out:
        raise ValueError(
            f"trainer.patience must have held-out videos to go by, got {trainer.patience} where none is held out; "
            "hold some out with --data.val_fraction 0.2, or leave it out"
        )
