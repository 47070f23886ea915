"""The optimizer of a run, and how its learning rate goes."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from kinema.engine.recipe import OptimizerRecipe


def make_optimizer(model: nn.Module, recipe: OptimizerRecipe) -> Optimizer:
    """Returns the optimizer of a model; vectors (biases, batch norm) have no weight decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.name == "sgd":
        return SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    return AdamW(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999))


def learning_rate_factor(epoch: float, *, num_epochs: int, recipe: OptimizerRecipe) -> float:
    """What the peak learning rate is multiplied with.

    Args:
        epoch: Time since the start, in epochs.
        num_epochs: Length of the run.
        recipe: Gives warm-up and schedule.

    Returns:
        A factor in (0, 1]; the warm-up climbs from a hundredth.
    """
    warmup = num_epochs / 20 if recipe.warmup_epochs is None else recipe.warmup_epochs
    if epoch < warmup:
        return 0.01 + 0.99 * epoch / warmup
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "steps":
        return recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    progress = min(1.0, (epoch - warmup) / max(num_epochs - warmup, 1e-9))
    return 0.5 * (1 + math.cos(math.pi * progress))
