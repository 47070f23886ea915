"""What is found of rows together: literal rows, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinema.data.annotations import Sample, Section
from kinema.data.check.balance import class_findings, picture_findings
from kinema.data.check.files import Files
from kinema.data.check.findings import KINDS
from kinema.data.check.row_findings import row_findings
from kinema.data.check.rows import make_rows
from kinema.data.check.sharing import sharing_findings


def sample(path, class_name="a", split=None, part=None, **fields):
    """A row; a part is (start, end)."""
    section = None if part is None else Section(*part)
    name = path if part is None else f"{path}#{part[0]}-{part[1]}s"
    return Sample(path=Path(path), class_name=class_name, split=split, section=section, name=name, **fields)


def files_of(rows, *, num_frames=100, fps=10.0, copies=(), rates=None, sizes=None):
    count = len(rows.paths)
    return Files(
        paths=rows.paths,
        num_bytes=np.full(count, 1000),
        num_frames=np.full(count, num_frames),
        fps=np.full(count, fps) if rates is None else np.array(rates, float),
        sizes=np.full((count, 2), 64, np.int32) if sizes is None else np.array(sizes, np.int32),
        copies=[[rows.paths.index(path) for path in group] for group in copies],
    )


def shared(samples, *, multi_label=False, copies=()):
    rows = make_rows(samples)
    found = sharing_findings(rows, files_of(rows, copies=copies), multi_label=multi_label)
    return {finding.kind: {item.name: item.reason for item in finding.items} for finding in found}


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_a_file_in_training_and_held_out_is_a_leak(held_out):
    rows = [sample("x", split="train"), sample("x", split=held_out), sample("y", split="train")]
    assert shared(rows) == {"leak": {"x": f"the same file as x in {held_out}"}}


def test_a_file_in_val_and_test_is_a_duplicate():
    assert shared([sample("x", split="val"), sample("x", split="test")]) == {"duplicate": {"x": "also as x"}}


def test_the_same_content_on_both_sides_is_a_leak_of_the_training_row():
    rows = [sample("x", split="train"), sample("y", split="val"), sample("z", split="train")]
    assert shared(rows, copies=[("x", "y", "z")]) == {
        "leak": {"x": "the same content as y in val", "z": "the same content as y in val"}
    }


def test_parts_leak_where_they_overlap_and_tear_a_video_apart_where_they_do_not():
    apart = [sample("x", split="train", part=(0, 2)), sample("x", split="val", part=(2, 4))]
    assert shared(apart) == {"torn_group": {"x": "parts of one video: 1 train and 1 val rows"}}
    overlapping = [sample("x", split="train", part=(0, 2.5)), sample("x", split="val", part=(2, 4))]
    assert shared(overlapping) == {"leak": {"x#0-2.5s": "the same file as x#2-4s in val"}}
    whole = [sample("x", split="train"), sample("x", split="val", part=(2, 4))]
    assert list(shared(whole)) == ["leak"]


def test_parts_of_one_video_with_different_classes_are_as_they_should_be():
    assert shared([sample("x", "a", part=(0, 2)), sample("x", "b", part=(2, 4))]) == {}


def test_a_group_on_both_sides_is_torn():
    rows = [
        sample(f"{n}", split=split, group=group)
        for n, (split, group) in enumerate(
            [("train", "ann"), ("train", "ann"), ("val", "ann"), ("train", "bob"), ("val", "cat"), ("val", None)]
        )
    ]
    assert shared(rows) == {"torn_group": {"ann": "2 train and 1 val rows"}}


def test_copies_under_two_classes_contradict_each_other_unless_a_video_may_have_several():
    rows = [sample("x", "jump"), sample("y", "walk")]
    said = {"contradiction": {"x": "is jump, walk, as x, y"}}
    assert shared(rows, copies=[("x", "y")]) == said
    assert shared(rows, copies=[("x", "y")], multi_label=True) == {"duplicate": {"x": "also as y"}}
    assert shared([sample("x", "jump"), sample("y", "")], copies=[("x", "y")]) == {"duplicate": {"x": "also as y"}}
    assert shared(rows) == {}


def test_parts_outside_of_their_video_and_short_ones_are_found():
    rows = make_rows([sample("x", part=(0, 1)), sample("x", part=(9.5, 10)), sample("x", part=(10, 12)), sample("x")])
    found = row_findings(rows, files_of(rows, num_frames=100, fps=10.0), num_frames=8)
    assert {finding.kind: [(item.name, item.reason) for item in finding.items] for finding in found} == {
        "outside": [
            (
                "x#10-12s",
                "no frame lies between 10 and 12 seconds, the video has 100 frames (10.00 seconds); "
                "mend the annotation",
            )
        ],
        "short": [("x#9.5-10s", "5 frames where a clip has 8")],
    }


def test_a_part_that_ends_more_than_a_frame_after_its_video_is_remarked_on():
    rows = make_rows([sample("x", part=(0, end)) for end in (10, 10.1, 10.2, 9999)])
    (found,) = row_findings(rows, files_of(rows, num_frames=100, fps=10.0), num_frames=8)
    assert (found.kind, found.severity) == ("beyond", "remark")
    assert [(item.name, item.reason) for item in found.items] == [
        (f"x#0-{end}s", f"ends at {end} seconds, the video has 100 frames (10.00 seconds)") for end in (10.2, 9999)
    ]


def test_classes_of_one_video_are_remarked_on_where_a_split_is_still_to_be_made():
    rows = [("1", "a"), ("2", "a"), ("3", "b"), ("3", "b"), ("4", "c")]
    assert classes([sample(*row) for row in rows], ("a", "b", "c")) == {"one_video": (2, [("b", ""), ("c", "")])}
    assert classes([sample(*row, "train") for row in rows], ("a", "b", "c")) == {}


def test_every_fault_has_a_name_for_the_last_line():
    assert [name for name, kind in KINDS.items() if (kind.severity == "fault") != bool(kind.brief)] == []


def classes(samples, names):
    found = class_findings(make_rows(samples), names)
    return {finding.kind: (finding.count, [(item.name, item.reason) for item in finding.items]) for finding in found}


def test_classes_without_rows_are_told_in_all_and_by_split():
    rows = [sample("1", "a", "train"), sample("2", "b", "train"), sample("3", "a", "val"), sample("4", "", "test")]
    assert classes(rows, ("a", "b", "c")) == {
        "absent_class": (2, [("c", "no rows at all"), ("b", "no rows in val")]),
    }


@pytest.mark.parametrize(("num_large", "found"), [(9, False), (10, True)])
def test_imbalance_is_told_from_ten_times_on(num_large, found):
    rows = [sample(f"{number}", "a") for number in range(num_large)] + [sample("b", "b")]
    expected = {"imbalance": (2, [("a", f"{num_large} rows"), ("b", "1 row")])} if found else {}
    expected["one_video"] = (1, [("b", "")])
    assert classes(rows, ("a", "b")) == expected


def test_every_class_of_a_row_counts():
    assert classes([sample(name, "a", also=("b",)) for name in "12"], ("a", "b")) == {}


@pytest.mark.parametrize(
    ("rates", "odd"),
    [
        ([25, 25, 25, 25, 25.5], []),
        ([25, 25, 25, 25, 30], [4]),
        ([25, 25, 30, 30, 30], []),
        ([25, 30, 1, 500, 0], [2, 3]),
        ([0, 0, 0, 0, 0], []),
    ],
)
def test_rates_are_odd_where_four_fifths_agree_or_where_none_has_them(rates, odd):
    rows = make_rows([sample(f"{number}") for number in range(5)])
    found = picture_findings(rows, files_of(rows, rates=rates))
    assert [item.name for finding in found for item in finding.items] == [f"{number}" for number in odd]


def test_sizes_are_odd_where_four_fifths_agree():
    rows = make_rows([sample(f"{number}", part=(0, 1)) for number in range(5)])
    found = picture_findings(rows, files_of(rows, sizes=[(64, 48)] * 4 + [(48, 64)]))
    assert [(finding.kind, finding.items[0].name, finding.items[0].reason) for finding in found] == [
        ("frame_size", "4", "48x64 where most have 64x48")
    ]
    assert picture_findings(rows, files_of(rows, sizes=[(64, 48)] * 3 + [(48, 64)] * 2)) == []
