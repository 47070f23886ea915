"""Whole runs on a few tiny videos: what they write, what they refuse, and that they go on as if never stopped."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from rich.console import Console
from safetensors.torch import load_file

from kinema.cli import main
from kinema.data.video.opening import VideoError
from kinema.engine.evaluate_weights import evaluate_weights
from kinema.engine.recipe import (
    ClipRecipe,
    DataPlace,
    DataRecipe,
    EvaluationRecipe,
    ModelRecipe,
    OptimizerRecipe,
    Recipe,
    TrainerRecipe,
)
from kinema.engine.recipe.files import load_yaml, recipe_from_dict, recipe_to_yaml
from kinema.engine.run_error import RunError
from kinema.engine.training.run_folder import stored_recipe
from kinema.engine.training.train import train
from kinema.models import weights
from kinema.models.hub import is_on_hub
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.models.weights import load_model, read_metadata
from kinema.report.results import find_results


def small_recipe(root, out, *, epochs=2, workers=0, **fields):
    return Recipe(
        out=str(out),
        data=DataRecipe(root=str(root), num_workers=workers),
        clip=ClipRecipe(num_frames=4, resize=32, crop=32),
        model=ModelRecipe(backbone="test_resnet", temporal="sth", pretrained=False, dropout=0.5),
        optimizer=OptimizerRecipe(learning_rate=3e-3),
        trainer=TrainerRecipe(epochs=epochs, batch_size=4),
        **fields,
    )


def quiet():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def finished(motion_root, tmp_path_factory):
    """A finished run, with what it printed."""
    console = quiet()
    out = tmp_path_factory.mktemp("runs") / "finished"
    result = train(small_recipe(motion_root, out), console=console)
    return result, console.file.getvalue()


def test_a_run_says_what_it_found_and_how_it_went(finished):
    result, printed = finished
    for words in (
        "8 classes: approaching, moving down",
        "24 train (8 classes",
        "moving left <-> moving right",
        "sth on test_resnet",
        "M parameters",
        "epoch 2/2: training loss",
        "1 clip × centre crop",  # noqa: RUF001
        "held-out top-1",
        str(result.last.parent),
    ):
        assert words in printed


def test_a_run_leaves_weights_history_recipe_and_logs(finished):
    result, _ = finished
    out = result.last.parent
    assert sorted(entry.name for entry in out.iterdir()) == [
        ".kinema-run",
        "best.safetensors",
        "checkpoints",
        "fingerprints.jsonl",
        "last.safetensors",
        "logs",
        "metrics.csv",
        "recipe.yaml",
    ]
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert list(rows[0]) == [
        "epoch",
        "train_loss",
        "train_top1",
        "val_loss",
        "val_top1",
        "lr",
        "seconds",
        "data_seconds",
    ]
    assert all(float(value) >= 0 for row in rows for value in row.values())
    assert any(entry.name.startswith("events.out.tfevents") for entry in (out / "logs").iterdir())


def test_the_number_watched_is_the_number_reported(finished, motion_root):
    result, _ = finished
    with (result.last.parent / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    data = DataPlace(root=str(motion_root), num_workers=0)
    last = evaluate_weights(result.last, EvaluationRecipe(data=data, batch_size=4), console=quiet())
    assert (last.top1, last.loss) == pytest.approx((float(rows[-1]["val_top1"]), float(rows[-1]["val_loss"])))
    torch.testing.assert_close(last.probabilities, result.held_out.probabilities)
    best = evaluate_weights(result.best, EvaluationRecipe(data=data, batch_size=4), console=quiet())
    chosen = rows[result.best_epoch]
    assert (best.top1, best.loss) == pytest.approx((float(chosen["val_top1"]), float(chosen["val_loss"])))
    assert result.best_score == pytest.approx(best.top1)


def test_weights_carry_spec_recipe_and_fingerprint_without_local_paths(finished, motion_root):
    result, _ = finished
    model, metadata = load_model(result.last), read_metadata(result.last)
    assert model.spec.class_names[0] == "approaching"
    assert (model.spec.resize, model.spec.crop, model.spec.num_frames) == (32, 32, 4)
    assert 0.7 <= model.spec.span_seconds <= 1.0
    assert model.spec.spacing_seconds == pytest.approx(model.spec.span_seconds / 4)
    fingerprint = json.loads(metadata["fingerprint"])
    assert {"kinema", "torch", "timm", "commit", "data", "seed"} <= fingerprint.keys()
    assert metadata["epoch"] == "1"
    recipe = recipe_from_dict(json.loads(metadata["recipe"]))
    assert recipe.optimizer == result.recipe.optimizer
    for path in (motion_root.parent, result.last.parent.parent):
        assert str(path) not in json.dumps(metadata)


def test_a_runs_own_scores_are_found_beside_its_weights(finished, tmp_path):
    result, _ = finished
    (last,), (best,) = find_results(result.last), find_results(result.best)
    assert (last.top1, best.top1) == pytest.approx((result.held_out.top1, result.best_score))
    assert last.protocol == result.held_out.protocol
    assert "flatters" in " ".join(best.notes)
    assert "flatters" not in " ".join(last.notes)
    shutil.copy(result.last, tmp_path / result.last.name)
    assert find_results(tmp_path / result.last.name) == []


def test_the_recipe_in_the_folder_can_be_run_again(finished):
    result, _ = finished
    recipe = recipe_from_dict(load_yaml(result.last.parent / "recipe.yaml"))
    assert recipe == result.recipe
    assert (recipe.trainer.epochs, recipe.model.pretrained) == (2, False)


def test_a_folder_that_holds_a_run_is_left_alone(finished, motion_root):
    result, _ = finished
    before = result.last.read_bytes()
    with pytest.raises(ValueError, match="--resume, choose another --out, or begin anew with --overwrite"):
        train(small_recipe(motion_root, result.last.parent), console=quiet())
    assert result.last.read_bytes() == before


def test_files_that_no_run_has_written_are_left_alone(motion_root, tmp_path):
    out = tmp_path / "mine"
    (out / "logs").mkdir(parents=True)
    (out / "logs" / "notes.txt").write_text("mine")

    for overwrite in (False, True):
        with pytest.raises(
            ValueError, match=r"nothing is in a run's way, got .*mine, which has logs that no run has written"
        ):
            train(small_recipe(motion_root, out), overwrite=overwrite, console=quiet())

    assert (out / "logs" / "notes.txt").read_text() == "mine"
    assert [path.name for path in out.iterdir()] == ["logs"]


def test_a_recipe_of_ones_own_is_no_run_to_overwrite(motion_root, tmp_path):
    (tmp_path / "recipe.yaml").write_text("seed: 3\n")
    (tmp_path / "logs").mkdir()
    with pytest.raises(ValueError, match=r"which has recipe\.yaml, logs that no run has written"):
        train(small_recipe(motion_root, tmp_path), overwrite=True, console=quiet())
    assert (tmp_path / "recipe.yaml").read_text() == "seed: 3\n"


def test_resuming_a_finished_run_ends_with_the_same_weights(finished):
    result, _ = finished
    before = load_file(result.last)
    again = train(replace(result.recipe), resume=True, console=quiet())
    after = load_file(again.last)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (again.best_epoch, again.best_score) == (result.best_epoch, result.best_score)


@pytest.mark.slow
@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_every_layer_trains(motion_root, tmp_path, temporal):
    recipe = small_recipe(motion_root, tmp_path)
    recipe = replace(
        recipe,
        model=replace(recipe.model, temporal=temporal, options={}),
        trainer=replace(recipe.trainer, epochs=1),
    )
    assert train(recipe, console=quiet()).training.num_clips > 0


def test_what_a_recipe_leaves_open_is_as_the_run_began_with(finished):
    result, _ = finished
    left_open = replace(
        result.recipe,
        model=replace(result.recipe.model, pretrained="auto"),
        trainer=replace(result.recipe.trainer, epochs=None, precision="auto"),
    )
    assert train(left_open, resume=True, console=quiet()).recipe == result.recipe


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda recipe: replace(recipe, seed=1), "seed"),
        (lambda recipe: replace(recipe, trainer=replace(recipe.trainer, epochs=3)), "trainer.epochs"),
        (lambda recipe: replace(recipe, model=replace(recipe.model, options={"fraction": 0.5})), "model.options"),
    ],
)
def test_a_run_is_not_resumed_with_other_numbers(finished, change, name):
    result, _ = finished
    with pytest.raises(ValueError, match=rf"{name} must be as the run began with"):
        train(change(result.recipe), resume=True, console=quiet())


def test_a_run_is_not_resumed_on_other_data(finished, tmp_path):
    result, _ = finished
    root = tmp_path / "other"
    for video in sorted(Path(result.recipe.data.root).rglob("*.mp4"))[::2]:
        target = root / video.relative_to(result.recipe.data.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(video)
    other = replace(result.recipe, data=replace(result.recipe.data, root=str(root)))
    with pytest.raises(ValueError, match="must hold the videos that the run began with"):
        train(other, resume=True, console=quiet())


def test_there_is_nothing_to_resume_in_an_empty_folder(motion_root, tmp_path):
    with pytest.raises(ValueError, match="out must hold a run to resume"):
        train(small_recipe(motion_root, tmp_path), resume=True, console=quiet())


def test_an_empty_recipe_is_no_run(tmp_path):
    (tmp_path / "recipe.yaml").write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"recipe\.yaml: the recipe of a run must say its numbers, got none"):
        stored_recipe(tmp_path)


def test_a_link_to_nothing_is_named(motion_root, tmp_path):
    root = tmp_path / "data"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in (1, 2):
            (root / name / f"{number}.mp4").symlink_to(tmp_path / "gone.mp4")
    console = quiet()
    with pytest.raises(VideoError, match=r"got 2 of 2 training videos \(100\.0%\) that are missing or unreadable"):
        train(small_recipe(root, tmp_path / "out"), console=console)
    assert re.search(
        r"left out of training: a/\d\.mp4: .*: a link to nothing; mend or remove it", console.file.getvalue()
    )
    assert not (tmp_path / "out").exists()


def test_a_run_killed_in_its_first_epoch_begins_again(finished, tmp_path):
    result, _ = finished
    recipe = replace(result.recipe, out=str(tmp_path))
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    assert stored_recipe(tmp_path) == recipe
    console = quiet()
    again = train(recipe, resume=True, console=console)
    assert "it had no checkpoint yet" in console.file.getvalue()
    first, second = load_file(result.last), load_file(again.last)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_loss_that_is_lost_stops_the_run_and_names_the_videos(motion_root, tmp_path):
    recipe = small_recipe(motion_root, tmp_path / "run", epochs=3)
    recipe = replace(
        recipe,
        optimizer=OptimizerRecipe(name="sgd", learning_rate=1e38, warmup_epochs=0),
        trainer=replace(recipe.trainer, clip_norm=None),
    )
    with pytest.raises(RunError, match=r"loss must stay finite, got (nan|inf), as .* in epoch 1 at train/.*mp4"):
        train(recipe, console=quiet())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_video_that_cannot_be_read_is_named_in_one_line(motion_root, tmp_path, workers):
    root = tmp_path / "data"
    for split in ("train", "val"):
        for video in sorted((motion_root / split).rglob("*.mp4"))[::4]:
            target = root / video.relative_to(motion_root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(video)
    recipe = small_recipe(root, tmp_path / "run", workers=workers)
    broken = sorted((root / "train").rglob("*.mp4"))[-1]
    broken.unlink()
    broken.write_bytes(b"no video")
    with pytest.raises(VideoError) as caught:
        train(recipe, console=quiet())
    assert broken.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_may_hold_nothing_out(motion_root, tmp_path):
    recipe = small_recipe(motion_root / "train", tmp_path / "run", epochs=1)
    recipe = replace(recipe, data=replace(recipe.data, val_fraction=0.0))
    result = train(recipe, console=quiet())
    assert (result.held_out, result.best_score, result.training.num_clips) == (None, None, 24)
    assert load_file(result.best).keys() == load_file(result.last).keys()


def test_a_run_starts_from_weights_of_other_classes(finished, motion_root, tmp_path):
    result, _ = finished
    root = tmp_path / "data"
    for name in ("approaching", "receding"):
        (root / "train").mkdir(parents=True, exist_ok=True)
        (root / "train" / name).symlink_to(motion_root / "train" / name)
    recipe = small_recipe(root / "train", tmp_path / "run", epochs=1)
    recipe = replace(recipe, model=replace(recipe.model, init=str(result.last)))
    console = quiet()
    other = train(recipe, console=console)
    assert "initialized from" in console.file.getvalue()
    assert load_model(other.last).head.out_features == 2


def rows_without_time(path):
    with path.open(newline="") as file:
        return [
            {key: value for key, value in row.items() if not key.endswith("seconds")} for row in csv.DictReader(file)
        ]


def wait_for(condition, *, process, seconds=240):
    limit = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"the run ended with {process.returncode} before it could be killed"
        assert time.monotonic() < limit, "the run took too long"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_an_epoch_ends_as_one_never_killed(motion_root, tmp_path):
    recipe = small_recipe(motion_root, tmp_path / "whole" / "run", epochs=12, workers=2)
    whole = train(recipe, console=quiet())
    out = tmp_path / "killed" / "run"
    config = tmp_path / "recipe.yaml"
    config.write_text(recipe_to_yaml(replace(recipe, out=str(out))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kinema", "train", "--config", str(config)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    metrics, checkpoint = out / "metrics.csv", out / "checkpoints" / "last.ckpt"
    try:
        wait_for(lambda: checkpoint.exists() and len(rows_without_time(metrics)) >= 2, process=process)
        with metrics.open(newline="") as file:
            epoch_seconds = float(list(csv.DictReader(file))[-1]["seconds"])
        time.sleep(0.4 * epoch_seconds)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    assert status == -signal.SIGKILL
    finished = rows_without_time(metrics)
    assert 2 <= len(finished) < 6
    assert not (out / "last.safetensors").exists()
    assert main(["train", "--resume", "--out", str(out)]) == 0
    assert rows_without_time(metrics)[: len(finished)] == finished
    assert rows_without_time(metrics) == rows_without_time(whole.last.parent / "metrics.csv")
    for name in ("last.safetensors", "best.safetensors"):
        expected, resumed = load_file(whole.last.parent / name), load_file(out / name)
        assert expected.keys() == resumed.keys()
        assert all(torch.equal(expected[key], resumed[key]) for key in expected)


def test_groups_that_cannot_be_divided_are_refused_rather_than_nothing_held_out(motion_root, tmp_path):
    recipe = small_recipe(motion_root / "train", tmp_path / "run")
    one_group = replace(recipe, data=replace(recipe.data, group_pattern="mp4"))
    with pytest.raises(ValueError, match=r"data\.val_fraction must leave something to hold out, got 0\.2 of 24 videos"):
        train(one_group, console=quiet())


def test_a_run_starts_from_a_model_on_the_hub_and_keeps_its_name(finished, motion_root, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "find_weights", lambda source: finished[0].last if is_on_hub(source) else Path(source))
    recipe = small_recipe(motion_root, tmp_path / "run", epochs=1)
    recipe = replace(recipe, model=replace(recipe.model, init="hf://me/motion"))
    console = quiet()

    result = train(recipe, console=console)

    assert "initialized from hf://me/motion" in console.file.getvalue()
    assert stored_recipe(tmp_path / "run").model.init == "hf://me/motion"
    assert json.loads(read_metadata(result.last)["recipe"])["model"]["init"] == "hf://me/motion"


def test_a_run_starts_from_a_file_of_2d_weights_and_keeps_its_name_only(motion_root, tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "frames.pth")
    recipe = small_recipe(motion_root, tmp_path / "run", epochs=1)
    recipe = replace(recipe, model=replace(recipe.model, pretrained=os.path.relpath(tmp_path / "frames.pth")))
    console = quiet()

    result = train(recipe, console=console)

    assert "2D weights from" in console.file.getvalue()
    assert "classifier left out: fc.weight, fc.bias" in console.file.getvalue()
    assert result.recipe.model.pretrained == str(tmp_path / "frames.pth")
    kept = json.loads(read_metadata(result.last)["recipe"])["model"]["pretrained"]
    assert kept == "frames.pth"
    assert train(result.recipe, resume=True, console=quiet()).recipe == result.recipe


@pytest.mark.slow
def test_a_whole_video_network_is_trained_on_the_same_clips(motion_root, tmp_path):
    recipe = small_recipe(motion_root, tmp_path / "run", epochs=1)
    console = quiet()

    result = train(
        replace(recipe, model=ModelRecipe(backbone="mc3_18", temporal="none", pretrained=False)), console=console
    )

    assert "none on mc3_18" in console.file.getvalue()
    data = DataPlace(root=str(motion_root), num_workers=0)
    scores = evaluate_weights(result.last, EvaluationRecipe(data=data), console=quiet())
    assert scores.num_clips == 8
    video = next((motion_root / "val").rglob("*.mp4"))
    assert main(["predict", str(result.last), str(video)]) == 0


def test_the_head_is_in_the_recipe(motion_root, tmp_path):
    recipe = small_recipe(motion_root, tmp_path / "run", epochs=1)

    result = train(replace(recipe, model=replace(recipe.model, temporal="none", head="trn")), console=quiet())

    assert load_model(result.last).config.head == "trn"
    assert stored_recipe(tmp_path / "run").model.head == "trn"
