"""Recipes with all that a resume must bring back, and what two equal runs have in common."""

from __future__ import annotations

import csv

import torch
from safetensors.torch import load_file

from kinema.engine.recipe import (
    AugmentRecipe,
    ClipRecipe,
    DataRecipe,
    ModelRecipe,
    OptimizerRecipe,
    Recipe,
    TrainerRecipe,
)
from kinema.models.weights import read_metadata


def hard_recipe(root, out, *, workers=0, repeats=1, **trainer):
    """Dropout, mixing, accumulated gradients, averaged weights; 24 videos are six batches and three steps an epoch."""
    fields = {"epochs": 2, "batch_size": 4, "accumulate": 2, "ema": 0.8, "checkpoint_steps": 1, **trainer}
    return Recipe(
        out=str(out),
        data=DataRecipe(root=str(root), num_workers=workers),
        clip=ClipRecipe(num_frames=4, resize=32, crop=32),
        augment=AugmentRecipe(mixup=0.8, repeats=repeats),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False, dropout=0.5),
        optimizer=OptimizerRecipe(learning_rate=3e-3),
        trainer=TrainerRecipe(**fields),
    )


def rows_without_time(metrics):
    with metrics.open(newline="") as file:
        return [
            {key: value for key, value in row.items() if not key.endswith("seconds")} for row in csv.DictReader(file)
        ]


def assert_same_run(out, expected):
    """Compares what two runs have left, bit for bit."""
    assert rows_without_time(out / "metrics.csv") == rows_without_time(expected / "metrics.csv")
    for name in ("last.safetensors", "best.safetensors"):
        ours, theirs = load_file(out / name), load_file(expected / name)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
        assert read_metadata(out / name)["epoch"] == read_metadata(expected / name)["epoch"]
