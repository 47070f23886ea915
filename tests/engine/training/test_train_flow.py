"""A whole run on flow, and one on differences: from videos to extracted flow, training, scores, fusion, predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from kinema.cli import main
from kinema.data.annotations import read_samples
from kinema.data.dataset import load_views
from kinema.data.video.opening import open_video
from kinema.data.views import grid_views, protocol_name
from kinema.models.weights import load_model, read_metadata
from kinema.predict import Predictor

pytest.importorskip("cv2", reason="kinema[flow] is not installed")


@pytest.fixture(scope="module")
def flow_root(motion_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("flow") / "motion"
    arguments = ["--out", str(out), "--algorithm", "farneback", "--short_side", "32", "--num_workers", "1"]
    assert main(["data", "flow", str(motion_root), *arguments]) == 0
    return out


def train(root, out, **options):
    numbers = {
        "data.root": root,
        "data.num_workers": 0,
        "clip.num_frames": 2,
        "clip.resize": 32,
        "clip.crop": 32,
        "model.backbone": "test_resnet",
        "model.pretrained": "false",
        "model.temporal": "tsm",
        "trainer.epochs": 1,
        "trainer.accelerator": "cpu",
        "out": out,
        **options,
    }
    arguments = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    return main(["train", *arguments])


def evaluate(weights, root, scores):
    options = ["--data.num_workers", "0", "--accelerator", "cpu", "--json", str(scores)]
    return main(["evaluate", str(weights), "--data.root", str(root), *options])


@pytest.fixture(scope="module")
def runs(motion_root, flow_root, tmp_path_factory):
    """Weights and scores of three streams."""
    folder = tmp_path_factory.mktemp("runs")
    streams = {"rgb": (motion_root, {}), "flow": (flow_root, {"clip.stack": 3}), "rgbdiff": (motion_root, {})}
    for modality, (root, options) in streams.items():
        assert train(root, folder / modality, **{"clip.modality": modality, **options}) == 0
        assert evaluate(folder / modality / "last.safetensors", root, folder / f"{modality}.json") == 0
    return folder


@pytest.mark.parametrize(("modality", "stack", "channels"), [("rgb", 1, 3), ("flow", 3, 6), ("rgbdiff", 5, 15)])
def test_the_weights_remember_what_they_see(modality, stack, channels, runs):
    model = load_model(runs / modality / "last.safetensors")

    assert (model.spec.modality, model.spec.stack, model.config.in_channels) == (modality, stack, channels)
    assert json.loads(read_metadata(runs / modality / "last.safetensors")["recipe"])["clip"]["modality"] == modality
    values = json.loads((runs / f"{modality}.json").read_text(encoding="utf-8"))
    assert (values["num_clips"], values["errors"]) == (8, {})


def test_flow_runs_at_the_speed_of_its_videos(runs):
    flow, frames = (load_model(runs / modality / "last.safetensors").spec for modality in ("flow", "rgb"))

    assert frames.span_seconds - flow.span_seconds == pytest.approx(1 / 12)  # one field fewer, at the videos' rate


@pytest.mark.parametrize("modality", ["flow", "rgbdiff"])
def test_they_predict_on_the_same_road(modality, runs, motion_root, flow_root):
    weights = runs / modality / "last.safetensors"
    model, path = load_model(weights), read_samples(flow_root if modality == "flow" else motion_root)[0].path
    with open_video(path, modality=modality) as video:
        (clip,) = load_views(video, grid_views(model.spec), model.spec)
    with torch.no_grad():
        expected = model(clip[None]).softmax(dim=1)[0]

    prediction = Predictor(weights, accelerator="cpu").predict(path)

    torch.testing.assert_close(torch.tensor(prediction.probabilities), expected)


def test_a_network_on_flow_says_what_to_do_with_a_video(runs, motion_root, capsys):
    video = read_samples(motion_root)[0].path

    assert main(["predict", str(runs / "flow" / "last.safetensors"), str(video), "--accelerator", "cpu"]) == 1

    assert "a file where a folder of optical flow is needed; make one with kinema data flow" in capsys.readouterr().err


def test_a_run_on_flow_starts_from_one_on_frames(runs, flow_root, tmp_path, capsys):
    init = {"model.init": runs / "rgb" / "last.safetensors", "model.pretrained": "auto"}

    assert train(flow_root, tmp_path / "run", **{"clip.modality": "flow", **init}) == 0

    assert "  adapted from RGB: backbone.conv1.0.weight\n" in capsys.readouterr().out


def test_frames_are_not_found_in_a_dataset_of_flow(flow_root, tmp_path, capsys):
    assert train(flow_root, tmp_path / "run") == 1

    assert "the folder holds optical flow, not frames; take it with --clip.modality flow" in capsys.readouterr().err


def test_a_dataset_of_flow_is_checked_like_any_other(flow_root, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_CACHE", "off")

    assert main(["data", "check", str(flow_root), "--num_workers", "0"]) == 0
    (read_samples(flow_root)[0].path / "flow_y_00002.jpg").rename(tmp_path / "gone.jpg")
    try:
        assert main(["data", "check", str(flow_root), "--num_workers", "0"]) == 1
        assert "field 2 has x but no y" in " ".join(capsys.readouterr().out.split())
    finally:
        (tmp_path / "gone.jpg").rename(read_samples(flow_root)[0].path / "flow_y_00002.jpg")


def test_streams_are_fused(runs, tmp_path, capsys):
    files = [str(runs / "rgb.json"), str(runs / "flow.json")]

    assert main(["fuse", *files, "--weights", "1", "1.5", "--json", str(tmp_path / "fused.json")]) == 0

    printed = " ".join(capsys.readouterr().out.split())
    assert "all together" in printed
    assert "paired bootstrap" in printed
    one, two, fused = (json.loads(Path(file).read_text()) for file in (*files, tmp_path / "fused.json"))
    flow = {video["name"]: video["probabilities"] for video in two["videos"]}
    for single, video in zip(one["videos"], fused["videos"], strict=True):
        other = flow[single["name"].removesuffix(".mp4")]
        wanted = [(a + 1.5 * b) / 2.5 for a, b in zip(single["probabilities"], other, strict=True)]
        assert video["probabilities"] == pytest.approx(wanted)
    assert fused["protocol"] == f"{protocol_name(1, 1)}, fused 1 : 1.5"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"clip.stack": 3}, "clip.stack must be at least 1, and left out for modality 'rgb', got 3"),
        ({"clip.modality": "flow", "clip.stack": 0}, "clip.stack must be at least 1"),
        ({"clip.modality": "depth"}, "clip.modality must be 'rgb' or 'flow' or 'rgbdiff', got depth"),
        ({"model.options.stack": 3}, "model.options must hold options of the temporal layer only"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(options, sentence, motion_root, tmp_path, capsys):
    assert train(motion_root, tmp_path / "run", **options) == 2
    assert sentence in capsys.readouterr().err
