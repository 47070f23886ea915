"""Videos that show several classes: targets, loss, mean average precision, and a whole run on a few of them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

from kinema.cli import main
from kinema.data.annotations import Sample, Source, read_annotations
from kinema.data.dataset import TrainingClips, multi_hot
from kinema.data.mirror import find_mirrors
from kinema.data.split.samples import split_samples
from kinema.data.views import Augmentation
from kinema.engine.evaluate import Scores, predict_views
from kinema.engine.fingerprint import hash_data
from kinema.engine.multi_label import average_precisions, multi_label_loss
from kinema.engine.recipe import ClipRecipe, DataRecipe, ModelRecipe, OptimizerRecipe, Recipe, TrainerRecipe
from kinema.engine.training.train import train
from kinema.models.classifier import create_model
from kinema.models.weights import load_model, save_model
from kinema.report.results import read_results
from kinema.spec import ClipSpec

NAMES = ("turn left", "turn right", "walk", "look left")


def precision_by_hand(scores, shown):
    """Mean, over the videos of a class, of the part of the videos ranked no lower that are of the class too."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    hits, parts = 0, []
    for rank, index in enumerate(order, start=1):
        if shown[index]:
            hits += 1
            parts.append(hits / rank)
    return sum(parts) / len(parts)


def test_average_precision_is_the_mean_of_the_precision_at_each_video():
    rng = np.random.default_rng(0)
    scores, shown = rng.permutation(40).reshape(10, 4) / 40, rng.random((10, 4)) < 0.4
    shown[:, 3] = False
    expected = [precision_by_hand(scores[:, k], shown[:, k]) for k in range(3)]
    found = average_precisions(torch.tensor(scores), torch.tensor(shown))
    assert found[:3] == pytest.approx(expected)
    assert found[3] is None


def test_the_loss_asks_each_class_by_itself():
    logits, targets = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0]])
    by_hand = -(torch.sigmoid(torch.tensor(2.0)).log() + torch.sigmoid(torch.tensor(1.0)).log()) / 2
    torch.testing.assert_close(multi_label_loss(logits, targets), by_hand)


def test_targets_are_one_for_each_class_of_a_video():
    assert multi_hot([(0, 2), (), (1,)], num_classes=3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


class FirstPixels(torch.nn.Module):
    """Logits are the first two pixels of a clip; the spec says how they become probabilities."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec

    def forward(self, clip):
        return clip.flatten(1)[:, :2]


def test_probabilities_are_the_sigmoid_of_the_mean_logits_where_the_spec_says_so():
    clips = torch.tensor([[[0.0, 4.0], [2.0, 0.0]]])[:, :, None, None, None, :]  # [1, 2, 1, 1, 1, 2]
    spec = ClipSpec(class_names=("a", "b"), multi_label=True)
    torch.testing.assert_close(predict_views(FirstPixels(spec), clips), torch.sigmoid(torch.tensor([[1.0, 2.0]])))
    alone = replace(spec, multi_label=False)
    torch.testing.assert_close(
        predict_views(FirstPixels(alone), clips), torch.softmax(torch.tensor([[1.0, 2.0]]), dim=1)
    )


def clips_of(sets, *, mirror):
    samples = [Sample(path=Path(f"{n}.mp4"), class_name=names[0], also=names[1:]) for n, names in enumerate(sets)]
    spec = ClipSpec(class_names=NAMES, multi_label=True)
    return TrainingClips(
        samples, spec=spec, augmentation=Augmentation(mirror=mirror), mirrors=find_mirrors(NAMES), seed=0
    )


@pytest.mark.parametrize(
    ("shown", "expected", "mirrored"),
    [
        (("turn left", "walk"), {"turn right", "walk"}, True),
        (("walk",), {"walk"}, True),
        (("turn left", "turn right"), {"turn left", "turn right"}, True),
        (("turn left", "look left"), {"turn left", "look left"}, False),
    ],
)
def test_a_flip_exchanges_every_label_or_is_left_out(shown, expected, mirrored):
    view, labels = clips_of([shown], mirror=1.0).draw_set(0, 0)
    assert ({NAMES[label] for label in labels}, view.mirrored) == (expected, mirrored)


def scored(rows, sets, *, errors=()):
    samples = [
        Sample(path=Path(f"{n}.mp4"), class_name="abc"[labels[0]], also=tuple("abc"[label] for label in labels[1:]))
        for n, labels in enumerate(sets)
    ]
    scores = Scores(samples, class_names="abc", protocol="test", multi_label=True)
    scores.rows = {n: torch.tensor(row) for n, row in enumerate(rows) if row is not None}
    scores.errors = {n: "torn" for n, row in enumerate(rows) if row is None}
    return scores.result()


def test_scores_of_videos_with_several_classes():
    rows = [[0.9, 0.2, 0.8], [0.4, 0.3, 0.5], [0.6, 0.7, 0.1], None]
    sets = [(0, 2), (0,), (2, 1), (0,)]
    evaluation = scored(rows, sets)
    a = (1 / 1 + 2 / 3 + 3 / 4) / 3  # ranked 0.9 (yes), 0.6 (no), 0.4 (yes), unreadable (yes)
    b, c = 1.0, (1 / 1 + 2 / 3) / 2
    assert evaluation.average_precision == pytest.approx((a, b, c))
    assert evaluation.mean_average_precision == evaluation.score == pytest.approx((a + b + c) / 3)
    assert (evaluation.top1, evaluation.top5) == (0.5, 0.75)
    readable = torch.tensor(rows[:3])
    by_hand = F.binary_cross_entropy(readable, multi_hot(sets[:3], num_classes=3))
    assert evaluation.loss == pytest.approx(by_hand.item())
    written = json.loads(json.dumps(evaluation.to_dict()))
    assert [video["labels"] for video in written["videos"]] == [[0, 2], [0], [2, 1], [0]]
    assert written["average_precision"] == pytest.approx({"a": a, "b": b, "c": c})
    assert written["mean_average_precision"] == pytest.approx((a + b + c) / 3)


def test_a_split_gives_both_sides_something_of_every_class():
    both = [Sample(path=Path(f"{n}.mp4"), class_name="a", also=("b",)) for n in range(2)]
    rest = [Sample(path=Path(f"{n}.mp4"), class_name="a") for n in range(2, 20)]
    for seed in range(5):
        train_part, val_part = split_samples([*both, *rest], val_fraction=0.2, seed=seed)
        for part in (train_part, val_part):
            assert {name for sample in part for name in sample.class_names} == {"a", "b"}


def test_the_hash_of_data_knows_further_classes(tmp_path):
    (tmp_path / "1.mp4").touch()
    samples = [Sample(path=tmp_path / "1.mp4", class_name="a", also=also) for also in ((), ("b",), ("c",))]
    assert len({hash_data([sample]) for sample in samples}) == 3


@pytest.fixture(scope="module")
def labels_csv(motion_root, tmp_path_factory):
    """The motion clips with a second class each: whether something moves sideways, up and down, or else."""
    videos = read_annotations(Source(root=motion_root)).samples
    kinds = {"left": "sideways", "right": "sideways", "up": "upright", "down": "upright"}
    rows = [
        f"{video.name},{video.class_name}; {kinds.get(video.class_name.split()[-1], 'other')},{video.split}"
        for video in videos
    ]
    path = tmp_path_factory.mktemp("lists") / "all.csv"
    path.write_text("\n".join(["path,labels,split", *rows]))
    return path


@pytest.fixture(scope="module")
def finished(motion_root, labels_csv, tmp_path_factory):
    """A finished run, with what it printed."""
    console = Console(file=io.StringIO(), width=200)
    recipe = Recipe(
        out=str(tmp_path_factory.mktemp("runs") / "several"),
        data=DataRecipe(root=str(motion_root), annotations=str(labels_csv), num_workers=0),
        clip=ClipRecipe(num_frames=4, resize=32, crop=32),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False),
        optimizer=OptimizerRecipe(learning_rate=3e-3),
        trainer=TrainerRecipe(epochs=2, batch_size=8),
    )
    return train(recipe, console=console), console.file.getvalue()


def test_a_run_on_several_classes_is_judged_by_mean_average_precision(finished):
    result, printed = finished
    with (result.last.parent / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "held-out mAP" in printed
    assert "mean average precision" in printed
    chosen = max(rows, key=lambda row: (float(row["val_map"]), -float(row["val_loss"])))
    assert (result.best_epoch, result.best_score) == (
        int(chosen["epoch"]),
        pytest.approx(float(chosen["val_map"]), abs=1e-6),
    )
    assert result.held_out.mean_average_precision == pytest.approx(float(rows[-1]["val_map"]), abs=1e-6)


def test_the_weights_of_such_a_run_are_evaluated_and_predict(finished, motion_root, labels_csv, tmp_path, capsys):
    result, _ = finished
    assert load_model(result.last).spec.multi_label
    file = tmp_path / "scores.json"
    words = [f"--data.root={motion_root}", f"--data.annotations={labels_csv}", "--data.num_workers=0", "--split=val"]
    assert main(["evaluate", str(result.last), *words, f"--json={file}"]) == 0
    printed = capsys.readouterr().out
    assert "mean average precision" in printed
    assert "top-1" not in printed
    scores = json.loads(file.read_text())
    assert scores["mean_average_precision"] == pytest.approx(result.held_out.mean_average_precision, abs=1e-6)
    assert all(len(video["labels"]) == 2 for video in scores["videos"])
    note = read_results(file, class_names=scores["class_names"]).notes[0]
    assert note.startswith("a video may show several classes: mean average precision is")
    video = motion_root / scores["videos"][0]["name"]
    assert main(["predict", str(result.last), str(video), "--json", "--top=11"]) == 0
    top = json.loads(capsys.readouterr().out)["top"]
    expected = dict(zip(scores["class_names"], scores["videos"][0]["probabilities"], strict=True))
    assert {each["class_name"]: each["probability"] for each in top} == pytest.approx(expected, abs=1e-5)
    probabilities = [each["probability"] for each in top]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) != pytest.approx(1.0, abs=1e-3)


def test_weights_of_one_class_a_video_are_refused_for_data_of_several(motion_root, labels_csv, tmp_path, capsys):
    model = create_model("test_resnet", num_frames=4, num_classes=2, pretrained=False)
    model.spec = replace(model.spec, class_names=("a", "b"))
    save_model(tmp_path / "one.safetensors", model)
    words = [f"--data.root={motion_root}", f"--data.annotations={labels_csv}"]
    assert main(["evaluate", str(tmp_path / "one.safetensors"), *words]) == 2
    assert "trained on videos of several classes" in capsys.readouterr().err


def test_specs_of_old_files_have_one_class_a_video():
    old = json.loads(ClipSpec(class_names=("a",)).to_json())
    del old["multi_label"]
    assert not ClipSpec.from_json(json.dumps(old)).multi_label
    with pytest.raises(ValueError, match="multi_label must be true or false, got 'yes'"):
        ClipSpec(multi_label="yes")
