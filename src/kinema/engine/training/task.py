"""What one training step and one validation are, for Lightning's loop.

Shapes: N clips, T frames, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import copy
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from kinema.data.dataset import TrainingItem
from kinema.data.samplers import EpochBatches
from kinema.data.views import protocol_name
from kinema.engine.evaluate import Scores
from kinema.engine.multi_label import multi_label_loss
from kinema.engine.recipe import Recipe
from kinema.engine.training.loss import dominant_labels, mix, training_loss
from kinema.engine.training.optimizer import learning_rate_factor, make_optimizer
from kinema.engine.training.ranks import num_ranks, share_buffers
from kinema.engine.training.sharded import copy_whole, shard
from kinema.engine.training.shares import clips_of_step, idle_loss, share_of
from kinema.engine.training.unreadable import UnreadableVideos
from kinema.engine.view_loader import ViewBatch
from kinema.models.classifier import VideoClassifier


class VideoTask(L.LightningModule):
    """Trains a classifier by cross-entropy and scores it on the path that `evaluate` walks.

    Where a video may show several classes, the loss is the binary cross-entropy of each.
    """

    def __init__(
        self,
        model: VideoClassifier,
        *,
        train_loader: DataLoader[TrainingItem],
        val_loader: DataLoader[Any],
        recipe: Recipe,
        num_epochs: int,
        steps_per_epoch: int,
        data_hash: str,
        unreadable: UnreadableVideos | None = None,
    ) -> None:
        """Remembers what the hooks need.

        Args:
            model: What is trained.
            train_loader: Training clips, in `EpochBatches`.
            val_loader: Centre views of the held-out videos.
            recipe: How the weights move, how batches are mixed and labels smoothed, and the seed of that.
            num_epochs: Length of the learning rate's schedule.
            steps_per_epoch: Optimization steps of an epoch.
            data_hash: Of the dataset; a run is not resumed on another one.
            unreadable: Counts the videos whose clips are missing in a batch.
        """
        super().__init__()
        self.model = model
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.recipe = recipe
        self.num_epochs = num_epochs
        self.steps_per_epoch = steps_per_epoch
        self.data_hash = data_hash
        self.unreadable = unreadable
        self.scores: Scores | None = None
        self.whole = (model,)  # in a tuple, so that checkpoints do not have it beside the one that is trained

    @property
    def scored(self) -> VideoClassifier:
        """The network that is scored and saved: the one that is trained, or a whole one where that lies in parts."""
        return self.whole[0]

    def configure_model(self) -> None:
        """Divides the weights over the processes where the recipe says so; the network that was given stays whole."""
        if self.recipe.trainer.strategy == "fsdp" and num_ranks() > 1 and self.scored is self.model:
            self.model = copy.deepcopy(self.scored).to(memory_format=torch.contiguous_format)  # as fully_shard wants it
            assert self.device_mesh is not None
            shard(self.model, self.device_mesh["data_parallel"])

    def take_whole(self) -> None:
        """Gives the network that is scored the weights that are trained, the same in all processes."""
        if self.scored is not self.model:
            copy_whole(self.model, self.scored)
            self.scored.to(self.device)
        share_buffers(self.scored)

    def train_dataloader(self) -> DataLoader[TrainingItem]:
        """Returns the loader, at the epoch that begins.

        Lightning begins to iterate before it first tells the sampler the epoch, which after a resume is not the first.
        """
        assert isinstance(self.train_loader.batch_sampler, EpochBatches)
        self.train_loader.batch_sampler.sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        return self.train_loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns the loader of the held-out videos."""
        return self.val_loader

    def training_step(self, batch: TrainingItem, batch_idx: int) -> Tensor | None:
        """Returns the loss of a batch of clips [N, T, C, H, W]; none where no video of it can be read.

        Mixing depends on (seed, epoch, batch_idx) alone.

        Raises:
            ValueError: If the loss is not finite.
            VideoError: If too many videos cannot be read.
        """
        if not (num_clips := clips_of_step(batch, self.unreadable)):
            return None
        if "clip" not in batch:
            self._log_step(torch.zeros(()), torch.zeros(()), num_clips=0)
            return idle_loss(self.model)
        clips, targets = batch["clip"], torch.as_tensor(batch["label"])
        augment, num_classes = self.recipe.augment, len(self.model.spec.class_names)
        key = (self.recipe.seed, self.current_epoch, batch_idx)
        clips, targets = mix(clips, targets, augment=augment, num_classes=num_classes, key=key)
        logits = self.model(clips)  # [N, K]
        if self.model.spec.multi_label:
            loss = multi_label_loss(logits, targets, smoothing=augment.label_smoothing)
            right = targets.gather(1, logits.argmax(dim=1, keepdim=True))
        else:
            loss = training_loss(logits, targets, smoothing=augment.label_smoothing)
            right = logits.argmax(dim=1) == dominant_labels(targets)
        if not torch.isfinite(loss):
            self._refuse(loss, torch.as_tensor(batch["index"]))
        self._log_step(loss.detach(), right.float().mean(), num_clips=len(clips))
        return loss * share_of(len(clips), num_clips)

    def _log_step(self, loss: Tensor, top1: Tensor, *, num_clips: int) -> None:
        """Logs what an epoch takes the mean of, over all clips of all processes."""
        weight = num_clips * num_ranks()  # Lightning divides the sum over processes by their number, and rounds
        metrics = {"train_loss": loss, "train_top1": top1}
        self.log_dict(
            metrics, on_step=False, on_epoch=True, prog_bar=True, batch_size=weight, sync_dist=num_ranks() > 1
        )

    def on_validation_epoch_start(self) -> None:
        """Starts a new tally."""
        self.take_whole()
        samples = self.val_loader.dataset.samples  # type: ignore[attr-defined]
        spec = self.model.spec
        self.scores = Scores(
            samples,
            class_names=spec.class_names,
            protocol=protocol_name(1, 1, sampling=spec.sampling),
            multi_label=spec.multi_label,
        )

    def validation_step(self, batch: ViewBatch) -> None:
        """Scores the views of some videos."""
        assert self.scores is not None
        self.scores.add(batch, self.scored)

    def on_validation_epoch_end(self) -> None:
        """Logs the scores."""
        assert self.scores is not None
        self.scores.gather()
        evaluation = self.scores.result()
        scores = {"val_loss": evaluation.loss, "val_top1": evaluation.top1}
        if evaluation.mean_average_precision is not None:
            scores["val_map"] = evaluation.mean_average_precision
        self.log_dict(scores, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns the optimizer with the schedule of its learning rate, one factor a step."""

        def factor(step: int) -> float:
            return learning_rate_factor(
                step / self.steps_per_epoch, num_epochs=self.num_epochs, recipe=self.recipe.optimizer
            )

        optimizer = make_optimizer(self.model, self.recipe.optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Notes which data the run is on."""
        checkpoint["kinema_data"] = self.data_hash

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Refuses to go on with other data.

        Raises:
            ValueError: If the data is not that of the checkpoint.
        """
        if checkpoint["kinema_data"] != self.data_hash:
            raise ValueError(
                "data.root must hold the videos that the run began with, got other ones; "
                "put them back, or start a new run from its weights with --model.init"
            )

    def _refuse(self, loss: Tensor, indices: Tensor) -> None:
        """Stops a run whose loss is lost."""
        samples = self.train_loader.dataset.samples  # type: ignore[attr-defined]
        names = ", ".join(samples[index].name for index in indices.tolist()[:3])
        raise ValueError(
            f"loss must stay finite, got {loss.item()} in epoch {self.current_epoch + 1} at {names}; lower "
            "--optimizer.learning_rate, lower --trainer.clip_norm, or train with --trainer.precision 32-true"
        )
