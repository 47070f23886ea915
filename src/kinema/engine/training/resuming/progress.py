"""What a checkpoint inside an epoch must know beside weights and counters, so that the epoch goes on where it was."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torchmetrics import SumMetric

from kinema.engine.processes.ranks import gather, own_state

_NUM_CLIPS = "num_clips"


class EpochMeans(nn.Module):
    """Means over the clips that an epoch has seen so far, those of all processes together."""

    def __init__(self, *names: str) -> None:
        """Starts with none seen.

        Args:
            names: What is averaged.
        """
        super().__init__()
        self.sums = nn.ModuleDict({name: SumMetric(nan_strategy="disable") for name in (*names, _NUM_CLIPS)})

    def reset(self) -> None:
        """Begins an epoch."""
        for total in self.sums.values():
            total.reset()  # type: ignore[operator]

    def add(self, means: Mapping[str, Tensor], *, num_clips: int) -> None:
        """Adds the means of a batch."""
        for name, mean in means.items():
            self.sums[name].update(mean * num_clips)  # type: ignore[operator]
        self.sums[_NUM_CLIPS].update(num_clips)  # type: ignore[operator]

    def result(self) -> dict[str, float]:
        """Returns the means, or none where nothing was seen; every process must ask."""
        sums = {}
        for name, total in self.sums.items():
            total.update(0.0)  # type: ignore[operator]  # a sum that has seen nothing warns
            sums[name] = total.compute().item()  # type: ignore[operator]
        num_clips = sums.pop(_NUM_CLIPS)
        return {name: total / num_clips for name, total in sums.items()} if num_clips else {}

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Returns the sums of this process."""
        return {
            name: {key: value.detach().cpu().clone() for key, value in total.metric_state.items()}  # type: ignore[union-attr, operator]
            for name, total in self.sums.items()
        }

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Takes the sums that this process had."""
        for name, values in state.items():
            total = self.sums[name]
            for key, value in values.items():
                setattr(total, key, value.to(total.device))  # type: ignore[arg-type]


class RankStates(Callback):
    """Keeps what each process has for itself: the states of its random generators and its part of the means."""

    def __init__(self, means: EpochMeans) -> None:
        """Starts with nothing loaded.

        Args:
            means: Of the epoch.
        """
        self.means = means
        self.loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of all processes."""
        own = {"random": self.loaded or random_states(), "means": self.means.state()}
        return {"ranks": gather(own)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the means at once, and the random states when the next batch begins.

        Raises:
            ValueError: If the checkpoint is of another number of processes.
        """
        own = own_state(state_dict["ranks"])
        self.means.load(own["means"])
        self.loaded = own["random"]

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Sets the states of the checkpoint, once."""
        if self.loaded is not None:
            set_random_states(self.loaded)
            self.loaded = None


def random_states() -> dict[str, Any]:
    """Returns the states of all random generators as values that load without unpickling."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    """Sets the states of all random generators."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
