"""Splits: stratified, groups whole, the same wherever and however the samples are listed."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from kinema.data.annotations.sample import Sample, Section
from kinema.data.annotations.table import SampleTable
from kinema.data.annotations.table_builder import TableBuilder
from kinema.data.split.samples import describe_split, split_samples


def sample(name, class_name, *, split=None, group=None, root="/data"):
    return Sample(Path(root) / name, class_name, split=split, group=group, name=name)


def numbered(num, class_name, **options):
    return [sample(f"{class_name}/{i:03}.mp4", class_name, **options) for i in range(num)]


def classes(samples):
    return Counter(sample.class_name for sample in samples)


def names(samples):
    return [sample.name for sample in samples]


def test_every_class_is_split_in_the_same_proportion():
    samples = numbered(50, "a") + numbered(10, "b") + numbered(100, "c")
    train, val = split_samples(samples, val_fraction=0.2, seed=0)
    assert classes(val) == {"a": 10, "b": 2, "c": 20}
    assert classes(train) == {"a": 40, "b": 8, "c": 80}
    assert sorted(names(train + val)) == sorted(names(samples))


def test_rounding_is_balanced_over_all_classes():
    samples = [each for class_name in "abcdefghij" for each in numbered(7, class_name)]
    _, val = split_samples(samples, val_fraction=0.2, seed=0)
    assert len(val) == 14
    assert set(classes(val).values()) == {1, 2}


@pytest.mark.parametrize("num", [2, 3, 4])
def test_a_small_class_stands_in_both_parts(num):
    train, val = split_samples(numbered(num, "a") + numbered(200, "b"), val_fraction=0.05, seed=1)
    assert classes(train)["a"] == num - 1
    assert classes(val)["a"] == 1


def test_a_class_of_one_group_stays_in_training_and_that_is_said():
    samples = numbered(5, "a", group="one camera") + numbered(1, "b") + numbered(10, "c")
    train, val = split_samples(samples, val_fraction=0.4, seed=0)
    assert classes(val) == {"c": 4}
    assert "only in train: a, b" in describe_split(train, val)


@pytest.mark.parametrize("seed", range(10))
def test_groups_are_kept_together_and_the_fraction_is_met(seed):
    rng = random.Random(seed)
    samples = [
        sample(f"{class_name}/{group}_{i}.mp4", class_name, group=f"{class_name}{group}")
        for class_name in "abcd"
        for group in range(12)
        for i in range(rng.randint(1, 9))
    ]
    train, val = split_samples(samples, val_fraction=0.25, seed=seed)
    assert not {each.group for each in train} & {each.group for each in val}
    for class_name, total in classes(samples).items():
        assert abs(classes(val)[class_name] - 0.25 * total) <= 1.5, class_name


@pytest.mark.parametrize("seed", range(10))
def test_groups_that_span_classes_are_kept_together_too(seed):
    rng = random.Random(seed)
    samples = [
        sample(f"{class_name}/person{person}_{i}.mp4", class_name, group=f"person{person}")
        for person in range(20)
        for class_name in rng.sample("abcdef", k=3)
        for i in range(rng.randint(1, 4))
    ]
    train, val = split_samples(samples, val_fraction=0.2, seed=seed)
    assert not {each.group for each in train} & {each.group for each in val}
    assert set(classes(train)) == set(classes(val)) == set("abcdef")
    assert 0.15 < len(val) / len(samples) < 0.25


def test_a_group_is_exchanged_where_the_first_pick_is_far_off():
    samples = [sample(f"a/big_{i}.mp4", "a", group="big") for i in range(90)]
    samples += [sample(f"a/small_{i}.mp4", "a", group="small") for i in range(10)]
    for seed in range(8):
        _, val = split_samples(samples, val_fraction=0.1, seed=seed)
        assert {each.group for each in val} == {"small"}


def test_the_split_depends_on_seed_and_names_alone():
    samples = numbered(40, "a") + numbered(40, "b")
    elsewhere = [sample(each.name, each.class_name, root="/mnt/other place") for each in samples]
    random.Random(0).shuffle(elsewhere)
    first = split_samples(samples, val_fraction=0.3, seed=7)
    assert [names(part) for part in first] == [
        names(part) for part in split_samples(elsewhere, val_fraction=0.3, seed=7)
    ]
    assert names(first[1]) != names(split_samples(samples, val_fraction=0.3, seed=8)[1])


def test_the_split_of_seed_zero_is_this_one_on_every_machine():
    _, val = split_samples(numbered(10, "a"), val_fraction=0.3, seed=0)
    assert names(val) == ["a/001.mp4", "a/002.mp4", "a/007.mp4"]


def test_a_pattern_in_the_file_name_makes_groups():
    samples = [
        sample(f"{class_name}/v_{class_name}_g{g:02}_c{c:02}.avi", class_name)
        for class_name in ("Walk", "Run")
        for g in range(1, 11)
        for c in range(1, 5)
    ]
    train, val = split_samples(samples, val_fraction=0.2, seed=3, group_pattern=r"v_(\w+_g\d+)_c")
    groups = [{each.name[:-8] for each in part} for part in (train, val)]
    assert not groups[0] & groups[1]
    assert classes(val) == {"Walk": 8, "Run": 8}


@pytest.mark.parametrize(
    ("pattern", "together"),
    [
        (r"cam\d", {"x/cam1_p1.mp4", "y/cam1_p2.mp4"}),
        (r"cam(\d)", {"x/cam1_p1.mp4", "y/cam1_p2.mp4"}),
        (r"cam(\d)_p(\d)", {"x/cam1_p1.mp4"}),
        (r"cam(?:1_(p1)|\d_(p2))", {"x/cam2_p2.mp4", "y/cam1_p2.mp4"}),
        (r"(?P<hall>cam1_p1|cam3)|(?P<yard>cam\d)", {"x/cam1_p1.mp4", "y/cam3_p3.mp4"}),
    ],
)
def test_what_a_pattern_captures_is_the_group(pattern, together):
    samples = [sample(name, name[0]) for name in ("x/cam1_p1.mp4", "y/cam1_p2.mp4", "x/cam2_p2.mp4", "y/cam3_p3.mp4")]
    parts = [set(names(part)) for part in split_samples(samples, val_fraction=0.5, seed=0, group_pattern=pattern)]
    assert any(together <= part for part in parts)
    apart = [split_samples(samples, val_fraction=0.5, seed=seed, group_pattern=pattern)[1] for seed in range(30)]
    assert all(together <= set(names(val)) or not together & set(names(val)) for val in apart)


def test_a_name_without_the_pattern_is_a_group_by_itself_and_is_reported():
    samples = [sample(f"a/s{i // 2}_{i}.mp4", "a") for i in range(8)] + [sample("a/odd.mp4", "a")]
    train, val = split_samples(samples, val_fraction=0.3, seed=0, group_pattern=r"s\d")
    assert "group_pattern not found in 1 names, each its own group: a/odd.mp4" in describe_split(
        train, val, group_pattern=r"s\d"
    )


def test_a_pattern_that_no_name_has_is_refused():
    with pytest.raises(ValueError, match=r"group_pattern must be found in the names.*first name is 'a/000\.mp4'"):
        split_samples(numbered(5, "a"), val_fraction=0.2, seed=0, group_pattern="camera")
    with pytest.raises(ValueError, match=r"group_pattern must be a regular expression, got '\(a'"):
        split_samples(numbered(5, "a"), val_fraction=0.2, seed=0, group_pattern="(a")
    with pytest.raises(ValueError, match="group_pattern must be left out where the data names its groups"):
        split_samples(numbered(5, "a", group="g"), val_fraction=0.2, seed=0, group_pattern="a")


def test_the_split_of_the_data_wins():
    samples = [
        sample("1", "a", split="train"),
        sample("2", "a", split="val"),
        sample("3", "a", split="test"),
        sample("4", "b", split="train"),
    ]
    train, val = split_samples(samples, val_fraction=0.5, seed=0)
    assert (names(train), names(val)) == (["1", "4"], ["2"])
    assert "only in train: b" in describe_split(train, val)


def test_without_val_it_is_cut_from_train_and_test_is_left_alone():
    samples = numbered(10, "a", split="train") + numbered(10, "b", split="test")
    train, val = split_samples(samples, val_fraction=0.2, seed=0)
    assert (classes(train), classes(val)) == ({"a": 8}, {"a": 2})


@pytest.mark.parametrize("split", ["val", "test"])
def test_data_without_training_videos_is_all_held_out(split):
    samples = numbered(3, "a", split=split)
    assert split_samples(samples, val_fraction=0.2, seed=0) == ([], samples)


def test_a_split_given_to_some_samples_only_is_refused():
    with pytest.raises(ValueError, match=r"split must be given for every sample or for none, got none for b/000\.mp4"):
        split_samples(numbered(2, "a", split="train") + numbered(2, "b"), val_fraction=0.2, seed=0)


@pytest.mark.parametrize("fraction", [1.0, -0.1, 20, float("nan")])
def test_a_fraction_outside_zero_and_one_is_refused(fraction):
    with pytest.raises(ValueError, match="val_fraction must be at least 0 and below 1"):
        split_samples(numbered(5, "a"), val_fraction=fraction, seed=0)


def test_a_fraction_of_zero_holds_nothing_out():
    for samples in (numbered(3, "a"), numbered(3, "a", split="train")):
        assert split_samples(samples, val_fraction=0, seed=0) == (samples, [])


def test_the_description_counts_and_warns_of_torn_groups():
    train = numbered(3, "a", group="p1", split="train")
    val = [sample("b/x.mp4", "b", group="p1", split="val")]
    assert describe_split(train, val).splitlines() == [
        "split: 3 train (1 classes, 1 groups) + 1 val (1 classes, 1 groups)",
        "split: only in train: a",
        "split: only in val: b",
        "split: in both parts, by the data's own split: 1 groups (p1)",
    ]


def test_the_scenes_of_the_cctv_clips_are_kept_together(shared_dir):
    folder = shared_dir / "clips" / "fight_cctv"
    samples = [
        Sample(path, path.parent.name, name=path.relative_to(folder).as_posix()) for path in folder.glob("*/*.mp4")
    ]
    train, val = split_samples(samples, val_fraction=0.3, seed=0, group_pattern=r"i\d\d")
    assert len(train) + len(val) == 30
    assert not {each.path.stem[:-1] for each in train} & {each.path.stem[:-1] for each in val}
    assert set(classes(train)) == set(classes(val)) == {"fight", "noFight"}


def test_a_name_that_is_no_alternative_captures_its_text():
    names = ["p1_c1", "p1_c2", "p2", "p3"]
    samples = [Sample(path=Path(name), class_name="walk", name=name) for name in names]

    train, val = split_samples(
        samples, val_fraction=0.5, seed=0, group_pattern=r"(?P<person>p\d+)(?:_(?P<camera>[(|]|c\d))?"
    )

    assert len(train) == len(val) == 2


def table_of(samples):
    builder = TableBuilder(Path("/data"))
    for each in samples:
        builder.add(
            each.file_name, each.class_name, split=each.split, group=each.group, also=each.also, section=each.section
        )
    return builder.table()


def sections(file, class_names, **options):
    """One sample after the other of a long video, each ten seconds."""
    parts = [Section(10.0 * place, 10.0 * place + 10.0) for place in range(len(class_names))]
    return [
        Sample(Path("/data") / file, class_name, name=file + part.mark, section=part, **options)
        for class_name, part in zip(class_names, parts, strict=True)
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pattern", [None, r"p(\d)"])
def test_a_table_is_split_as_its_samples_are(seed, pattern):
    rng = random.Random(seed)
    samples = [
        sample(
            f"{class_name}/p{rng.randrange(9)}_{number}.mp4",
            class_name,
            group=rng.choice([None, "one", "two", "three"]) if pattern is None else None,
            split=rng.choice(["train", "test"]) if seed % 2 else None,
        )
        for class_name in "abc"
        for number in range(rng.randint(2, 30))
    ]
    rng.shuffle(samples)
    of_list = split_samples(samples, val_fraction=0.3, seed=seed, group_pattern=pattern)
    of_table = split_samples(table_of(samples), val_fraction=0.3, seed=seed, group_pattern=pattern)
    assert all(isinstance(part, SampleTable) for part in of_table)
    assert [list(part) for part in of_table] == [list(part) for part in of_list]
    assert describe_split(*of_table, group_pattern=pattern) == describe_split(*of_list, group_pattern=pattern)


@pytest.mark.parametrize("make", [list, table_of])
@pytest.mark.parametrize("pattern", [None, "day"])
def test_the_sections_of_a_video_stay_together(make, pattern):
    samples = [each for video in range(20) for each in sections(f"{'day' * (video < 2)}{video:02}.mp4", ["a", "b"] * 3)]
    for seed in range(5):
        train, val = split_samples(make(samples), val_fraction=0.2, seed=seed, group_pattern=pattern)
        files = [{each.file_name for each in part} for part in (train, val)]
        assert len(val) == 24
        assert not files[0] & files[1]
        assert pattern is None or len(files[1] & {"day00.mp4", "day01.mp4"}) in (0, 2)


@pytest.mark.parametrize("make", [list, table_of])
def test_the_sections_of_a_video_are_one_group_with_the_whole_of_it(make):
    samples = [each for video in range(10) for each in (sample(f"{video}.mp4", "a"), *sections(f"{video}.mp4", ["a"]))]
    train, val = split_samples(make(samples), val_fraction=0.2, seed=0)
    assert {each.file_name for each in train}.isdisjoint(each.file_name for each in val)
    assert describe_split(train, val) == "split: 16 train (1 classes, 8 groups) + 4 val (1 classes, 2 groups)"


@pytest.mark.parametrize("make", [list, table_of])
def test_a_group_that_the_data_names_outweighs_the_file(make):
    samples = [
        each
        for video in range(12)
        for each in sections(f"{video}.mp4", ["a"] * 4, group="one camera" if video < 6 else f"camera {video}")
    ]
    for seed in range(8):
        _, val = split_samples(make(samples), val_fraction=0.25, seed=seed)
        assert len(val) == 12
        assert {each.group for each in val}.isdisjoint({"one camera"})


@pytest.mark.parametrize("make", [list, table_of])
@pytest.mark.parametrize("seed", range(5))
def test_samples_of_several_classes_are_divided_by_all_of_them(make, seed):
    rng = random.Random(seed)
    samples = []
    for number in range(200):
        first, *also = rng.sample("abcdef", k=rng.randint(1, 3))
        samples.append(Sample(Path(f"/data/{number:03}.mp4"), first, also=tuple(also), name=f"{number:03}.mp4"))
    samples += [Sample(Path(f"/data/rare{i}.mp4"), "a", also=("rare",), name=f"rare{i}.mp4") for i in range(2)]
    train, val = split_samples(make(samples), val_fraction=0.25, seed=seed)
    counts = [Counter(name for each in part for name in each.class_names) for part in (train, val)]
    assert counts[0]["rare"] == counts[1]["rare"] == 1
    for name in "abcdef":
        total = counts[0][name] + counts[1][name]
        assert abs(counts[1][name] - 0.25 * total) <= 1.5, name
