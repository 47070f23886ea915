"""A whole run on stacked frames: TDN with its short-term module, from the command line to predictions."""

from __future__ import annotations

import json

import pytest
import torch

from kinema.cli import main
from kinema.data.annotations import read_samples
from kinema.data.dataset import load_views
from kinema.data.video.opening import open_video
from kinema.data.views import grid_views
from kinema.models.weights import load_model
from kinema.predict import Predictor


@pytest.fixture(scope="module")
def weights(motion_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tdn"
    numbers = {
        "data.root": motion_root,
        "data.num_workers": 0,
        "clip.num_frames": 4,
        "clip.resize": 32,
        "clip.crop": 32,
        "model.backbone": "test_resnet",
        "model.pretrained": "false",
        "model.temporal": "tdn",
        "model.options.short_term": "true",
        "trainer.epochs": 1,
        "trainer.accelerator": "cpu",
        "out": out,
    }
    arguments = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    assert main(["train", *arguments]) == 0
    return out / "last.safetensors"


def test_the_weights_remember_the_stack(weights):
    model = load_model(weights)

    assert (model.spec.stack, model.config.in_channels) == (5, 15)
    assert (model.spec.resize, model.spec.crop, model.spec.num_frames) == (32, 32, 4)
    assert model.config.options == {"short_term": True}


def test_they_evaluate(weights, motion_root, tmp_path):
    scores = tmp_path / "scores.json"

    data = ["--data.root", str(motion_root), "--data.num_workers", "0"]
    assert main(["evaluate", str(weights), *data, "--accelerator", "cpu", "--json", str(scores)]) == 0

    values = json.loads(scores.read_text(encoding="utf-8"))
    assert (values["num_clips"], values["errors"]) == (8, {})


def test_they_predict_on_the_same_road(weights, motion_root):
    model, path = load_model(weights), read_samples(motion_root)[0].path
    with open_video(path) as video:
        (clip,) = load_views(video, grid_views(model.spec), model.spec)
    with torch.no_grad():
        expected = model(clip[None]).softmax(dim=1)[0]

    prediction = Predictor(weights, accelerator="cpu").predict(path)

    assert clip.shape == (4, 15, 32, 32)
    torch.testing.assert_close(torch.tensor(prediction.probabilities), expected)
