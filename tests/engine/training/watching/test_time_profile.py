"""Where the time goes: what is measured, where it is said, and what is advised."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from kinema.data.dataset import TrainingClips
from kinema.engine.recipe import ClipRecipe, DataRecipe, ModelRecipe, Recipe, TrainerRecipe
from kinema.engine.training.train import train
from kinema.engine.training.watching import time_profile
from kinema.engine.training.watching.time_profile import LoaderClock, Spent, TimeProfile, advice
from several_ranks import environment_of


def small(root, out, **trainer):
    return Recipe(
        out=str(out),
        data=DataRecipe(root=str(root), num_workers=0),
        clip=ClipRecipe(num_frames=2, resize=32, crop=32),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False),
        trainer=TrainerRecipe(batch_size=8, precision="32-true", loggers=["csv"], **trainer),
    )


def said(recipe, **options):
    console = Console(file=io.StringIO(), width=200)
    train(recipe, console=console, **options)
    return console.file.getvalue()


def test_a_slow_loader_is_measured_and_said_after_the_first_epoch_and_at_the_end(motion_root, tmp_path, monkeypatch):
    read = TrainingClips.__getitem__

    def slowly(self, key):
        time.sleep(0.02)
        return read(self, key)

    monkeypatch.setattr(TrainingClips, "__getitem__", slowly)
    monkeypatch.setattr(time_profile, "WORTH_SECONDS", 0.1)
    printed = said(small(motion_root, tmp_path / "run", epochs=2)).splitlines()
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["seconds"]) >= float(row["data_seconds"]) >= 24 * 0.02
    assert [*rows[0]][-2:] == ["seconds", "data_seconds"]
    lines = [number for number, line in enumerate(printed) if line.startswith("time: ")]
    assert len(lines) == 2
    assert printed[lines[0] - 1].startswith("epoch 1/2")
    assert printed[lines[1] - 1].startswith("epoch 2/2")
    assert printed[lines[0] + 1].startswith("  the network waits for the videos: training could be up to ")
    with (tmp_path / "run" / "logs" / "steps.csv").open(newline="") as file:
        logged = [float(row["data_seconds"]) for row in csv.DictReader(file) if row["data_seconds"]]
    assert logged == pytest.approx([float(row["data_seconds"]) for row in rows], abs=1e-3)


def test_nothing_is_advised_for_a_run_that_hardly_waits(motion_root, tmp_path):
    printed = said(small(motion_root, tmp_path / "run", epochs=1))
    assert printed.count("time: ") == 1
    assert "waits" not in printed


def test_only_the_wait_for_training_batches_counts(monkeypatch):
    clock = LoaderClock()
    now = iter([1.0, 3.5, 10.0, 10.5])
    monkeypatch.setattr(time_profile.time, "perf_counter", lambda: next(now))
    for action in ("[_TrainingEpochLoop].train_dataloader_next", "[_EvaluationLoop].val_next", "optimizer_step"):
        clock.start(action)
        clock.stop(action)
    with clock.profile("[_TrainingEpochLoop].train_dataloader_next"):
        pass
    assert clock.seconds == 3.0


def test_time_is_said_in_a_line():
    assert Spent(6.2, 3.8, 400).describe() == (
        "time: 62% data, 38% compute (40.0 clips a second, 105.3 without waiting)"
    )
    assert (Spent(1.0, 2.0, 3) + Spent(0.5, 0.5, 1)) == Spent(1.5, 2.5, 4)


def test_several_processes_train_on_as_many_times_more_clips_and_share_the_cores_of_their_machine(monkeypatch):
    for name, value in environment_of(0, 4, num_nodes=2).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(time_profile, "num_cores", lambda: 8)
    monkeypatch.setattr(time_profile, "choose_device", torch.device)
    assert "(160.0 clips a second, 421.1 without waiting)" in Spent(6.2, 3.8, 400).describe()
    recipe = small("videos", "out", epochs=1, accelerator="cuda")
    recipe = replace(recipe, data=replace(recipe.data, num_workers=2))
    told = advice(Spent(3.0, 1.0, 10), recipe, num_train=500)
    assert "--data.num_workers 4: 2 of 4 cores read videos" in told


@pytest.mark.parametrize(
    ("workers", "accelerator", "cores", "expected"),
    [
        (2, "cuda", 16, "--data.num_workers 4: 2 of 16 cores read videos"),
        (16, "cuda", 16, None),
        (None, "cuda", 16, "--data.num_workers 16: 8 of 16 cores read videos"),
        (0, "cpu", 2, "--data.num_workers 2: 0 of 2 cores read videos"),
        (2, "cpu", 16, None),  # the other cores compute
    ],
)
def test_more_workers_are_advised_where_cores_are_free(monkeypatch, workers, accelerator, cores, expected):
    monkeypatch.setattr(time_profile, "num_cores", lambda: cores)
    monkeypatch.setattr(time_profile, "choose_device", torch.device)
    monkeypatch.setattr("kinema.engine.training.data.num_cores", lambda: cores)
    recipe = small("videos", "out", epochs=1, accelerator=accelerator)
    recipe = replace(recipe, data=replace(recipe.data, num_workers=workers))
    lines = advice(Spent(3.0, 1.0, 10), recipe, num_train=500)
    assert [line for line in lines if "num_workers" in line] == ([expected] if expected else [])


def test_the_rest_of_the_advice_names_commands_and_numbers():
    recipe = small("my videos", "out", epochs=1, accelerator="cpu")
    recipe = replace(recipe, data=replace(recipe.data, num_workers=1))
    assert advice(Spent(3.0, 1.0, 10), recipe, num_train=500) == [
        "the network waits for the videos: training could be up to 4.0 times as fast with a faster loader",
        "--data.cache ram: each of the 500 videos is decoded in the first epoch only",
        "kinema data pack 'my videos' --out OUT --short_side 32: larger frames are decoded and scaled each time",
        "kinema data bench 'my videos': measures what takes the loader so long",
    ]
    cached = replace(recipe, data=replace(recipe.data, cache="ram"))
    assert not [line for line in advice(Spent(3.0, 1.0, 10), cached, num_train=500) if "cache" in line]
    assert advice(Spent(0.19, 0.81, 10), recipe, num_train=500) == []


def test_the_time_of_a_broken_off_epoch_goes_on():
    first, second = (
        TimeProfile(LoaderClock(), small("videos", "out", epochs=1), num_train=1, say=print) for _ in range(2)
    )
    first.epoch = Spent(2.0, 1.0, 8)
    second.load_state_dict(first.state_dict())
    assert second.epoch == first.epoch
    assert second.columns() == {"data_seconds": 2.0}
