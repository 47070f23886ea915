"""Fusion of scored networks, on scores made by hand."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from kinema.cli import main
from kinema.engine.fuse import compare_paired, fuse, read_evaluation

CLASSES = ("jump", "run", "walk")
FRAMES = {
    "a/1.mp4": (0, [0.5, 0.3, 0.2]),
    "a/2.mp4": (0, [0.2, 0.5, 0.3]),
    "b/3.mp4": (1, [0.1, 0.3, 0.6]),
    "c/4.mp4": (2, [0.6, 0.1, 0.3]),
}
FLOW = {
    "c/4": (0, [0.7, 0.2, 0.1]),
    "a/1": (2, [0.35, 0.45, 0.2]),
    "b/3": (1, [0.1, 0.8, 0.1]),
    "a/2": (2, [0.25, 0.25, 0.5]),
}
"""Of classes in another order: walk, run, jump."""


def write(path, videos, classes=CLASSES, errors=(), protocol="1 clip, centre crop"):
    values = {
        "protocol": protocol,
        "class_names": list(classes),
        "errors": {name: f"{name}: it is broken" for name in errors},
        "videos": [{"name": name, "label": label, "probabilities": row} for name, (label, row) in videos.items()],
    }
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "rgb.json", FRAMES), write(tmp_path / "flow.json", FLOW, classes=CLASSES[::-1])


def fused(*files, weights=None):
    return fuse([read_evaluation(file) for file in files], weights)


def test_videos_and_classes_are_brought_together_by_name_and_probabilities_are_averaged(files):
    fusion = fused(*files)

    one, two = fusion.singles
    assert one.names == two.names == fusion.fused.names == tuple(FRAMES)
    assert one.class_names == two.class_names == CLASSES
    assert one.labels.tolist() == two.labels.tolist() == [0, 0, 1, 2]
    torch.testing.assert_close(
        two.probabilities, torch.tensor([[0.2, 0.45, 0.35], [0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]])
    )
    torch.testing.assert_close(
        fusion.fused.probabilities,
        torch.tensor([[0.35, 0.375, 0.275], [0.35, 0.375, 0.275], [0.1, 0.55, 0.35], [0.35, 0.15, 0.5]]),
    )


def test_weights_move_the_mean(files):
    probabilities = fused(*files, weights=[1.0, 3.0]).fused.probabilities

    torch.testing.assert_close(probabilities[0], torch.tensor([0.275, 0.4125, 0.3125]))
    torch.testing.assert_close(fused(*files, weights=[2.0, 6.0]).fused.probabilities, probabilities)
    alone = fused(*files, weights=[0.0, 2.0])
    torch.testing.assert_close(alone.fused.probabilities, alone.singles[1].probabilities)


def test_scores_are_those_of_the_single_ones_and_of_the_mean(files):
    fusion = fused(*files, weights=[1.0, 1.5])

    # Right in order of the videos: frames 1 0 0 0, flow 0 1 1 1; together 0.32 0.39 0.29 | 0.38 0.35 0.27 | run | walk.
    assert [one.top1 for one in fusion.singles] == [0.25, 0.75]
    assert [one.mean_class for one in fusion.singles] == pytest.approx([0.5 / 3, 2.5 / 3])
    assert (fusion.fused.top1, fusion.fused.top5, fusion.best) == (0.75, 1.0, 1)
    assert fusion.gain.mean == 0.0
    assert fusion.singles[1].confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_three_can_be_fused_and_what_was_fused_can_be_again(files, tmp_path):
    three = fused(*files, files[1], weights=[1.0, 0.75, 0.75])
    (tmp_path / "fused.json").write_text(json.dumps(three.to_dict()))

    again = fused(tmp_path / "fused.json", files[0], weights=[1.0, 0.0])

    torch.testing.assert_close(three.fused.probabilities, fused(*files, weights=[1.0, 1.5]).fused.probabilities)
    torch.testing.assert_close(again.fused.probabilities, three.fused.probabilities)
    assert three.fused.protocol == "1 clip, centre crop, fused 1 : 0.75 : 0.75"


def test_a_video_that_one_could_not_read_counts_as_wrong(tmp_path):
    frames = write(tmp_path / "rgb.json", {**FRAMES, "b/3.mp4": (1, [0.0, 0.0, 0.0])}, errors=["b/3.mp4"])
    flow = write(tmp_path / "flow.json", FLOW, classes=CLASSES[::-1])

    fusion = fused(frames, flow, weights=[0.0, 1.0])

    assert fusion.fused.errors == {"b/3.mp4": "b/3.mp4: it is broken"}
    assert (fusion.singles[1].top1, fusion.fused.top1) == (0.75, 0.5)
    assert fusion.gain.mean == -0.25
    reverse = fused(flow, frames, weights=[1.0, 0.0])
    assert reverse.fused.errors == {"b/3": "b/3.mp4: it is broken"}


def test_the_bootstrap_is_that_of_resampled_videos(tmp_path):
    rng = np.random.default_rng(1)
    outcomes = rng.random((2, 60)) < np.array([[0.8], [0.6]])
    rows = [
        {f"{number}": (0, [0.9, 0.1, 0.0] if right else [0.1, 0.9, 0.0]) for number, right in enumerate(one)}
        for one in outcomes
    ]
    one, two = (read_evaluation(write(tmp_path / f"{number}.json", videos)) for number, videos in enumerate(rows))

    difference = compare_paired(one, two)

    gains = outcomes[0].astype(int) - outcomes[1].astype(int)
    resampled = [gains[rng.integers(0, 60, 60)].mean() for _ in range(10_000)]
    assert difference.mean == pytest.approx(gains.mean())
    # Quantiles of 10,000 draws of sixtieths: the two may be one step apart.
    assert difference.interval == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=1 / 60 + 1e-9)
    assert compare_paired(one, one).interval == (0.0, 0.0)


def test_the_command_prints_each_and_all(files, tmp_path, capsys):
    arguments = ["fuse", *map(str, files), "--weights", "1", "1.5", "--json", str(tmp_path / "out.json")]

    assert main(arguments) == 0

    printed = capsys.readouterr().out
    for words in ("4 videos of 3 classes", "1 clip, centre crop", "25.0%", "75.0%", "all together", "1.5"):
        assert words in printed, words
    values = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [one["weight"] for one in values["fused"]] == [1.0, 1.5]
    assert [one["top1"] for one in values["fused"]] == [0.25, 0.75]
    assert values["gain"]["over"] == 1


def test_weights_may_stand_anywhere(files, capsys):
    for words in itertools.permutations([["--weights", "1", "1.5"], [str(files[0]), str(files[1])]]):
        assert main(["fuse", *itertools.chain(*words)]) == 0
    assert main(["fuse", *map(str, files), "--weights", "1"]) == 2
    assert "weights must be 2, one for each file, got (1.0,)" in capsys.readouterr().err


def test_the_command_names_what_was_not_read_and_fails(tmp_path, capsys):
    files = [write(tmp_path / f"{name}.json", FRAMES, errors=["a/1.mp4"][:number]) for number, name in enumerate("ab")]

    assert main(["fuse", *map(str, files)]) == 1

    assert capsys.readouterr().err == "kinema: a/1.mp4 counts as wrong: a/1.mp4: it is broken\n"


@pytest.mark.parametrize(
    ("videos", "classes", "sentence"),
    [
        (
            {**{name: FLOW[name] for name in list(FLOW)[1:]}, "d/5": (0, [1, 0, 0])},
            CLASSES[::-1],
            r"videos must be the same in all files \(4 and 4\), got 'c/4, d/5 in one alone'",
        ),
        (FLOW, ("walk", "run", "hop"), "classes must be the same in all files, got 'hop, jump in one alone'"),
        (
            {**FLOW, "b/3": (0, [0, 0, 1])},
            CLASSES[::-1],
            r"label of b/3\.mp4 must be the same in all files, got 'run and walk'",
        ),
        (
            {**FLOW, "b/3.avi": (1, [0, 0, 1])},
            CLASSES[::-1],
            "names of videos must differ by more than their extension",
        ),
    ],
)
def test_scores_of_other_videos_labels_or_classes_are_refused(videos, classes, sentence, files, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        fused(files[0], write(tmp_path / "other.json", videos, classes=classes))


@pytest.mark.parametrize(
    "weights", [[1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")], [1.0, 1.0, 1.0]]
)
def test_weights_that_are_none_are_refused(weights, files):
    with pytest.raises(ValueError, match="weights must be"):
        fused(*files, weights=weights)


def test_one_file_is_not_enough(files):
    with pytest.raises(ValueError, match="evaluations must be at least two, got 1"):
        fused(files[0])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r"must be a file of kinema evaluate --json, got another one \(JSONDecodeError"),
        ("[]", "must be a file of kinema evaluate --json, got another one"),
        ('{"top1": 1}', r"must be a file of kinema evaluate --json, got another one \(KeyError: 'videos'\)"),
        (
            '{"protocol": "p", "class_names": ["a", "b"], "errors": {}, "videos": []}',
            "must name at least one video, and each once, got 0",
        ),
        (
            '{"protocol": "p", "class_names": ["a"], "errors": {}, "videos": [{"name": "v", "label": 1, '
            '"probabilities": [1]}]}',
            "v must have 1 probabilities and a label, got 1",
        ),
        (
            '{"protocol": "p", "class_names": ["a"], "errors": {}, "videos": [{"name": "v", "label": 0, '
            '"probabilities": [NaN]}]}',
            r"v must have finite probabilities, got \[nan\]",
        ),
        (
            '{"protocol": "p", "class_names": ["a"], "errors": {}, "videos": [{"name": "v", "label": 0, '
            '"probabilities": ["x"]}]}',
            "must be a file of kinema evaluate --json",
        ),
    ],
)
def test_another_file_is_refused(text, sentence, tmp_path):
    (tmp_path / "scores.json").write_text(text)

    with pytest.raises(ValueError, match=sentence):
        read_evaluation(tmp_path / "scores.json")


def test_several_classes_a_video_are_refused(tmp_path):
    values = {"protocol": "p", "class_names": ["a", "b"], "errors": {}}
    values["videos"] = [{"name": "v", "labels": [0, 1], "probabilities": [0.9, 0.8]}]
    (tmp_path / "scores.json").write_text(json.dumps(values))

    with pytest.raises(ValueError, match="must hold one class a video, got 'several'"):
        read_evaluation(tmp_path / "scores.json")


def test_a_missing_file_is_named(tmp_path, capsys):
    missing = tmp_path / "no.json"

    assert main(["fuse", str(missing), str(missing)]) == 1

    assert f"{missing}: there is no such file; write it with kinema evaluate" in capsys.readouterr().err
