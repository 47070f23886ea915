from __future__ import annotations

import io
import json
import re

import pytest
import torch
from rich.console import Console

from kinema.demo.config import DemoConfig
from kinema.demo.run import run_demo, share_of_partners
from kinema.demo.story import verdict
from kinema.engine.evaluate import Evaluation
from kinema.models.cost import Cost
from kinema.predict import Predictor
from kinema.report.comparison import Run

NAMES = ("moving left", "moving right", "moving up", "moving down")


def make_run(title, *, num_correct, num_clips=512):
    labels = torch.arange(num_clips) % len(NAMES)
    predicted = torch.where(torch.arange(num_clips) < num_correct, labels, labels ^ 1)
    evaluation = Evaluation(
        protocol="1 clip",
        class_names=NAMES,
        names=tuple(map(str, range(num_clips))),
        labels=labels,
        probabilities=torch.nn.functional.one_hot(predicted, len(NAMES)).float(),
        confusion=torch.zeros(len(NAMES), len(NAMES), dtype=torch.long),
        errors={},
        top1=num_correct / num_clips,
        top5=1.0,
        mean_class=num_correct / num_clips,
        loss=0.1,
    )
    cost = Cost(parameters=1, macs=1, activation_bytes=1, num_frames=8, size=64)
    return Run(title=title, color=0, evaluation=evaluation, orders=[], history=[], cost=cost, train_seconds=1.0)


def test_what_is_not_right_is_taken_for_the_partner_in_this_example():
    assert share_of_partners(make_run("STH", num_correct=384).evaluation) == pytest.approx(0.25)


def test_the_verdict_claims_a_difference_only_where_every_interval_lies_above_the_ceiling():
    blind, good = make_run("TSN", num_correct=204), make_run("STH", num_correct=505)
    poor = make_run("TSM", num_correct=270)
    told = verdict([blind, good])
    assert "STH names 98.6" in told
    assert "names 39.8" in told
    assert "makes the difference" in told
    told = verdict([blind, poor, good])
    assert "makes the difference" not in told
    assert "TSM 52.7" in told
    assert "Train longer" in told


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A run that is far too short to learn; it shows that all parts work together."""
    out = tmp_path_factory.mktemp("runs") / "demo"
    config = DemoConfig(
        out=str(out),
        num_train=16,
        num_val=16,
        frame_size=32,
        num_frames=4,
        epochs=1,
        batch_size=8,
        precision="32-true",
    )
    foreign = out / "sth" / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine", encoding="utf-8")
    printed = io.StringIO()
    return config, run_demo(config, console=Console(file=printed, width=160)), printed


@pytest.mark.slow
def test_the_page_shows_the_numbers_of_the_results(demo):
    _, result, _ = demo
    results = json.loads(result.results.read_text(encoding="utf-8"))
    page = result.report.read_text(encoding="utf-8").replace("\u00a0", " ")
    assert results["networks"].keys() == {"none", "tsm", "sth"}
    for network in results["networks"].values():
        assert f'<span class="label">{network["title"]}</span>' in page
        assert f'<span class="value">{100 * network["top1"]:.1f} %</span>' in page
        assert network["top1"] == network["orders"]["as filmed"]
    assert "://" not in re.sub(r"data:[\w/]+;base64,[\w+/=]+", "", page)
    assert page.count('<article class="clip">') == 8


@pytest.mark.slow
def test_pairs_make_the_scores_of_reversed_clips_follow_from_the_others(demo):
    _, result, _ = demo
    for run in result.runs.values():
        shares = {share.label: share.num_correct for share in run.orders}
        assert shares["in reverse, named by the partner class"] == shares["as filmed"]
    blind = {share.num_correct for share in result.runs["none"].orders[:2] + result.runs["none"].orders[3:]}
    assert len(blind) == 1


@pytest.mark.slow
def test_every_layer_of_sth_is_recorded_and_its_weights_add_up_to_two(demo):
    _, result, _ = demo
    results = json.loads(result.results.read_text(encoding="utf-8"))
    attention = results["networks"]["sth"]["attention"]
    assert len(attention) == 7
    assert all(layer["alpha_t"] + layer["alpha_s"] == pytest.approx(2.0) for layer in attention.values())
    assert results["networks"]["tsm"]["attention"] == {}


@pytest.mark.slow
def test_the_next_command_names_files_that_are_there(demo):
    config, result, printed = demo
    weights, video = re.search(r"kinema predict (\S+) '(.+)'", printed.getvalue()).groups()
    prediction = Predictor(weights).predict(video)
    assert len(prediction.probabilities) == 8
    assert str(result.report) in printed.getvalue()
    assert config.out in weights


@pytest.mark.slow
def test_a_second_run_gives_the_same_numbers_and_leaves_foreign_files(demo):
    config, result, _ = demo
    before = json.loads(result.results.read_text(encoding="utf-8"))
    made = (result.report.parent / "data" / "motion.json").stat().st_mtime_ns
    run_demo(config, console=Console(file=io.StringIO()))
    after = json.loads(result.results.read_text(encoding="utf-8"))
    for name, network in before["networks"].items():
        for key in ("top1", "loss", "orders", "confusion", "attention"):
            assert after["networks"][name][key] == network[key]
    assert (result.report.parent / "data" / "motion.json").stat().st_mtime_ns == made
    assert (result.report.parent / "sth" / "notes.txt").read_text(encoding="utf-8") == "mine"
