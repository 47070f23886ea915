"""The optimizer and its learning rate."""

from __future__ import annotations

import math

import pytest
from torch import nn

from kinema.engine.recipe import OptimizerRecipe, TrainerRecipe
from kinema.engine.training.epochs import choose_epochs, steps_per_epoch
from kinema.engine.training.optimizer import learning_rate_factor, make_optimizer


@pytest.mark.parametrize(
    ("recipe", "epoch", "factor"),
    [
        (OptimizerRecipe(warmup_epochs=2), 0, 0.01),
        (OptimizerRecipe(warmup_epochs=2), 1, 0.505),
        (OptimizerRecipe(warmup_epochs=2), 2, 1.0),
        (OptimizerRecipe(warmup_epochs=2), 6, 0.5),
        (OptimizerRecipe(warmup_epochs=2), 10, 0.0),
        (OptimizerRecipe(warmup_epochs=2), 11, 0.0),
        (OptimizerRecipe(warmup_epochs=0), 0, 1.0),
        (OptimizerRecipe(), 0.25, 0.505),
        (OptimizerRecipe(), 0.5, 1.0),
        (OptimizerRecipe(schedule="constant", warmup_epochs=1), 9, 1.0),
        (OptimizerRecipe(schedule="steps", milestones=[4, 8], warmup_epochs=0), 3.9, 1.0),
        (OptimizerRecipe(schedule="steps", milestones=[4, 8], warmup_epochs=0), 4, 0.1),
        (OptimizerRecipe(schedule="steps", milestones=[4, 8], gamma=0.5, warmup_epochs=0), 9, 0.25),
        (OptimizerRecipe(warmup_epochs=20), 10, 0.505),
    ],
)
def test_learning_rate_follows_the_schedule(recipe, epoch, factor):
    assert learning_rate_factor(epoch, num_epochs=10, recipe=recipe) == pytest.approx(factor, abs=1e-12)


def test_cosine_is_a_cosine():
    recipe = OptimizerRecipe(warmup_epochs=0)
    for epoch in (1, 3, 7.5):
        expected = (1 + math.cos(math.pi * epoch / 10)) / 2
        assert learning_rate_factor(epoch, num_epochs=10, recipe=recipe) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_biases_and_batch_norm_have_no_weight_decay(name):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model[3].bias.requires_grad_(False)
    decayed, free = make_optimizer(model, OptimizerRecipe(name=name, weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[3].weight)}
    assert {id(p) for p in free["params"]} == {id(model[0].bias), id(model[1].weight), id(model[1].bias)}


@pytest.mark.parametrize(
    ("num_train", "batch_size", "accumulate", "steps"), [(24, 8, 1, 3), (25, 8, 1, 4), (25, 8, 2, 2), (3, 8, 4, 1)]
)
def test_steps_of_an_epoch(num_train, batch_size, accumulate, steps):
    trainer = TrainerRecipe(batch_size=batch_size, accumulate=accumulate)
    assert steps_per_epoch(trainer, num_train=num_train) == steps


@pytest.mark.parametrize(
    ("epochs", "min_steps", "random_weights", "num_train", "chosen"),
    [
        (7, None, True, 24, 7),
        (None, None, False, 24, 100),
        (None, None, False, 25, 75),
        (None, None, True, 24, 300),
        (None, 30, True, 24, 10),
        (None, 36, True, 24, 12),
        (None, None, True, 80_000, 10),
    ],
)
def test_little_data_is_seen_more_often(epochs, min_steps, random_weights, num_train, chosen):
    trainer = TrainerRecipe(epochs=epochs, min_steps=min_steps, batch_size=8)
    assert choose_epochs(trainer, num_train=num_train, random_weights=random_weights) == chosen
