"""Whole runs with every augmentation and with windows: they train, repeat exactly, and are scored as trained."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

from kinema.cli import main
from kinema.data.annotations import read_samples
from kinema.data.dataset import load_views
from kinema.data.video.opening import open_video
from kinema.data.views import grid_views
from kinema.models.weights import load_model
from kinema.predict import Predictor

EVERYTHING = {
    "clip.sampling": "stride",
    "clip.stride_seconds": 0.2,
    "augment.crop": "multiscale",
    "augment.color_jitter": 0.4,
    "augment.hue_jitter": 0.1,
    "augment.randaugment": 2,
    "augment.erasing": 0.25,
    "augment.mixup": 0.8,
    "augment.cutmix": 1.0,
    "augment.label_smoothing": 0.1,
    "augment.repeats": 2,
}


def run(root, out, *, workers=0, epochs=2, **more):
    numbers = {
        "data.root": root,
        "data.num_workers": workers,
        "clip.num_frames": 4,
        "clip.resize": 32,
        "clip.crop": 32,
        "model.backbone": "test_resnet",
        "model.pretrained": "false",
        "trainer.epochs": epochs,
        "trainer.batch_size": 8,
        "trainer.accelerator": "cpu",
        "out": out,
        **EVERYTHING,
        **more,
    }
    arguments = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    assert main(["train", *arguments]) == 0
    return out / "last.safetensors"


@pytest.fixture(scope="module")
def weights(motion_root, tmp_path_factory):
    return run(motion_root, tmp_path_factory.mktemp("runs") / "everything")


def test_a_run_does_not_depend_on_who_loads_its_clips(weights, motion_root, tmp_path):
    again = load_file(run(motion_root, tmp_path / "again", workers=2))
    first = load_file(weights)
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_validation_sees_no_mixing_and_no_change(weights, motion_root, tmp_path):
    with (weights.parent / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    scores = tmp_path / "scores.json"
    data = ["--data.root", str(motion_root), "--data.num_workers", "0", "--accelerator", "cpu"]
    assert main(["evaluate", str(weights), *data, "--json", str(scores)]) == 0
    values = json.loads(scores.read_text(encoding="utf-8"))
    assert values["protocol"] == "1 strided clip \u00d7 centre crop"
    assert (values["top1"], values["loss"]) == pytest.approx((float(last["val_top1"]), float(last["val_loss"])))


def test_repeats_make_an_epoch_longer(weights, motion_root, tmp_path, capsys):
    run(motion_root, tmp_path / "chosen", epochs="null", **{"trainer.min_steps": 60})
    assert "epochs: 10 (60 steps on 24 videos)" in capsys.readouterr().out


def test_weights_remember_their_window_and_predict_on_the_same_road(weights, motion_root):
    model, path = load_model(weights), read_samples(motion_root)[0].path
    assert (model.spec.sampling, model.spec.stride_seconds) == ("stride", 0.2)
    assert (model.spec.span_seconds, model.spec.spacing_seconds) == pytest.approx((0.8, 0.2))
    with open_video(path) as video:
        clips = load_views(video, grid_views(model.spec, num_clips=2, num_crops=5), model.spec)
    with torch.no_grad():
        expected = model(clips).mean(dim=0).softmax(dim=0)
    prediction = Predictor(weights, accelerator="cpu").predict(path, num_clips=2, num_crops=5)
    torch.testing.assert_close(torch.tensor(prediction.probabilities), expected)


def test_ten_crops_of_classes_with_sides_are_refused_by_name(weights, motion_root, capsys):
    data = ["--data.root", str(motion_root), "--data.num_workers", "0", "--accelerator", "cpu"]
    assert main(["evaluate", str(weights), *data, "--views.num_crops", "10"]) != 0
    assert "got 10 and moving left, moving right" in capsys.readouterr().err


def test_what_a_recipe_says_of_mirrors_counts_for_ten_crops(motion_root, tmp_path):
    sided = ("moving left", "moving right", "turning clockwise", "turning counter-clockwise")
    kept = json.dumps({name: name for name in sided})
    own = {"data.mirrors": kept, "clip.sampling": "dense", "clip.stride_seconds": "null", "augment.crop": "resized"}
    file = run(motion_root, tmp_path / "kept", epochs=1, **own)
    data = ["--data.root", str(motion_root), "--data.num_workers", "0", "--accelerator", "cpu"]
    scores = tmp_path / "scores.json"
    views = ["--views.num_clips", "2", "--views.num_crops", "10"]
    path = read_samples(motion_root)[0].path
    assert main(["evaluate", str(file), *data, *views, "--json", str(scores)]) == 0
    assert json.loads(scores.read_text(encoding="utf-8"))["protocol"] == "2 dense clips \u00d7 10 crops"
    assert len(Predictor(file, accelerator="cpu").predict(path, num_crops=10).probabilities) == 8
