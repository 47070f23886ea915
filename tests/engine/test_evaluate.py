"""Scores: literal tables, and the one path from views to probabilities."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from kinema.data.annotations import Sample, read_samples
from kinema.data.views import grid_views, reversed_view
from kinema.engine.evaluate import Scores, evaluate, predict_views, wilson_interval
from kinema.models.classifier import create_model
from kinema.spec import ClipSpec
from networks import randomize_


class MeanPixel(nn.Module):
    """Logits are the first K pixels of a clip; notes in which mode and how often it was called."""

    def __init__(self, num_classes):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.frozen = nn.BatchNorm1d(1).eval()
        self.num_classes = num_classes
        self.calls = []

    def forward(self, clip):
        self.calls.append((self.training, len(clip), clip.dtype))
        return self.scale * clip.flatten(1)[:, : self.num_classes]


def clips_of(logits):
    """Clips [N, V, 1, 1, 1, K] that `MeanPixel` turns into these logits [N, V, K]."""
    return torch.tensor(logits)[:, :, None, None, None, :]


def test_probabilities_are_the_softmax_of_the_mean_logits_over_views():
    logits = [[[0.0, 0.0], [2.0, 0.0]], [[1.0, 3.0], [1.0, 3.0]]]
    probabilities = predict_views(MeanPixel(2), clips_of(logits))
    torch.testing.assert_close(probabilities, torch.softmax(torch.tensor([[1.0, 0.0], [1.0, 3.0]]), dim=1))


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 100])
def test_chunks_bound_what_runs_at_once_and_change_nothing(chunk_size):
    clips = torch.randn(3, 4, 1, 1, 1, 2)
    model = MeanPixel(2)
    torch.testing.assert_close(
        predict_views(model, clips, chunk_size=chunk_size), predict_views(model, clips), rtol=0, atol=0
    )
    assert max(count for _, count, _ in model.calls[:-1]) <= chunk_size


def test_the_model_is_evaluated_and_gets_each_modules_mode_back():
    model = MeanPixel(2).train()
    model.frozen.eval()
    predict_views(model, torch.zeros(1, 1, 1, 1, 1, 2))
    assert model.calls[0][0] is False
    assert model.training
    assert not model.frozen.training


def test_autocast_around_it_does_not_change_its_numbers():
    model = MeanPixel(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = predict_views(nn.Sequential(nn.Flatten(1), nn.Linear(2, 2, bias=False)), torch.ones(1, 1, 1, 1, 1, 2))
        predict_views(model, torch.zeros(1, 1, 1, 1, 1, 2))
    assert inside.dtype == torch.float32
    assert model.calls[0][2] == torch.float32


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 2), (0, 1, 1, 1, 1, 2), (1, 0, 1, 1, 1, 2)])
def test_clips_without_views_are_refused(shape):
    with pytest.raises(ValueError, match=r"clips must be \[N, V, T, C, H, W\]"):
        predict_views(MeanPixel(2), torch.zeros(shape))


def scores_of(logits, labels, errors=()):
    """The evaluation of videos with these logits; None stands for one that cannot be read."""
    names = [str(k) for k in range(max(len(row) for row in logits if row))]
    samples = [Sample(path=None, class_name=str(label), name=f"v{i}") for i, label in enumerate(labels)]
    scores = Scores(samples, class_names=names, protocol="test")
    for index in reversed(range(len(logits))):
        readable = logits[index] is not None
        batch = {
            "clips": clips_of([[logits[index]]]) if readable else torch.empty(0),
            "indices": [index] if readable else [],
            "errors": {} if readable else {index: "broken"},
        }
        scores.add(batch, MeanPixel(len(names)))
    return scores.result()


def test_scores_are_those_counted_by_hand():
    logits = [
        [9.0, 5.0, 4.0, 3.0, 2.0, 1.0],
        [9.0, 5.0, 4.0, 3.0, 2.0, 1.0],
        [1.0, 9.0, 4.0, 3.0, 2.0, 0.0],
        [0.0, 1.0, 2.0, 3.0, 4.0, 9.0],
    ]
    result = scores_of(logits, [0, 5, 1, 0])
    assert result.top1 == 0.5
    assert result.top5 == 0.5
    assert result.mean_class == pytest.approx((0.5 + 0.0 + 1.0) / 3)
    expected = torch.zeros(6, 6, dtype=torch.long)
    expected[0, 0] = expected[5, 0] = expected[1, 1] = expected[0, 5] = 1
    assert torch.equal(result.confusion, expected)
    assert result.names == ("v0", "v1", "v2", "v3")
    loss = nn.functional.cross_entropy(torch.tensor(logits), torch.tensor([0, 5, 1, 0])).item()
    assert result.loss == pytest.approx(loss)


def test_fewer_than_five_classes_are_all_in_the_top_five():
    result = scores_of([[1.0, 0.0, 2.0]], [1])
    assert (result.top1, result.top5) == (0.0, 1.0)


def test_a_video_that_cannot_be_read_counts_as_wrong_and_is_named():
    result = scores_of([[9.0, 0.0], None, [9.0, 0.0], [0.0, 9.0]], [0, 0, 0, 1])
    assert result.num_clips == 4
    assert (result.top1, result.top5) == (0.75, 0.75)
    assert result.mean_class == pytest.approx((2 / 3 + 1) / 2)
    assert dict(result.errors) == {"v1": "broken"}
    assert result.confusion.sum() == 3
    assert result.probabilities[1].sum() == 0
    assert result.num_correct == 3


def test_scores_become_json_with_the_interval():
    values = json.loads(json.dumps(scores_of([[9.0, 0.0], None], [0, 1]).to_dict()))
    assert values["top1"] == 0.5
    assert values["top1_interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    assert values["videos"][1] == {"name": "v1", "label": 1, "probabilities": [0.0, 0.0]}


@pytest.mark.parametrize(
    ("num_correct", "num_total", "low", "high"),
    # Wilson's formula without continuity correction, as tabulated by Newcombe 1998 (81/263, 15/148, 0/20, 1/29).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_has_published_values(num_correct, num_total, low, high):
    assert wilson_interval(num_correct, num_total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_is_symmetric_and_stays_inside():
    low, high = wilson_interval(20, 20)
    assert (1 - high, 1 - low) == pytest.approx(wilson_interval(0, 20))
    assert high == 1.0


@pytest.mark.parametrize(("num_correct", "num_total"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_impossible_counts(num_correct, num_total):
    with pytest.raises(ValueError, match="num_correct must lie"):
        wilson_interval(num_correct, num_total)


@pytest.fixture
def model():
    names = tuple(sorted({"moving left", "moving right", "moving up", "moving down", "approaching", "receding"}))
    names += ("turning clockwise", "turning counter-clockwise")
    spec = ClipSpec(num_frames=4, resize=32, crop=32, class_names=names)
    return randomize_(create_model("test_resnet", temporal="tsm", num_frames=4, num_classes=8, spec=spec))


def test_evaluation_does_not_depend_on_batches_or_workers(model, motion_root):
    samples = [sample for sample in read_samples(motion_root) if sample.split == "val"]
    views = grid_views(model.spec, num_clips=2)
    first = evaluate(model, samples, views=views, protocol="2 clips", batch_size=3)
    second = evaluate(model, samples, views=views, protocol="2 clips", batch_size=8, num_workers=1)
    torch.testing.assert_close(first.probabilities, second.probabilities)
    assert first.names == second.names == tuple(sample.name for sample in samples)
    assert first.protocol == "2 clips"
    assert first.num_clips == 8


def test_views_may_depend_on_the_video(model, motion_root):
    samples = [sample for sample in read_samples(motion_root) if sample.split == "val"]
    view = grid_views(model.spec)[0]
    plain = evaluate(model, samples, views=[view], protocol="plain").probabilities
    mixed = evaluate(
        model, samples, views=lambda index: [reversed_view(view) if index % 2 else view], protocol="mixed"
    ).probabilities
    torch.testing.assert_close(mixed[::2], plain[::2])
    assert not torch.isclose(mixed[1::2], plain[1::2]).all(dim=1).any()


def test_evaluation_goes_on_past_a_broken_file(model, motion_root, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    samples = [sample for sample in read_samples(motion_root) if sample.split == "val"]
    samples.insert(1, Sample(path=broken, class_name="receding", name="broken.mp4"))
    result = evaluate(model, samples, views=grid_views(model.spec), protocol="1", batch_size=4, num_workers=1)
    assert list(result.errors) == ["broken.mp4"]
    assert "broken.mp4" in result.errors["broken.mp4"]
    assert (result.num_clips, int(result.confusion.sum())) == (9, 8)


def test_evaluation_of_nothing_is_refused(model):
    with pytest.raises(ValueError, match="at least one video"):
        evaluate(model, [], views=grid_views(model.spec), protocol="1")


def test_a_model_of_one_class_can_be_scored():
    result = scores_of([[2.0], [3.0], None], [0, 0, 0])
    assert result.confusion.tolist() == [[2]]
    assert (result.top1, result.top5, result.mean_class) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
