"""The benchmark scripts measure what they say, and the tables in the pages are those of the results."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

from counting import write_counting_video
from kinema.data.annotations import Sample
from kinema.models.classifier import create_model
from kinema.models.weights import save_model

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
MEMORY = {"peak_bytes": 100, "ratio": 1.25}
STEP = {"min_ms": 9.0, "median_ms": 10.4, "ratio_of_min": 1.1, "median_ratio": 1.5, "memory": MEMORY}
NUMBERS = {"parameters": 2_000_000, "macs": 3_000_000_000, "train_step": STEP, "forward": STEP}
NUMBERS["saved"] = {"bytes": 40, "ratio": 1.08}
RESULT = {
    "kind": "train_step",
    "machine": {"cpu": "a processor", "cores": 2, "gpu": None, "system": "Linux"},
    "versions": {"python": "3.11", "torch": "2.11"},
    "commit": "0123456789abcdef",
    "settings": {
        "backbone": "resnet18",
        "networks": ["none", "sth"],
        "num_frames": 8,
        "size": 112,
        "batch_size": 4,
        "repeats": 3,
    },
    "networks": {"none": NUMBERS, "sth": NUMBERS},
}


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def test_every_network_is_measured_and_the_first_is_the_reference(scripts):
    settings = import_module("step_settings").StepSettings(
        backbone="test_resnet",
        networks=("none", "sth"),
        size=32,
        num_frames=2,
        batch_size=1,
        num_classes=3,
        repeats=3,
        threads=1,
        device="cpu",
    )
    assert type(settings).from_json(settings.to_json()) == settings
    measured = import_module("step_worker").measure_time(settings)
    assert list(measured) == ["none", "sth"]
    for numbers in measured.values():
        assert numbers["macs"] > 0
        assert numbers["saved"]["bytes"] > 0
        for step in ("train_step", "forward"):
            assert 0 < numbers[step]["min_ms"] <= numbers[step]["median_ms"]
    assert measured["none"]["forward"]["median_ratio"] == measured["none"]["train_step"]["ratio_of_min"] == 1


@pytest.mark.parametrize(
    ("network", "temporal", "options"),
    [
        ("none", "none", {}),
        ("sth:fusion=sum", "sth", {"fusion": "sum"}),
        ("sth:fraction=0.5,way=plain", "sth", {"fraction": 0.5, "way": "plain"}),
    ],
)
def test_a_network_may_have_options(scripts, network: str, temporal: str, options: dict[str, object]):
    assert import_module("step_settings").read_network(network) == (temporal, options)


def test_what_a_network_keeps_is_counted_once(scripts):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False), torch.nn.ReLU(), torch.nn.Flatten())
    clip, label = torch.randn(2, 4), torch.tensor([0, 1])

    # the input 2 x 4, the ReLU's output 2 x 3, logarithms of the probabilities 2 x 3, two labels, the sum of weights
    assert import_module("step_worker").saved_bytes(model, clip, label) == 4 * (8 + 6 + 6 + 1) + 8 * 2


def test_a_ratio_is_taken_round_by_round(scripts):
    result = import_module("step_worker").with_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0])
    assert result == {"min_ms": 2000.0, "median_ms": 4000.0, "ratio_of_min": 2.0, "median_ratio": 2.0}


def test_a_result_says_where_it_was_measured(scripts, tmp_path, monkeypatch):
    record = import_module("record")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    path = record.write_result("name", kind="import_time", settings={}, gpu=None, commands={})
    result = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "name.json"
    assert result["machine"]["cores"] >= 1
    assert result["versions"].keys() >= {"kinema", "torch"}


def test_a_page_gets_the_tables_of_its_kinds(scripts):
    fill = import_module("table").fill
    page = (
        "before\n<!-- table:train_step -->\nold\n<!-- /table -->\n<!-- table:import_time -->\n<!-- /table -->\nafter\n"
    )
    filled = fill(page, [RESULT])
    assert "old" not in filled
    assert "| `sth` | 2.00 | 3.00 | x 1.50 | x 1.50 | x 1.08 | x 1.25 | x 1.25 |  |" in filled
    assert "a processor, 2 cores; Python 3.11, torch 2.11; commit 0123456789ab" in filled
    assert "Not measured yet: `python benchmarks/import_time.py`." in filled
    assert fill(filled, [RESULT]) == filled
    assert filled.startswith("before\n")
    assert filled.endswith("after\n")


def test_every_layer_is_trained_on_the_motions_and_scored(scripts, tmp_path, capsys):
    script = import_module("motion_layers")
    config = script.DemoConfig(out=str(tmp_path), num_train=8, num_val=8, frame_size=32, epochs=1, batch_size=8)
    script.make_motion_dataset(tmp_path / "data", config.motion(), quiet=True)

    numbers = script.measure("sth:fusion=sum", config)

    assert 0 <= numbers["top1"] <= 1
    assert numbers["top1_interval"][0] <= numbers["top1"] <= numbers["top1_interval"][1]
    assert "sth:fusion=sum" in capsys.readouterr().out
    assert "attention" not in (tmp_path / "sth_fusion=sum" / "recipe.yaml").read_text().partition("options:")[2]
    result = {**RESULT, "kind": "motion_layers", "settings": vars(config), "networks": {"sth:fusion=sum": numbers}}
    table = import_module("table").fill("<!-- table:motion_layers -->\n<!-- /table -->\n", [result])
    assert table.count("| `sth:fusion=sum` |") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what memory is shared")
def test_a_long_list_is_measured(scripts, tmp_path, monkeypatch):
    script = import_module("million_rows")
    for name, value in (
        ("NUM_FILES", 2),
        ("FEW_ROWS", 40),
        ("NUM_CLASSES", 4),
        ("BATCHES", 1),
        ("CONTEXTS", ("fork",)),
    ):
        monkeypatch.setattr(script, name, value)

    numbers = script.measure(tmp_path, num_rows=1500)

    assert all(step["seconds"] > 0 and step["peak_mb"] >= step["held_mb"] for step in numbers["main"].values())
    result = {**RESULT, "kind": "million_rows", "settings": {"rows": 1500, "few_rows": 40, "workers": 2}, **numbers}
    table = import_module("table").fill("<!-- table:million_rows -->\n<!-- /table -->\n", [result])
    assert "A CSV of 1,500 rows, 2 workers;" in table
    assert "| read the list |" in table
    assert "| fork |" in table


def test_the_tables_in_the_pages_are_those_of_the_results():
    run = subprocess.run([sys.executable, str(FOLDER / "table.py"), "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_reader_that_is_one_frame_off_is_no_rival(scripts):
    decode = import_module("decode")
    truth = [np.full((4, 4, 3), 10 * number, np.uint8) for number in range(16)]
    middles = [1, 3, 5, 7, 9, 11, 13, 15]
    right = np.stack([truth[number] + 2 for number in middles])  # rounded otherwise, and still the right ones
    assert decode.misses(right, truth) == []
    assert decode.misses(np.stack([*right[:3], truth[6], *right[4:]]), truth) == [7]
    times = {"kinema": 3.0, "kinema, cached index": 2.0, "hasty": 1.0, "slow": 6.0, "steady": 4.0}
    summaries = {name: {"min_ms": value, "median_ms": 9.0} for name, value in times.items()}
    found = decode.ratios(summaries, {"hasty": [7]})
    assert found == {"rival": "steady", "kinema": 0.75, "kinema, cached index": 0.5}
    settings = {"num_sampled": 8, "num_frames": 300, "repeats": 7, "clock": "wall", "absent": {"lame": "not there"}}
    file = {"codec": "H.264", "distance": 12, "ratios": found, "wrong": {"hasty": [7]}}
    table = import_module("table").decode_table({**RESULT, "settings": settings, "files": [file, file]})
    assert "| H.264 | 12 | x 0.75 | x 0.50 | steady | hasty |" in table
    assert "lame could not be used" in table


def test_files_to_decode_have_the_keyframes_asked_for(scripts, tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_CACHE", "off")
    files = import_module("decode_files")
    gray = VideoFrame.from_ndarray(np.full((240, 320, 3), 99, np.uint8), format="rgb24")
    gray = gray.reformat(format="yuv420p", threads=1)
    files.encode([gray] * 30, tmp_path / "a.mp4", files.CODECS["H.264"], distance=12)
    with av.open(str(tmp_path / "a.mp4")) as container:
        keys = [packet.pts * packet.time_base for packet in container.demux(video=0) if packet.is_keyframe]
    assert [30 * time for time in keys] == [0, 12, 24]
    readers, absent = import_module("decode_contenders").contenders(tmp_path / "a.mp4")
    assert {"kinema", "kinema, cached index"} <= readers.keys()
    assert readers["kinema"](tmp_path / "a.mp4").shape == (8, 240, 320, 3)
    assert not readers.keys() & absent.keys()


def test_the_loader_is_laid_out_beside_the_decoders():
    settings = {"num_files": 200, "num_frames": 8, "num_workers": 2, "repeats": 3}
    rates = {"decoders": [10.0, 12.0, 11.0], "loader": [9.0, 11.0, 10.5]}
    text = import_module("table").loader_table({**RESULT, "settings": settings, "rates": rates, "ratio": 0.917})
    assert "| decoders | 11.0 | 10.0 | 12.0 |" in text
    assert "| loader / decoders | x 0.92 | | |" in text


def test_the_training_loop_takes_turns_with_a_bare_one(scripts, tmp_path):
    script = import_module("loop_overhead")
    settings = script.LoopSettings(backbone="test_resnet", size=32, num_frames=2, batch_size=2, steps=4, epochs=3)

    clocks = script.measure(settings, tmp_path)

    assert [len(script.InTurns.seconds[who]["wall"]) for who in ("ours", "bare")] == [4, 4]  # one to warm up
    for numbers in clocks.values():
        assert numbers["ours_ms"] > 0
        assert numbers["bare_ms"] > 0
        assert numbers["ratio_low"] <= numbers["ratio"] <= numbers["ratio_high"]
    result = {**RESULT, "kind": "loop_overhead", "settings": vars(settings), "clocks": clocks}
    table = import_module("table").fill("<!-- table:loop_overhead -->\n<!-- /table -->\n", [result])
    assert "tsm on test_resnet, 2 frames of 32 x 32, 2 clips a batch, 32-true, 3 rounds of 4 steps; " in table
    assert "| processor time | " in table


def test_the_ratio_of_loops_is_that_of_neighbouring_epochs(scripts):
    compared = import_module("loop_overhead").compare([2.2, 1.1, 4.4], [2.0, 1.0, 4.0])
    assert compared["ratio"] == pytest.approx(1.1)
    assert compared["beyond_ms"] == pytest.approx(200)
    assert (compared["ours_ms"], compared["bare_ms"]) == pytest.approx((2200, 2000))


def test_the_caches_of_frames_are_measured_and_laid_out(scripts, tmp_path):
    write_counting_video(tmp_path / "a.mp4", num_frames=12)
    script = import_module("frame_cache")
    arguments = Namespace(num_frames=2, crop=16, num_workers=0, epochs=2)
    (tmp_path / "links").mkdir()
    samples = script.link_files(tmp_path, tmp_path / "links", num_files=3)
    kinds = {}
    for kind in script.KINDS:
        numbers = script.measure(samples, kind, arguments, folder=tmp_path / "cache")
        assert (numbers["megabytes"] > 0) == (kind != "none")
        kinds[kind] = {**numbers, "first_ratio": 2.5, "later_ratio": 0.28}
    assert not (tmp_path / "cache").exists()
    settings = {"num_files": 3, "num_frames": 2, "crop": 16, "num_workers": 0, "repeats": 1, "epochs": 2}
    table = import_module("table").frame_cache_table({**RESULT, "settings": settings, "kinds": kinds})
    assert table.count("x 2.50, then x 0.28") == 4


def test_scenes_are_held_out_whole_and_those_near_a_fifth_first(scripts):
    script = import_module("few_clips")
    names = ["a/x1", "a/x2", "a/y1", "a/z1", "a/z2", "b/x1", "b/y1", "b/w1", "b/x3", "b/z9"]
    samples = [Sample(path=Path(f"{name}.mp4"), class_name=name[0], name=f"{name}.mp4") for name in names]
    held_out = script.held_out_scenes(samples, r"/([wxyz])")
    assert [[names[index] for index in scene] for scene in held_out] == [
        ["a/y1", "b/y1"],
        ["a/z1", "a/z2", "b/z9"],
        ["a/x1", "a/x2", "b/x1", "b/x3"],
    ]


def test_few_clips_are_trained_on_without_a_choice_and_laid_out(scripts, tmp_path, monkeypatch):
    for name, start in (("a", 0), ("b", 100)):
        (tmp_path / name).mkdir()
        for number in range(4):
            write_counting_video(tmp_path / name / f"{number % 2}_{number}.mp4", num_frames=6 + start // 50 + number)
    script = import_module("few_clips")
    model = create_model("test_resnet", temporal="tsm", num_frames=2, num_classes=3)
    model.spec = replace(model.spec, resize=32, crop=32)
    save_model(tmp_path / "start.safetensors", model)
    samples = script.read_place(script.DataPlace(root=str(tmp_path))).samples
    (first, _) = script.held_out_scenes(samples, r"/(\d)_")
    arguments = Namespace(clips=tmp_path, epochs=1)
    run = script.measure(arguments, samples, held_out=first, init=tmp_path / "start.safetensors")
    assert (run["training"]["clips"], run["held_out"]["clips"], run["epochs"]) == (4, 4, 1)
    assert run["chosen"][0].startswith("tsm on test_resnet, 2 frames of 32 x 32")
    runs = [{"start": "random weights", **run}] * 2
    pooled = {"random weights": script.pool(runs)}
    assert pooled["random weights"]["clips"] == 8
    settings = {"data": "clips", "num_splits": 2, "epochs": 1}
    table = import_module("table").few_clips_table({**RESULT, "settings": settings, "runs": runs, "pooled": pooled})
    assert "| random weights | 0_0 and its scene | 1 | " in table
    assert f"({pooled['random weights']['right']} of 8)" in table
