"""What a run depends on; the hash of a dataset is the same for the same videos, and never asks a million files."""

from __future__ import annotations

import json
import platform
from dataclasses import replace

import pytest
import torch

from kinema.data.annotations import Sample, TableBuilder
from kinema.engine import fingerprint
from kinema.engine.fingerprint import hash_data
from kinema.engine.machine import gpu_facts, num_cores
from kinema.engine.training.origin import note_fingerprint


@pytest.fixture
def samples(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.mp4").write_bytes(b"x" * number)
    return [Sample(path, "walk", name=path.name) for path in sorted(tmp_path.iterdir())]


def table_of(samples):
    builder = TableBuilder(samples[0].path.parent)
    for sample in samples:
        builder.add(sample.name, sample.class_name, split=sample.split, group=sample.group, also=sample.also)
    return builder.table()


@pytest.mark.parametrize("make", [list, table_of])
def test_the_hash_depends_on_all_that_is_said_of_a_video_and_on_no_order(samples, make):
    changes = [{"class_name": "run"}, {"split": "train"}, {"group": "anna"}, {"also": ("run",)}, {"name": "19.mp4 "}]
    hashes = {hash_data(make(samples))}
    assert hashes == {hash_data(make(samples[::-1]))}
    for change in changes[: 4 if make is table_of else 5]:
        hashes.add(hash_data(make([*samples[:-1], replace(samples[-1], **change)])))
    samples[7].path.write_bytes(b"another")
    assert hash_data(make(samples)) in hashes  # seven bytes as before
    samples[7].path.write_bytes(b"a longer one")
    hashes.add(hash_data(make(samples)))
    assert len(hashes) == (6 if make is table_of else 7)


def test_a_table_has_the_hash_of_its_samples(samples):
    samples = [replace(sample, split="train", also=("a",) * (number % 2)) for number, sample in enumerate(samples)]
    assert hash_data(table_of(samples)) == hash_data(samples)


@pytest.mark.parametrize("limit", [1, 3, 7, 20, 100])
def test_no_more_sizes_are_asked_for_than_is_said(samples, limit, monkeypatch):
    asked = []
    monkeypatch.setattr(fingerprint, "MAX_SIZES", limit)
    monkeypatch.setattr(fingerprint, "size_of", lambda path: asked.append(path) or 0)
    hash_data(samples[::-1])
    assert asked == [samples[number * 20 // min(limit, 20)].path for number in range(min(limit, 20))]


def test_a_folder_of_frames_counts_its_files(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "00001.jpg").write_bytes(b"x")
    samples = [Sample(folder, "walk", name="clip")]
    first = hash_data(samples)
    (folder / "00001.jpg").write_bytes(b"xyz")
    assert hash_data(samples) == first
    (folder / "00002.jpg").write_bytes(b"x")
    assert hash_data(samples) != first


def test_data_without_samples_has_a_hash():
    assert len(hash_data([])) == 16


def test_a_fingerprint_says_what_was_computed_on_and_by_no_name_of_a_machine(samples):
    found = fingerprint.fingerprint(samples, seed=3)
    assert {"machine", "cpu", "cores", "gpu", "python", "torch", "kinema", "commit", "data", "seed"} <= found.keys()
    assert found["cores"] == num_cores() >= 1
    assert found["cpu"]
    assert found["data"] == hash_data(samples)
    assert found["seed"] == 3
    told = json.dumps(found)
    assert str(samples[0].path.parent) not in told
    assert platform.node() not in told.replace(str(found["cpu"]), "")


def test_gpus_are_counted_by_name(monkeypatch):
    names = ["NVIDIA H200", "NVIDIA H200", "NVIDIA L4"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: names[place])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    assert gpu_facts() == {"gpu": "2 x NVIDIA H200, 1 x NVIDIA L4", "cuda": "13.0", "cudnn": 91002}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_facts() == {"gpu": "none"}


def test_a_run_that_goes_on_elsewhere_has_another_line(tmp_path):
    file = tmp_path / "fingerprints.jsonl"
    for cores in (2, 2, 8, 2):
        note_fingerprint(file, {"cpu": "a processor", "cores": cores})
    assert [json.loads(line)["cores"] for line in file.read_text().splitlines()] == [2, 8, 2]
