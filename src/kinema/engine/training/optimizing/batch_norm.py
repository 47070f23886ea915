"""The batch norms of a network in training: which are the backbone's own, and how they act on several processes."""

from __future__ import annotations

from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn

from kinema.engine.device import choose_device
from kinema.engine.processes.ranks import num_ranks
from kinema.engine.recipe import TrainerRecipe
from kinema.models.classifier import VideoClassifier
from kinema.models.origins import own_names

BatchNorm = nn.modules.batchnorm._BatchNorm


def batch_norms(model: nn.Module) -> list[BatchNorm]:
    """Lists the batch norms of a network that keep statistics, in its order."""
    return [module for module in model.modules() if isinstance(module, BatchNorm) and module.running_mean is not None]


def backbone_norms(model: VideoClassifier) -> list[BatchNorm]:
    """Lists those that the backbone has without temporal layers, in its order, whatever now keeps them."""
    own, known = own_names(model.config), set(batch_norms(model))
    return [
        module
        for path, module in model.named_modules()
        if isinstance(module, BatchNorm) and module in known and f"{path}.running_mean" in own
    ]


def synchronize(model: VideoClassifier, trainer: TrainerRecipe) -> None:
    """Lets batch norms take the statistics of all processes' batches; in one process they act as before.

    The tensors keep their names. timm's batch norms that go on to an activation keep it.

    Raises:
        ValueError: If several processes train on CPUs, where torch has no such norm.
    """
    device = choose_device(trainer.accelerator).type
    if num_ranks() > 1 and device != "cuda":
        raise ValueError(
            f"trainer.batch_norm must be train, partial or frozen for several processes on {device}, got 'sync', which "
            "torch has for GPUs only; leave it out"
        )
    convert_sync_batchnorm(model)
