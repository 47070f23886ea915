"""The optimizer and its learning rate."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from kinema.engine.recipe import DataRecipe, OptimizerRecipe, Recipe, TrainerRecipe
from kinema.engine.training.choosing.epochs import choose_epochs, steps_per_epoch
from kinema.engine.training.optimizing.freezing import freeze
from kinema.engine.training.optimizing.optimizer import (
    clips_per_step,
    describe_optimizer,
    learning_rate_factor,
    learning_rate_now,
    make_optimizer,
    scaled_learning_rate,
)
from kinema.engine.training.optimizing.param_groups import parameter_groups
from kinema.models.classifier import create_model
from networks import randomize_


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


@pytest.mark.parametrize(("start", "factor"), [(0.1, 0.1), (1.0, 1.0), (0.5, 0.5)])
def test_the_warm_up_begins_where_it_is_told(start, factor):
    recipe = OptimizerRecipe(warmup_epochs=4, warmup_start=start)
    assert learning_rate_factor(0, num_epochs=10, recipe=recipe) == factor
    assert learning_rate_factor(2, num_epochs=10, recipe=recipe) == pytest.approx((1 + start) / 2)
    assert learning_rate_factor(4, num_epochs=10, recipe=recipe) == 1.0


@pytest.mark.parametrize(
    ("rate", "reference", "num_clips", "scaled"),
    [(0.01, 64, 64, 0.01), (0.01, 64, 128, 0.02), (0.02, 128, 8, 0.00125), (0.01, None, 8, 0.01)],
)
def test_the_rate_is_scaled_by_the_clips_of_a_step(rate, reference, num_clips, scaled):
    recipe = OptimizerRecipe(learning_rate=rate, reference_batch=reference)
    assert scaled_learning_rate(recipe, num_clips=num_clips) == pytest.approx(scaled, rel=1e-12)


def test_a_step_has_the_clips_of_all_processes_and_accumulated_batches(monkeypatch):
    trainer = TrainerRecipe(batch_size=4, accumulate=3)
    assert clips_per_step(trainer) == 12
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert clips_per_step(trainer) == 96


def small_model(**options):
    return randomize_(create_model("test_resnet", num_classes=3, num_frames=2, **options))


def optimizer_of(model, recipe):
    groups = parameter_groups(model, recipe)
    return make_optimizer(model, recipe, groups=groups, learning_rate=recipe.learning_rate)


def take_a_step(model, optimizer, *, size=32):
    torch.manual_seed(0)
    clips = torch.randn(2, 2, 3, size, size)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(clips), torch.tensor([0, 2])).backward()
    optimizer.step()


@pytest.mark.parametrize("nesterov", [False, True])
def test_two_steps_of_sgd_are_those_done_by_hand(nesterov):
    model = small_model(temporal="tam")
    recipe = OptimizerRecipe(
        name="sgd", learning_rate=0.01, weight_decay=0.1, bias_rate=2, head_rate=5, temporal_rate=3, nesterov=nesterov
    )
    optimizer = optimizer_of(model, recipe)
    velocity = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for _ in range(2):
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        take_a_step(model, optimizer)
        for name, parameter in model.named_parameters():
            norm = isinstance(model.get_submodule(name.rpartition(".")[0]), nn.modules.batchnorm._BatchNorm)
            bias = name.endswith("bias") and not norm
            rate = 0.01 * (5 if name.startswith("head") else 3 if ".G." in name or ".L." in name else 1)
            gradient = parameter.grad + (0 if bias or norm else 0.1) * before[name]
            velocity[name] = 0.9 * velocity[name] + gradient
            moved = gradient + 0.9 * velocity[name] if nesterov else velocity[name]
            torch.testing.assert_close(parameter.detach(), before[name] - rate * (2 if bias else 1) * moved)


def test_the_rates_of_all_groups_follow_the_schedule():
    recipe = OptimizerRecipe(
        name="sgd", learning_rate=0.02, head_rate=5, bias_rate=2, schedule="steps", milestones=[1], warmup_epochs=0
    )
    optimizer = optimizer_of(small_model(), recipe)
    schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, num_epochs=3, recipe=recipe))
    peaks = [group["lr"] for group in optimizer.param_groups]
    assert sorted(peaks) == pytest.approx([0.02, 0.02, 0.1, 0.2])
    assert learning_rate_now(optimizer) == pytest.approx(0.02)
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([peak / 10 for peak in peaks])
    assert learning_rate_now(optimizer) == pytest.approx(0.002)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_restored_optimizer_goes_on_with_its_groups(name):
    recipe = OptimizerRecipe(name=name, head_rate=5, layer_decay=0.5, bias_rate=2)
    models = [small_model(temporal="sth"), small_model(temporal="sth")]
    optimizers = [optimizer_of(model, recipe) for model in models]
    take_a_step(models[0], optimizers[0])
    models[1].load_state_dict(models[0].state_dict())
    file = io.BytesIO()
    torch.save(optimizers[0].state_dict(), file)
    optimizers[1].load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    for model, optimizer in zip(models, optimizers, strict=True):
        take_a_step(model, optimizer)
    for key in ("name", "rate", "lr", "weight_decay"):
        assert [group[key] for group in optimizers[1].param_groups] == [g[key] for g in optimizers[0].param_groups]
    for first, second in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_person_reads_what_moves_at_which_rate():
    recipe = OptimizerRecipe(
        name="sgd", learning_rate=0.01, weight_decay=5e-4, bias_rate=2, head_rate=5, reference_batch=64
    )
    model = small_model(temporal="tam")
    freeze(model, Recipe(data=DataRecipe(root="."), optimizer=recipe, trainer=TrainerRecipe(batch_norm="partial")))
    assert describe_optimizer(model, recipe, trainer=TrainerRecipe(batch_size=8)) == [
        "optimizer: sgd at 0.00125, scaled from 0.01 for 64 clips a step to 8",
        "  x 1, decay 0.0005: 385,536 parameters (backbone weights, temporal weights)",
        "  x 1, no decay: 176 parameters (backbone norms, temporal norms)",
        "  x 5, decay 0.0005: 288 parameters (head weights)",
        "  x 10, no decay: 3 parameters (head biases)",
        "frozen: 2,048 of 388,051 parameters; 14 of 23 batch norms keep their statistics",
    ]


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


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"bias_rate": 0}, r"optimizer\.bias_rate must be positive, got 0; 1 leaves"),
        ({"head_rate": -5}, r"optimizer\.head_rate must be positive, got -5"),
        ({"first_conv_rate": math.inf}, r"optimizer\.first_conv_rate must be positive, got inf"),
        ({"temporal_rate": math.nan}, r"optimizer\.temporal_rate must be positive, got nan"),
        ({"layer_decay": 1.5}, r"optimizer\.layer_decay must lie in \(0, 1\], got 1\.5; 0\.75 is usual"),
        ({"reference_batch": 0}, r"optimizer\.reference_batch must be at least 1, got 0"),
        ({"warmup_start": 0}, r"optimizer\.warmup_start must lie in \(0, 1\], got 0"),
        ({"nesterov": True}, r"optimizer\.nesterov must be left out unless name is 'sgd', got True"),
        ({"name": "sgd", "nesterov": True, "momentum": 0}, r"optimizer\.momentum must be above 0 for nesterov, got 0"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        OptimizerRecipe(**values)
