"""A table of samples is a sequence of samples, in little memory, that processes share."""

from __future__ import annotations

import gc
import hashlib
import pickle
import random
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from kinema.data.annotations import Sample, Section, TableBuilder, by_name, class_names_of, names_of, select, split_mask
from kinema.data.annotations.overview import facts_of, label_pairs
from kinema.data.annotations.shared_file import SharedFile, open_shared
from kinema.data.dataset import labels_of
from sharing import SharedTable

ROOT = Path("/data")


def table_of(samples):
    """The table of samples that lie in the root or in its folder `other`."""
    builder = TableBuilder(ROOT)
    for sample in samples:
        file = sample.file_name
        builder.add(
            file,
            sample.class_name,
            split=sample.split,
            group=sample.group,
            also=sample.also,
            section=sample.section,
            folder=None if sample.path == ROOT / file else ROOT / "other",
        )
    return builder.table()


def sample(name, class_name="walk", *, folder=ROOT, section=None, **options):
    whole = name if section is None else name + section.mark
    return Sample(folder / name, class_name, name=whole, section=section, **options)


MIXED = [
    sample("b.mp4", "walk", split="train"),
    sample("ü/a.mp4", "run", folder=ROOT / "other", split="val", group="anna"),
    sample("a.mp4", "", split="test"),
    sample("b.mp4", "run", section=Section(0.25, 10.5), also=("walk", "sing")),
    sample("b.mp4", "run", section=Section(1000001, 1000002, "frames"), group="ben"),
    sample("B.mp4", "jump", also=("run",)),
    sample("dir/\udcff.mp4", "walk"),
]


@pytest.mark.parametrize("num", range(len(MIXED) + 1))
def test_a_table_gives_the_samples_that_were_added(num):
    table = table_of(MIXED[:num])
    assert list(table) == MIXED[:num]
    assert [table[place - num] for place in range(num)] == MIXED[:num]
    assert list(table[::-1]) == MIXED[:num][::-1]
    with pytest.raises(IndexError, match=f"index must lie below {num}, got {num}"):
        table[num]


def test_rows_that_are_added_together_are_those_added_one_by_one():
    names = ["a.mp4", "ü/b.mp4", "dir/\udcff.mp4", "a.mp4"]
    classes = [("walk",), ("run", "sing"), ("walk", "run"), ("jump",)]
    splits, groups = ["train", None, "val", "test"], ["anna", None, "ben", "anna"]
    sections = [Section(0.0, 1.5), Section(1, 2), Section(2, 3), Section(1.5, 2.5)]
    one_by_one, together = TableBuilder(ROOT), TableBuilder(ROOT)
    for builder in (one_by_one, together):
        builder.add("first.mp4", "sing")
    for name, some, split, group, section in zip(names, classes, splits, groups, sections, strict=True):
        folder = ROOT / "other"
        one_by_one.add(name, some[0], also=some[1:], split=split, group=group, section=section, folder=folder)
    together.add_all(names, classes, splits=splits, groups=groups, sections=sections, folder=ROOT / "other")
    together.add_all([], [], splits=[])
    for builder in (one_by_one, together):
        builder.add("last.mp4", "walk")
    assert list(together.table()) == list(one_by_one.table())


@pytest.mark.parametrize("name", ["../b.mp4", "a/../../b.mp4", "a\0b", ""])
def test_of_rows_that_are_added_together_none_is_where_one_is_bad(name):
    builder = TableBuilder(ROOT)
    with pytest.raises(ValueError, match="a row: "):
        builder.add_all(["a.mp4", name], [("x",), ("y",)], splits=[None, None])
    assert (len(builder), builder.table().classes) == (0, ())


def test_parts_of_a_table_are_tables_and_copy_no_column():
    table = table_of(MIXED)
    part = select(table, split_mask(table, "val"))
    assert list(part) == [MIXED[1]]
    assert part.shares_columns(table)
    assert list(part.joined(table.select([0]))) == [MIXED[1], MIXED[0]]
    assert list(table.select(np.array([False] * 5 + [True, False]))) == [MIXED[5]]


def test_what_is_asked_of_a_table_is_what_a_list_of_its_samples_gives():
    for samples in (MIXED, MIXED[:3], MIXED[::-1], []):
        table = table_of(samples)
        assert list(by_name(table)) == by_name(samples)
        assert list(names_of(table)) == list(names_of(samples)) == [each.name for each in samples]
        assert list(facts_of(table)) == list(facts_of(samples))
        assert class_names_of(table) == class_names_of(samples)
        for split in (None, "train", "val", "test"):
            assert split_mask(table, split).tolist() == split_mask(samples, split).tolist()
        for one, other in zip(label_pairs(table), label_pairs(samples), strict=True):
            assert list(one) == list(other)


def test_every_class_of_a_sample_is_listed():
    places, labels, names = label_pairs(table_of(MIXED))
    assert names == ["", "jump", "run", "sing", "walk"]
    assert [(place, names[label]) for place, label in zip(places, labels, strict=True)] == [
        *[(0, "walk"), (1, "run"), (2, ""), (3, "run"), (3, "walk"), (3, "sing"), (4, "run"), (5, "jump"), (5, "run")],
        (6, "walk"),
    ]


def test_labels_of_a_table_are_those_of_its_classes():
    table = table_of([*MIXED[:2], MIXED[5]])
    assert labels_of(table, class_names=("jump", "run", "walk")).tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match=r"class of ü/a\.mp4 must be one of the 2 class names .* got 'run'"):
        labels_of(table, class_names=("jump", "walk"))
    with pytest.raises(ValueError, match=r"class of a\.mp4 must be .* got ''"):
        labels_of(table_of(MIXED), class_names=("jump", "run", "walk"))


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(st.tuples(st.sampled_from(["", "videos/", "videos/class é/"]), NAMES)))
def test_a_table_is_sorted_as_names_are(names):
    builder = TableBuilder(ROOT)
    samples = []
    for start, end in names:
        name = start + end.replace("..", "")
        if name:
            builder.add(name, "walk")
            samples.append(name)
    table = builder.table()
    assert list(names_of(table.by_name())) == sorted(samples)
    ranks = {name: rank for rank, name in enumerate(sorted(set(samples)))}
    assert table.file_numbers().tolist() == [ranks[name] for name in samples]


def test_a_sorted_table_stays_as_it_is():
    ordered = table_of(MIXED).by_name()
    assert ordered.by_name() is ordered
    assert ordered[1:4].by_name() == ordered[1:4] or list(ordered[1:4].by_name()) == list(ordered)[1:4]
    assert list(ordered[::-1].by_name()) == list(ordered)


def test_a_million_rows_would_take_little_memory():
    builder = TableBuilder(ROOT)
    for row in range(10_000):
        builder.add(f"train/some_class_{row % 40:03}/video_{row:08}.mp4", f"some class {row % 40}", split="train")
    tracemalloc.start()
    table = builder.table()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(table) < 80  # bytes a row, of which the name takes 40


def make_long(num):
    order = list(range(num))
    random.Random(0).shuffle(order)
    builder = TableBuilder(ROOT)
    for row in order:
        builder.add(
            f"train/some_class_{row % 40:03}/video_{row:08}.mp4", f"some class {row % 40}", group=f"g{row // 2}"
        )
    return builder.table()


def test_a_pickled_table_is_the_same_table():
    table = table_of(MIXED)[1:]
    assert list(pickle.loads(pickle.dumps(table))) == MIXED[1:]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what memory is shared")
@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_share_a_table(context):
    table = make_long(200_000).by_name()
    loader = DataLoader(
        SharedTable(table),
        batch_size=None,
        sampler=[0, 77_777, 199_999, -1],
        num_workers=2,
        multiprocessing_context=context,
    )
    names = hashlib.sha256("".join(names_of(table)).encode()).hexdigest()
    items = list(loader)
    assert [item["sample"] for item in items] == [table[0], table[77_777], table[199_999], table[-1]]
    assert {item["names"] for item in items} == {names}
    assert len({item["pid"] for item in items}) == 2
    assert max(item["growth"] for item in items) < 4.0  # MB; a copy of the table takes 18
    assert max(item["num_bytes"] for item in items) < 1_000_000  # the order of the rows takes 800,000


def test_the_file_of_shared_columns_goes_with_them(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    value = {"numbers": np.arange(5), "empty": np.zeros(0), "text": np.frombuffer(b"abc", np.uint8), "name": "x"}
    shared = SharedFile(value)
    opened = open_shared(*shared.address)
    assert [path.name.startswith("kinema-") for path in tmp_path.iterdir()] == [True]
    assert {name: list(each) for name, each in opened.items()} == {name: list(each) for name, each in value.items()}
    assert not opened["numbers"].flags.writeable
    del shared
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert opened["numbers"].tolist() == [0, 1, 2, 3, 4]  # what is mapped already stays
