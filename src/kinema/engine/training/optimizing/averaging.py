"""The moving average of a run's weights, which is what is scored and saved where a recipe asks for one."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kinema.models.classifier import VideoClassifier


class Averaging(Callback):
    """Averages the weights after each step: average = decay * average + (1 - decay) * weights.

    The statistics of batch norm are averaged in the same way, so that they fit the averaged weights. The average begins
    as the weights after the first step. It is a network of its own, so that training never sees it.
    """

    def __init__(self, model: VideoClassifier, *, decay: float) -> None:
        """Copies the network.

        Args:
            model: What is trained.
            decay: Part of the average that a step keeps.
        """
        self.model = model
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.average.eval()
        self.steps = 0

    @property
    def averaged(self) -> VideoClassifier:
        """The network with the averaged weights."""
        assert isinstance(self.average.module, VideoClassifier)
        return self.average.module

    def state_dict(self) -> dict[str, Any]:
        """Returns the average."""
        return {"steps": self.steps, "average": self.average.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the average of a checkpoint."""
        self.steps = state_dict["steps"]
        self.average.load_state_dict(state_dict["average"])

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Moves the average to where the weights are."""
        self.averaged.to(pl_module.device)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Averages where the weights have moved."""
        if trainer.global_step > self.steps:
            self.steps = trainer.global_step
            self.average.update_parameters(self.model)


def describe_averaging(decay: float, *, num_steps: int) -> str:
    """Says over how much of a run the weights are averaged."""
    span = round(1 / (1 - decay))
    advice = "; a lower --trainer.ema suits so short a run" if span > num_steps / 2 else ""
    return f"ema: the weights of the last {span} steps or so are averaged, of {num_steps} in all{advice}"
