"""Several processes: they learn what one would learn from larger batches, and score what one would score."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import pytest
import torch

from kinema.data.samplers import EpochSampler
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
from kinema.engine.training.data import read_data
from kinema.models.classifier import create_model
from kinema.models.weights import load_model, save_model
from networks import randomize_
from rank_work import check_other_weights, score_each_alone, score_weights, talk, train_one_epoch, train_quietly
from several_ranks import in_ranks


def recipe_for(root, out, *, batch_size, devices=1, **trainer):
    """A run of a network without batch norm, so that batches of another size give the same gradients."""
    trainer = {"epochs": 2, "accelerator": "cpu", "precision": "32-true", **trainer}
    return Recipe(
        out=str(out),
        data=DataRecipe(root=str(root), num_workers=0, max_unreadable=0.5),
        clip=ClipRecipe(num_frames=3, resize=32, crop=32),
        model=ModelRecipe(backbone="test_convnext", temporal="tsm", pretrained=False),
        optimizer=OptimizerRecipe(name="sgd", learning_rate=0.02, warmup_epochs=0),
        trainer=TrainerRecipe(batch_size=batch_size, devices=devices, **trainer),
    )


def smaller(motion_root, folder, *, num_train, broken=()):
    """A copy of the motion dataset with fewer training videos, some of which cannot be read."""
    root = folder / "data"
    shutil.copytree(motion_root, root)
    videos = sorted((root / "train").rglob("*.mp4"), key=lambda path: path.name)
    for video in videos[num_train:]:
        video.unlink()
    for index in broken:
        videos[index].write_bytes(b"no video")
    return root


def rows_of(result):
    with (result.last.parent / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_same_run(one, several):
    """The same loss curve, weights and scores, but for the last bits of sums in another order."""
    rows, others = rows_of(one), rows_of(several)
    assert len(rows) == len(others) == one.recipe.trainer.epochs
    for row, other in zip(rows, others, strict=True):
        for name in ("train_loss", "train_top1", "val_loss", "val_top1", "lr"):
            assert other[name] == pytest.approx(row[name], abs=1e-5), name
    weights, other_weights = (load_model(result.last).state_dict() for result in (one, several))
    for name, weight in weights.items():
        torch.testing.assert_close(other_weights[name], weight, rtol=1e-4, atol=1e-6, msg=name)
    assert several.best_epoch == one.best_epoch
    assert several.held_out.names == one.held_out.names


def in_one_and_in_two(root, folder, **trainer):
    one, _ = train_quietly(recipe_for(root, folder / "one", batch_size=8, **trainer))
    recipe = recipe_for(root, folder / "two", batch_size=4, devices=2, **trainer)
    outcomes = in_ranks(train_quietly, 2, recipe, folder=folder)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return one, outcomes


@pytest.mark.parametrize(
    ("num_train", "broken"),
    [
        pytest.param(24, (), id="whole batches", marks=pytest.mark.slow),
        pytest.param(21, (), id="3 and 2 in the last", marks=pytest.mark.slow),
        pytest.param(17, (), id="1 and none in the last"),
        pytest.param(20, (1, 2, 5, 9), id="some unreadable", marks=pytest.mark.slow),
    ],
)
def test_two_processes_learn_what_one_learns_from_batches_twice_as_large(motion_root, tmp_path, num_train, broken):
    root = smaller(motion_root, tmp_path, num_train=num_train, broken=broken)
    one, [(first, said), (second, said_by_second)] = in_one_and_in_two(root, tmp_path)
    assert_same_run(one, first)
    assert torch.equal(first.held_out.probabilities, second.held_out.probabilities)
    assert first.training.to_dict() == second.training.to_dict()
    assert "epoch 2/2" in said
    assert "held-out top-1" in said
    assert said_by_second == ""
    unreadable = [line for line in said.splitlines() if line.startswith("unreadable, left out of training: train")]
    assert len(unreadable) == len(broken)
    listed = tmp_path / "two" / "unreadable.jsonl"
    assert (listed.read_text() if broken else listed.exists()) == (
        (tmp_path / "one" / "unreadable.jsonl").read_text() if broken else False
    )


@pytest.mark.slow
def test_two_processes_accumulate_as_one_does(motion_root, tmp_path):
    root = smaller(motion_root, tmp_path, num_train=21)
    one, [(first, _), _] = in_one_and_in_two(root, tmp_path, accumulate=2)
    assert_same_run(one, first)


@pytest.mark.parametrize("strategy", ["auto", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_a_batch_of_which_no_process_can_read_a_video_ends_no_run(motion_root, tmp_path, strategy):
    root = smaller(motion_root, tmp_path, num_train=16)
    recipe = recipe_for(root, tmp_path, batch_size=4)
    videos = read_data(recipe).train
    for _, index, *_ in list(EpochSampler(16, seed=recipe.seed))[8:]:  # the second batch of the one step
        videos[index].path.write_bytes(b"no video")
    one, [(first, _), _] = in_one_and_in_two(root, tmp_path, epochs=1, accumulate=2, strategy=strategy)
    assert_same_run(one, first)


@pytest.mark.slow
def test_a_network_in_parts_learns_what_a_whole_one_learns(motion_root, tmp_path):
    root = smaller(motion_root, tmp_path, num_train=17)
    one, [(first, _), (second, _)] = in_one_and_in_two(root, tmp_path, strategy="fsdp", clip_norm=0.5)
    assert_same_run(one, first)
    assert torch.equal(first.held_out.probabilities, second.held_out.probabilities)
    own, whole = (
        torch.load(result.last.parent / "checkpoints/last.ckpt", weights_only=True) for result in (first, one)
    )
    assert {name: weight.shape for name, weight in own["state_dict"].items()} == {
        name: weight.shape for name, weight in whole["state_dict"].items()
    }


def test_the_processes_hear_each_other(tmp_path):
    said = (["rank 0", "rank 1", "rank 2"], "rank 0", [3, 30])
    assert in_ranks(talk, 3, folder=tmp_path) == [said, said, said]


def test_weights_that_differ_at_the_start_are_refused(tmp_path):
    for error in in_ranks(check_other_weights, 2, folder=tmp_path):
        assert isinstance(error, ValueError)
        assert "weights must be the same in all processes when a run begins" in str(error)


@pytest.mark.parametrize("names", [["x"], ["x", "y"], ["a", "broken", "c", "d", "e", "f", "g"]])
def test_scores_of_three_processes_are_those_of_one(tmp_path, names):
    alone = score_each_alone(names)
    assert in_ranks(score_each_alone, 3, names, folder=tmp_path) == [alone] * 3


@pytest.mark.parametrize(("num_ranks", "batch_size"), [(2, 3), (3, 8)])
def test_weights_score_the_same_to_the_last_bit_in_several_processes(motion_root, tmp_path, num_ranks, batch_size):
    root = smaller(motion_root, tmp_path, num_train=8)
    sorted((root / "val").rglob("*.mp4"))[2].write_bytes(b"no video")
    model = create_model("test_convnext", temporal="tsm", num_frames=3, num_classes=8, pretrained=False)
    randomize_(model)
    model.spec = replace(
        model.spec, resize=32, crop=32, class_names=tuple(sorted(p.name for p in (root / "val").iterdir()))
    )
    save_model(tmp_path / "weights.safetensors", model)
    recipe = EvaluationRecipe(
        data=DataPlace(root=str(root), num_workers=0), split="val", batch_size=batch_size, accelerator="cpu"
    )
    alone, said = score_weights(tmp_path / "weights.safetensors", recipe)
    assert alone["errors"]
    outcomes = in_ranks(score_weights, num_ranks, tmp_path / "weights.safetensors", recipe, folder=tmp_path)
    assert outcomes == [(alone, said)] + [(alone, "")] * (num_ranks - 1)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_run_of_two_processes_goes_on_where_it_was_stopped(motion_root, tmp_path, strategy):
    whole = recipe_for(motion_root, tmp_path / "whole", batch_size=4, devices=2, epochs=2, strategy=strategy)
    whole = replace(whole, model=replace(whole.model, dropout=0.5))
    [(never_stopped, _), _] = in_ranks(train_quietly, 2, whole, folder=tmp_path)
    stopped = replace(whole, out=str(tmp_path / "stopped"))
    in_ranks(train_one_epoch, 2, stopped, folder=tmp_path)
    [(resumed, said), _] = in_ranks(train_quietly, 2, stopped, True, folder=tmp_path)
    assert "resuming the run" in said
    for name, weight in load_model(never_stopped.last).state_dict().items():
        assert torch.equal(weight, load_model(resumed.last).state_dict()[name]), name
