"""How long a run will take, said once when two epochs have shown it."""

from __future__ import annotations

import time
from collections.abc import Callable

import lightning as L
from lightning.pytorch.callbacks import Callback

WORTH_SECONDS = 60.0
"""Time that a run goes on from which on it is said."""
AFTER = 2
"""Epochs of this process after which it is said: the first also fills caches."""


class ExpectedTime(Callback):
    """Says after the second epoch how long the others will take, by what the second one took."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        """Starts with no epoch."""
        self.say = say
        self._num_epochs = 0
        self._began = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says it where the epoch before was the second, of which validation is over now, and starts the clock."""
        now = time.monotonic()
        if self._num_epochs == AFTER:
            epochs = (trainer.max_epochs or 0) - trainer.current_epoch
            seconds = epochs * (now - self._began)
            if seconds >= WORTH_SECONDS:
                last = f"{now - self._began:.3g} s an epoch"
                self.say(f"time: about {_words(seconds)} for the other {epochs} epochs ({last})")
        self._num_epochs += 1
        self._began = now


def _words(seconds: float) -> str:
    """Writes a time for a person: `7 min`, `2 h 5 min`."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
