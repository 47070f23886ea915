from __future__ import annotations

import pytest
import torch

from kinema.engine.evaluate import Evaluation, wilson_interval
from kinema.models.cost import Cost
from kinema.report.comparison import (
    Run,
    Share,
    accuracy_chart,
    choose_clips,
    confusion_charts,
    cost_table,
    curve_charts,
)

NAMES = ("left", "right")


def make_run(title, predictions, *, labels, confidence=None, color=0):
    """A run that gave each clip a label, with a confidence."""
    confidence = confidence or [0.9] * len(labels)
    probabilities = torch.zeros(len(labels), len(NAMES))
    confusion = torch.zeros(len(NAMES), len(NAMES), dtype=torch.long)
    for row, (label, predicted, sure) in enumerate(zip(labels, predictions, confidence, strict=True)):
        probabilities[row] = 1 - sure
        probabilities[row, predicted] = sure
        confusion[label, predicted] += 1
    top1 = sum(label == predicted for label, predicted in zip(labels, predictions, strict=True)) / len(labels)
    evaluation = Evaluation(
        protocol="1 clip",
        class_names=NAMES,
        names=tuple(f"clip {row}" for row in range(len(labels))),
        labels=torch.tensor(labels),
        probabilities=probabilities,
        confusion=confusion,
        errors={},
        top1=top1,
        top5=1.0,
        mean_class=top1,
        loss=0.1,
    )
    return Run(
        title=title,
        color=color,
        evaluation=evaluation,
        orders=[Share(label="as filmed", num_correct=evaluation.num_correct, num_clips=len(labels))],
        history=[{"epoch": 0, "val_top1": 0.25, "val_loss": 2.0}, {"epoch": 1, "val_top1": top1, "val_loss": 1.0}],
        cost=Cost(parameters=372_000, macs=130_000_000, activation_bytes=1, num_frames=8, size=64),
        train_seconds=40.0 if title == "TSN" else 60.0,
    )


@pytest.fixture
def runs():
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    blind = make_run("TSN", [0, 1, 0, 1, 0, 1, 0, 1], labels=labels)
    sure = [0.9, 0.8, 0.7, 0.99, 0.6, 0.95, 0.85, 0.75]
    return [blind, make_run("STH", [0, 0, 0, 1, 0, 1, 1, 1], labels=labels, confidence=sure, color=2)]


def test_a_share_has_the_interval_of_its_counts():
    share = Share(label="x", num_correct=3, num_clips=4)
    assert share.value == 0.75
    assert share.interval == wilson_interval(3, 4)


def test_the_surest_errors_of_the_last_run_come_first_then_clips_of_each_class_in_turn(runs):
    # STH errs at 3 (sure 0.99) and 4 (0.6); the runs differ at 1, 6 (only STH is right) and 3, 4 are wrong for both.
    assert choose_clips(runs, limit=4) == [3, 1, 6, 0]
    assert choose_clips(runs, limit=8)[:2] == [3, 4]


def test_clips_are_chosen_once_and_no_more_than_there_are(runs):
    assert sorted(choose_clips(runs, limit=100)) == list(range(8))


def test_unreadable_clips_are_not_shown(runs):
    runs[-1].evaluation.probabilities[3] = 0.0
    assert 3 not in choose_clips(runs, limit=100)


def test_charts_say_the_numbers_of_the_runs(runs):
    assert "TSN: 50.0" in accuracy_chart(runs).alt
    assert "STH: 75.0" in accuracy_chart(runs).alt
    assert "STH goes from 25.0" in curve_charts(runs).charts[0].alt
    assert [chart.alt.split(".")[0] for chart in confusion_charts(runs).charts] == ["TSN", "STH"]


def test_the_cost_table_sets_training_times_against_the_first_run(runs):
    rows = cost_table(runs).rows
    assert rows[0][:4] == ["TSN", "0.372 M", "0.130 G", "40 s"]
    assert rows[1][-1].startswith("1.50")
