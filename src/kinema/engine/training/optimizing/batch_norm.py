"""The batch norms of a network in training: which are the backbone's own, and how they act on several processes."""

from __future__ import annotations

from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn

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


def synchronize(model: VideoClassifier) -> None:
    """Lets batch norms take the statistics of all processes' batches; in one process they act as before.

    The tensors keep their names. timm's batch norms that go on to an activation keep it.
    """
    convert_sync_batchnorm(model)
