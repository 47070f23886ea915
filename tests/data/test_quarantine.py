"""A list of rows to leave out: what a check writes is what training reads, whatever the names are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.annotations import Sample, TableBuilder
from kinema.data.quarantine import quarantine_text, read_quarantine

NAMES = ["a.mp4", "a b.mp4", ' "x" .mp4', "it's.mp4", "a\nb.mp4", "a\\nb.mp4", "\u2028.mp4", "é.mp4", "x#1-2s"]
NAMES.append(os.fsdecode(b"\xff\xfe.mp4"))


def test_any_name_comes_back(tmp_path):
    text = quarantine_text({"name": name, "reason": "broken"} for name in [*NAMES, *NAMES])
    assert text.count("\n") == len(NAMES)
    file = tmp_path / "list"
    file.write_bytes(text.encode())
    rows = read_quarantine(file).rows
    assert rows == {(name, None) for name in NAMES}


def test_names_stay_readable(tmp_path):
    assert quarantine_text([{"name": "é.mp4"}]) == '{"name": "é.mp4"}\n'


def test_a_split_narrows_a_line_to_the_row_of_that_split(tmp_path):
    file = tmp_path / "list"
    file.write_text('{"name": "a.mp4", "split": "train"}\n{"name": "b.mp4"}\n{"name": "c.mp4"}\n')
    quarantine = read_quarantine(file)
    samples = [
        Sample(path=Path(name), class_name="x", split=split)
        for name in ("a.mp4", "b.mp4")
        for split in ("train", "val")
    ]
    assert [(sample.name, sample.split) for sample in quarantine.keep(samples)] == [("a.mp4", "val")]
    said = f"quarantine: 3 of 4 videos left out by {file}; 1 line names nothing in the data"
    assert quarantine.describe(samples) == said


def test_a_table_stays_a_table(tmp_path):
    builder = TableBuilder(tmp_path)
    for name in "abc":
        builder.add(f"{name}.mp4", name)
    file = tmp_path / "list"
    file.write_text('{"name": "b.mp4"}\n')
    table = builder.table()
    kept = read_quarantine(file).keep(table)
    assert (type(kept), [sample.class_name for sample in kept]) == (type(table), ["a", "c"])
    file.write_text("")
    assert read_quarantine(file).keep(table) is table


@given(text=st.text())
def test_any_text_is_a_list_or_a_clear_error(text, tmp_path_factory):
    file = tmp_path_factory.mktemp("list") / "list"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_quarantine(file)
    except ValueError as error:
        assert str(file) in str(error)  # noqa: PT017


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone must be a file that can be read"):
        read_quarantine(tmp_path / "gone")
