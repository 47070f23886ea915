"""How long a run is where its recipe leaves that open: little data is seen more often."""

from __future__ import annotations

import math

from kinema.engine.processes.ranks import num_ranks
from kinema.engine.recipe import TrainerRecipe

MIN_EPOCHS = 10
MIN_STEPS = 300
MIN_STEPS_RANDOM = 900
"""Steps from random weights: a network that has seen no picture yet has edges and textures to learn before actions."""


def choose_epochs(trainer: TrainerRecipe, *, num_train: int, random_weights: bool) -> int:
    """Returns how often the training videos are seen: as the recipe says, or as its floor in steps asks."""
    if trainer.epochs:
        return trainer.epochs
    steps = min_steps(trainer, random_weights=random_weights)
    return max(MIN_EPOCHS, math.ceil(steps / steps_per_epoch(trainer, num_train=num_train)))


def min_steps(trainer: TrainerRecipe, *, random_weights: bool) -> int:
    """Returns how often the weights move at least: as the recipe says, or more often where they start at random."""
    return trainer.min_steps or (MIN_STEPS_RANDOM if random_weights else MIN_STEPS)


def steps_per_epoch(trainer: TrainerRecipe, *, num_train: int) -> int:
    """Returns how often the weights move in an epoch."""
    return math.ceil(math.ceil(num_train / (batch_size_of(trainer) * num_ranks())) / trainer.accumulate)


def epochs_of(trainer: TrainerRecipe) -> int:
    """Returns the epochs of a recipe in which nothing is left open."""
    assert trainer.epochs is not None
    return trainer.epochs


def batch_size_of(trainer: TrainerRecipe) -> int:
    """Returns the clips of a batch of a recipe in which nothing is left open."""
    assert trainer.batch_size != "auto"
    return trainer.batch_size
