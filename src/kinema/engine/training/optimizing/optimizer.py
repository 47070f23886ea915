"""The optimizer of a run, and how its learning rate goes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from kinema.engine.processes.ranks import num_ranks
from kinema.engine.recipe import OptimizerRecipe, TrainerRecipe
from kinema.engine.training.choosing.epochs import batch_size_of
from kinema.engine.training.optimizing.freezing import describe_frozen
from kinema.engine.training.optimizing.param_groups import ParameterGroup, parameter_groups
from kinema.models.classifier import VideoClassifier

WRAPPER = "_fsdp_wrapped_module."
"""What FSDP adds to the names of parameters."""


def make_optimizer(
    model: nn.Module, recipe: OptimizerRecipe, *, groups: Sequence[ParameterGroup], learning_rate: float
) -> Optimizer:
    """Returns the optimizer of a model.

    Args:
        model: The model, be it already wrapped for several processes.
        recipe: Gives the kind of optimizer and its momentum.
        groups: What moves at which rate, found before that.
        learning_rate: Peak rate, of which those of the groups are multiples.
    """
    parameters = {name.replace(WRAPPER, ""): parameter for name, parameter in model.named_parameters()}
    settings = [
        {
            "params": [parameters[name] for name in group.names],
            "lr": learning_rate * group.rate,
            "weight_decay": group.weight_decay,
            "name": group.name,
            "rate": group.rate,
        }
        for group in groups
    ]
    if recipe.name == "sgd":
        return SGD(settings, lr=learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov)
    return AdamW(settings, lr=learning_rate, betas=(recipe.momentum, 0.999))


def learning_rate_now(optimizer: Optimizer) -> float:
    """Returns the learning rate of which those of the groups are multiples, at this step."""
    group = optimizer.param_groups[0]
    return float(group["lr"] / group["rate"])


def clips_per_step(trainer: TrainerRecipe) -> int:
    """Returns how many clips the weights move by: those of all processes, and of the batches that are accumulated."""
    return batch_size_of(trainer) * trainer.accumulate * num_ranks()


def scaled_learning_rate(recipe: OptimizerRecipe, *, num_clips: int) -> float:
    """Returns the peak learning rate for steps of so many clips: in proportion to them, where the recipe asks for it.

    Linear scaling: Accurate, Large Minibatch SGD, 2017, https://arxiv.org/abs/1706.02677
    """
    if recipe.reference_batch is None:
        return recipe.learning_rate
    return recipe.learning_rate * num_clips / recipe.reference_batch


def describe_optimizer(model: VideoClassifier, recipe: OptimizerRecipe, *, trainer: TrainerRecipe) -> list[str]:
    """Says in lines for a person what moves at which rate, and what does not move.

    Raises:
        ValueError: If a rate concerns nothing that is trained, or the stages of the backbone cannot be told.
    """
    num_clips = clips_per_step(trainer)
    rate = scaled_learning_rate(recipe, num_clips=num_clips)
    scaled = f", scaled from {recipe.learning_rate:g} for {recipe.reference_batch} clips a step to {num_clips}"
    lines = [f"optimizer: {recipe.name} at {rate:g}{scaled if rate != recipe.learning_rate else ''}"]
    lines += [f"  {group}" for group in parameter_groups(model, recipe)]
    frozen = describe_frozen(model)
    return [*lines, frozen] if frozen else lines


def learning_rate_factor(epoch: float, *, num_epochs: int, recipe: OptimizerRecipe) -> float:
    """What the peak learning rate is multiplied with.

    Args:
        epoch: Time since the start, in epochs.
        num_epochs: Length of the run.
        recipe: Gives warm-up and schedule.

    Returns:
        A factor in [0, 1]; the warm-up climbs from the recipe's start, in a straight line.
    """
    warmup = num_epochs / 20 if recipe.warmup_epochs is None else recipe.warmup_epochs
    if epoch < warmup:
        return recipe.warmup_start + (1 - recipe.warmup_start) * epoch / warmup
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "steps":
        return recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    progress = min(1.0, (epoch - warmup) / max(num_epochs - warmup, 1e-9))
    return 0.5 * (1 + math.cos(math.pi * progress))
