"""What one training step and one validation are, for Lightning's loop.

Shapes: N clips, T frames, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from kinema.data.dataset import TrainingItem
from kinema.data.samplers import EpochBatches
from kinema.data.views import protocol_name
from kinema.engine.evaluate import Scores
from kinema.engine.multi_label import multi_label_loss
from kinema.engine.processes.ranks import num_ranks, share_buffers
from kinema.engine.processes.sharded import copy_whole, lies_in_parts, shard
from kinema.engine.recipe import Recipe
from kinema.engine.training.optimizing.accumulation import share_of_step
from kinema.engine.training.optimizing.loss import dominant_labels, mix, training_loss
from kinema.engine.training.optimizing.optimizer import (
    clips_per_step,
    learning_rate_factor,
    make_optimizer,
    scaled_learning_rate,
)
from kinema.engine.training.optimizing.param_groups import parameter_groups
from kinema.engine.training.optimizing.shares import clips_of_step, idle_loss, share_of
from kinema.engine.training.resuming.progress import EpochMeans
from kinema.engine.training.unreadable import UnreadableVideos
from kinema.engine.training.watching.finite import FiniteNumbers, advice_for
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
        scored: VideoClassifier | None = None,
        class_weights: Tensor | None = None,
        finite: FiniteNumbers | None = None,
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
            scored: What validation scores; by default the model itself.
            class_weights: What the classes weigh in the loss [K]; none: all the same.
            finite: Stops the run where its numbers are lost.
        """
        super().__init__()
        self.model = model
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.recipe = recipe
        self.groups = parameter_groups(model, recipe.optimizer)
        self.num_epochs = num_epochs
        self.steps_per_epoch = steps_per_epoch
        self.data_hash = data_hash
        self.unreadable = unreadable
        self.finite = finite
        self.scores: Scores | None = None
        self.step_loss: Tensor | None = None
        """Mean loss of the last batch's clips, as it was before it was weighted; none where it had none."""
        self.means = EpochMeans("train_loss", "train_top1")
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.whole = (scored or model,)  # in a tuple, so that checkpoints do not have it beside what is trained
        self.is_divided = False

    @property
    def scored(self) -> VideoClassifier:
        """The network that is scored and saved: what is trained, its average, or a whole one where it lies in parts."""
        return self.whole[0]

    def configure_model(self) -> None:
        """Divides the weights over the processes where the recipe says so."""
        if lies_in_parts(self.recipe.trainer) and not self.is_divided:
            self.is_divided = True
            assert self.device_mesh is not None
            shard(self.model, self.device_mesh["data_parallel"])
            self.groups = parameter_groups(self.model, self.recipe.optimizer)

    def take_whole(self) -> None:
        """Gives the network that is scored the weights that are trained, the same in all processes."""
        if self.is_divided:
            copy_whole(self.model, self.scored)
            self.scored.to(self.device)
        share_buffers(self.scored)

    def train_dataloader(self) -> DataLoader[TrainingItem]:
        """Returns the loader, at the epoch that begins, or in it where a resumed run goes on.

        Lightning begins to iterate before it first tells the sampler the epoch, which after a resume is not the first.
        """
        batches, loop = self.train_loader.batch_sampler, self.trainer.fit_loop
        assert isinstance(batches, EpochBatches)
        epoch = loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        batches.sampler.set_epoch(epoch)
        batches.start = (epoch, loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0)
        return self.train_loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns the loader of the held-out videos."""
        return self.val_loader

    def training_step(self, batch: TrainingItem, batch_idx: int) -> Tensor | None:
        """Returns the loss of a batch of clips [N, T, C, H, W]; none where no video of it can be read.

        Of several processes each returns a loss also then, since Lightning has them wait for each other's gradients.
        Mixing depends on (seed, epoch, batch_idx) alone.

        Raises:
            VideoError: If too many videos cannot be read.
        """
        self.step_loss = None
        num_clips = clips_of_step(batch, self.unreadable)
        if not num_clips and num_ranks() == 1:
            return None
        if "clip" not in batch:
            return idle_loss(self.model)
        clips, targets = batch["clip"], torch.as_tensor(batch["label"])
        augment, num_classes = self.recipe.augment, len(self.model.spec.class_names)
        key = (self.recipe.seed, self.current_epoch, batch_idx)
        clips, targets = mix(clips, targets, augment=augment, num_classes=num_classes, key=key)
        logits = self.model(clips)  # [N, K]
        if self.model.spec.multi_label:
            loss = multi_label_loss(logits, targets, smoothing=augment.label_smoothing, weights=self.class_weights)
            right = targets.gather(1, logits.argmax(dim=1, keepdim=True))
        else:
            loss = training_loss(logits, targets, smoothing=augment.label_smoothing, weights=self.class_weights)
            right = logits.argmax(dim=1) == dominant_labels(targets)
        if self.finite is not None:
            self.finite.note(torch.as_tensor(batch["index"]), loss, logits)
        self.step_loss = loss.detach()
        self.means.add({"train_loss": self.step_loss, "train_top1": right.float().mean()}, num_clips=len(clips))
        return loss * share_of(len(clips), num_clips) * self._share_of_step(batch_idx)

    def _share_of_step(self, batch_idx: int) -> float:
        """Returns the factor of a batch's loss in its step."""
        batches, accumulate = self.train_loader.batch_sampler, self.recipe.trainer.accumulate
        assert isinstance(batches, EpochBatches)
        together = batches.batch_size * batches.num_ranks
        return share_of_step(batch_idx, num_clips=len(batches.sampler), batch_size=together, accumulate=accumulate)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Shortens the gradient to the recipe's norm, once it is known to be finite."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if self.finite is not None:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            trainer = self.recipe.trainer
            self.finite.check(
                norm.full_tensor() if isinstance(norm, DTensor) else norm,  # each process may have a part of it
                scale=scaler.get_scale if scaler is not None else None,
                epoch=self.current_epoch,
                advice=advice_for(trainer.precision, trainer.clip_norm, out=self.finite.file.parent),
            )
        if gradient_clip_val is not None:
            clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def on_train_epoch_start(self) -> None:
        """Starts new means; Lightning leaves this out where a resumed run goes on inside an epoch."""
        self.means.reset()

    def on_train_epoch_end(self) -> None:
        """Logs the means."""
        self.log_dict(self.means.result(), prog_bar=True)

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

        recipe = self.recipe.optimizer
        rate = scaled_learning_rate(recipe, num_clips=clips_per_step(self.recipe.trainer))
        optimizer = make_optimizer(self.model, recipe, groups=self.groups, learning_rate=rate)
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
