"""What stays as it is while the rest is trained: a backbone below a linear probe, batch norms with their statistics."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import Callback

from kinema.engine.recipe import Recipe
from kinema.engine.training.optimizing.batch_norm import backbone_norms, batch_norms, synchronize
from kinema.models.classifier import VideoClassifier
from kinema.models.origins import own_names
from kinema.models.weights import HEAD


def freeze(model: VideoClassifier, recipe: Recipe) -> None:
    """Takes out of training what a recipe keeps as it is: no gradient, and evaluation mode.

    A frozen batch norm keeps its statistics, and what it scales and shifts by. Batch norms that temporal layers add
    have learned nothing yet, and some begin at zero: they are trained with their layers, and are frozen only below a
    linear probe (our reading).

    Args:
        model: The model in training mode, changed in place.
        recipe: Says what is trained, and how batch norms act.

    Raises:
        ValueError: If that contradicts itself, or the network has nothing of that kind.
    """
    trainable, mode = recipe.optimizer.trainable, recipe.trainer.batch_norm
    _check(model, recipe)
    if mode == "sync":
        synchronize(model)
    if trainable == "head":
        model.backbone.requires_grad_(False).eval()
    elif trainable == "temporal":
        own = own_names(model.config)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in own)
    kept = backbone_norms(model) if trainable == "temporal" or mode in ("partial", "frozen") else []
    for norm in kept[1:] if mode == "partial" else kept:
        norm.requires_grad_(False).eval()


def describe_frozen(model: VideoClassifier) -> str | None:
    """Says what `freeze` has taken out of training, in a line; None where that is nothing."""
    parameters, norms = list(model.parameters()), batch_norms(model)
    frozen = sum(parameter.numel() for parameter in parameters if not parameter.requires_grad)
    keep = sum(not norm.training for norm in norms)
    if not (frozen or keep):
        return None
    total = sum(parameter.numel() for parameter in parameters)
    statistics = f"; {keep} of {len(norms)} batch norms keep their statistics" if keep else ""
    return f"frozen: {frozen:,} of {total:,} parameters{statistics}"


class StayFrozen(Callback):
    """Keeps the modules in evaluation mode that are in it before the loop begins, whatever puts the model to training.

    Args:
        model: What `freeze` has gone through.
    """

    def __init__(self, model: VideoClassifier) -> None:
        self.modules = [module for module in model.modules() if not module.training]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Also where a run goes on in the middle of an epoch, whose start is then not told."""
        self._freeze()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After a validation, too."""
        self._freeze()

    def _freeze(self) -> None:
        for module in self.modules:
            module.training = False


def _check(model: VideoClassifier, recipe: Recipe) -> None:
    """Refuses what contradicts itself, and what would change nothing."""
    trainable, mode = recipe.optimizer.trainable, recipe.trainer.batch_norm
    if (mode == "partial" and trainable != "all") or (mode == "sync" and trainable == "head"):
        raise ValueError(
            f"trainer.batch_norm must be left out where optimizer.trainable is {trainable!r}, got {mode!r}; the "
            "backbone's batch norms then stay as they are"
        )
    own = own_names(model.config)
    if trainable == "temporal" and all(name in own or name.startswith(HEAD) for name, _ in model.named_parameters()):
        raise ValueError(
            f"optimizer.trainable must be all or head with {'+'.join(model.config.temporal)}, which adds no parameters "
            "to the backbone, got 'temporal'; head trains what it would"
        )
    backbone = backbone_norms(model)
    concerned = [norm for norm in batch_norms(model) if trainable == "all" or norm not in backbone]
    if mode != "train" and not (concerned if mode == "sync" else backbone):
        network = f"{'+'.join(model.config.temporal)} on {model.config.backbone}"
        raise ValueError(
            f"trainer.batch_norm must be left out where a network has no batch norm that it concerns, got {mode!r} for "
            f"{network}; drop it"
        )
