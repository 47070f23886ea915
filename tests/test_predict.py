from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from kinema.data.dataset import load_views
from kinema.data.motion.files import encode_clip
from kinema.data.video.opening import VideoError, open_video
from kinema.data.views import grid_views
from kinema.engine.evaluate import predict_views
from kinema.models.classifier import create_model
from kinema.models.weights import save_model
from kinema.predict import Failure, Predictor
from kinema.spec import ClipSpec

NAMES = ("wave", "clap", "jump, twice", "<b>&", "été", "sit")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    spec = ClipSpec(num_frames=4, resize=36, crop=32, class_names=NAMES)
    model = create_model("test_resnet", temporal="tsm", num_frames=4, num_classes=len(NAMES), spec=spec)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (9, 40, 56, 3), dtype=np.uint8)
    encode_clip(frames, path, fps=10)
    return path


def test_a_prediction_ranks_the_probabilities_of_the_one_path(model, video):
    prediction = Predictor(model).predict(video, top=3, num_clips=2, num_crops=3)
    with open_video(video) as opened:
        clips = load_views(opened, grid_views(model.spec, num_clips=2, num_crops=3), model.spec)
    expected = predict_views(model, clips[None])[0]
    assert prediction.path == video
    assert prediction.probabilities == tuple(expected.tolist())
    values, labels = expected.topk(3)
    assert prediction.top == [(NAMES[label], value) for label, value in zip(labels, values.tolist(), strict=True)]


def test_views_change_the_prediction(model, video):
    predictor = Predictor(model)
    assert predictor.predict(video).probabilities != predictor.predict(video, num_crops=3).probabilities


def test_there_are_no_more_classes_than_the_model_has(model, video):
    top = Predictor(model).predict(video, top=100).top
    assert sorted(name for name, _ in top) == sorted(NAMES)
    assert sum(probability for _, probability in top) == pytest.approx(1.0)


def test_weights_on_disk_predict_as_the_model_in_memory(model, video, tmp_path):
    save_model(tmp_path / "model.safetensors", model)
    loaded = Predictor(str(tmp_path / "model.safetensors")).predict(video)
    assert loaded.probabilities == Predictor(model).predict(video).probabilities


def test_a_file_that_cannot_be_read_is_an_error(model, tmp_path):
    with pytest.raises(VideoError, match=r"absent\.mp4"):
        Predictor(model).predict(tmp_path / "absent.mp4")


def test_a_file_that_cannot_be_read_does_not_stop_the_others(model, video, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    first, failure, last = Predictor(model).predict_files([video, broken, video], top=1)
    assert isinstance(failure, Failure)
    assert failure.path == broken
    assert "broken.mp4" in str(failure.error)
    assert first == last


def test_files_are_predicted_one_by_one_as_they_are_asked_for(model, video):
    def paths():
        yield video
        raise AssertionError("the second file was asked for")

    assert next(Predictor(model).predict_files(paths())).path == video


def test_json_is_one_line_of_ascii(model, video, tmp_path):
    prediction = Predictor(model).predict(video, top=6)
    line = prediction.to_json()
    assert "\n" not in line
    assert line.isascii()
    values = json.loads(line)
    assert values["file"] == str(video)
    assert [(item["class_name"], item["probability"]) for item in values["top"]] == prediction.top
    (failure,) = Predictor(model).predict_files([tmp_path / "absent.mp4"])
    values = json.loads(failure.to_json())
    assert values.keys() == {"file", "error"}
    assert "absent.mp4" in values["error"]


def test_asking_for_no_class_is_refused(model, video):
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        Predictor(model).predict(video, top=0)


def test_a_model_without_class_names_is_refused():
    with pytest.raises(ValueError, match="class_names of the model's spec must be given"):
        Predictor(create_model("test_resnet", num_classes=2))
