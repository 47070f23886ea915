"""Runs that are stopped and go on: equal, bit for bit, to one that was never stopped."""

from __future__ import annotations

import csv
import io
import signal
from pathlib import Path

import pytest
import torch
from rich.console import Console
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
from kinema.engine.training import run_folder
from kinema.engine.training.stopping import Terminated
from kinema.engine.training.task import VideoTask
from kinema.engine.training.train import train
from kinema.models.weights import read_metadata


def hard_recipe(root, out, *, workers=0, repeats=1, **trainer):
    """Everything that a resume must bring back: dropout, mixing, accumulated gradients, momentum, averaged weights."""
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


def quiet():
    return Console(file=io.StringIO(), width=200)


def rows_without_time(out):
    with (out / run_folder.METRICS).open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def assert_same_run(out, expected):
    assert rows_without_time(out) == rows_without_time(expected)
    for name in (run_folder.LAST, run_folder.BEST):
        ours, theirs = load_file(out / name), load_file(expected / name)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
        assert read_metadata(out / name)["epoch"] == read_metadata(expected / name)["epoch"]


class Watch:
    """Notes what every training step is fed, and asks the run to end in one of them, or in a validation."""

    def __init__(self, monkeypatch):
        self.fed = []
        self.validations = 0
        self.signum = signal.SIGTERM
        self.stop_in_step = None
        self.stop_in_validation = None
        step, validate = VideoTask.training_step, VideoTask.validation_step

        def training_step(task, batch, batch_idx):
            loss = step(task, batch, batch_idx)
            self.fed.append((task.current_epoch, batch_idx, batch["index"].tolist(), task.global_step, rate(task)))
            if len(self.fed) == self.stop_in_step:
                signal.raise_signal(self.signum)
            return loss

        def validation_step(task, batch):
            validate(task, batch)
            self.validations += 1
            if self.validations == self.stop_in_validation:
                signal.raise_signal(self.signum)

        monkeypatch.setattr(VideoTask, "training_step", training_step)
        monkeypatch.setattr(VideoTask, "validation_step", validation_step)


def rate(task):
    return task.optimizers().param_groups[0]["lr"]


@pytest.fixture
def watch(monkeypatch):
    return Watch(monkeypatch)


@pytest.fixture
def whole(motion_root, tmp_path, watch, request):
    """A run that was never stopped, and what it was fed."""
    out = tmp_path / "whole"
    train(hard_recipe(motion_root, out, **getattr(request, "param", {})), console=quiet())
    fed, watch.fed, watch.validations = watch.fed, [], 0
    return out, fed


def stop_and_go_on(recipe, watch, *, in_step=None, in_validation=None):
    watch.stop_in_step, watch.stop_in_validation = in_step, in_validation
    with pytest.raises(Terminated):
        train(recipe, console=quiet())
    watch.stop_in_step = watch.stop_in_validation = None
    assert not (Path(recipe.out) / run_folder.LAST).exists()
    console = quiet()
    train(recipe, resume=True, console=console)
    assert "from its last checkpoint" in console.file.getvalue()


# 24 videos: six batches, three steps an epoch.
@pytest.mark.parametrize("step", [1, 2, 4, 6, 9, 12])
def test_a_run_stopped_in_any_step_goes_on_with_the_next_batch(motion_root, tmp_path, watch, whole, step):
    expected, fed = whole
    stop_and_go_on(hard_recipe(motion_root, tmp_path / "run"), watch, in_step=step)
    assert watch.fed == fed
    assert_same_run(tmp_path / "run", expected)
