"""The official annotation files beside the repository: what each gives, by facts known of the datasets."""

from __future__ import annotations

from collections import Counter

import pytest

from kinema.data.annotations import Source, read_annotations
from kinema.data.mirror import find_mirrors


@pytest.fixture
def official(shared_dir):
    def read(name, **options):
        return read_annotations(Source(root=shared_dir / "annotations" / name, **options))

    return read


def splits(annotations):
    return Counter(sample.split for sample in annotations.samples)


def pairs(class_names):
    """Labels that a flip exchanges, by number."""
    mirrors = find_mirrors(class_names)
    swapped = {label: mirrors.label(label) for label in range(len(class_names))}
    return {(label, other) for label, other in swapped.items() if other is not None and label < other}


def test_something_v1_has_the_order_of_its_labels_and_says_so(official):
    annotations = official("somethingv1")
    assert annotations.format == "something_v1"
    assert splits(annotations) == {"train": 200, "val": 200, "test": 100}
    assert len(annotations.class_names) == 174
    assert annotations.class_names[:2] == ("Holding something", "Turning something upside down")
    assert {(2, 4), (30, 41), (52, 66)} <= pairs(annotations.class_names)  # as mmaction2's config has them
    first = annotations.samples[0]
    assert (first.name, first.class_name) == (
        "20bn-something-something-v1/100218",
        "Something falling like a feather or paper",
    )
    assert {sample.class_name for sample in annotations.samples if sample.split == "test"} == {""}
    assert "TSM's official weights have the alphabetical one" in annotations.notes[0]
    assert "none of the" in annotations.notes[1]


def test_something_v1_numbers_are_those_of_tsm_once_sorted(official, shared_dir):
    annotations = official("somethingv1")
    ids = {name: label for label, name in enumerate(sorted(annotations.class_names))}
    lines = (shared_dir / "annotations/somethingv1/train_videofolder.head200.txt").read_text().splitlines()
    train = [sample for sample in annotations.samples if sample.split == "train"]
    assert [(sample.path.name, ids[sample.class_name]) for sample in train] == [
        (line.split()[0], int(line.split()[2])) for line in lines
    ]


def test_something_v2_takes_classes_from_templates(official, shared_dir):
    annotations = official("somethingv2")
    assert annotations.format == "something_v2"
    assert [path.name for path in annotations.files] == [
        "something-something-v2-validation.head200.json",
        "something-something-v2-test.head100.json",
        "something-something-v2-labels.json",
    ]
    assert splits(annotations) == {"val": 200, "test": 100}
    assert len(annotations.class_names) == 174
    assert annotations.class_names == tuple(sorted(annotations.class_names))
    assert pairs(annotations.class_names) == {(86, 87), (93, 94), (166, 167)}  # as mmaction2's config has them
    assert annotations.samples[0].name == "20bn-something-something-v2/74225.webm"
    labels = {name: label for label, name in enumerate(annotations.class_names)}
    lines = (shared_dir / "annotations/somethingv2/ctnet_val.head200.txt").read_text().splitlines()
    val = [sample for sample in annotations.samples if sample.split == "val"]
    assert [(sample.path.stem, labels[sample.class_name]) for sample in val] == [
        (line.split()[0], int(line.split()[2])) for line in lines
    ]


def test_jester_has_the_order_of_its_labels(official):
    annotations = official("jester")
    assert annotations.format == "jester"
    assert splits(annotations) == {"train": 200, "val": 200, "test": 100}
    assert len(annotations.class_names) == 27
    assert (annotations.class_names[0], annotations.class_names[-1]) == ("Swiping Left", "Doing other things")
    assert pairs(annotations.class_names) == {(0, 1), (6, 7), (14, 15)}
    assert annotations.samples[0].name == "20bn-jester-v1/34870"
    assert annotations.samples[0].class_name == "Drumming Fingers"


def test_kinetics_lists_are_read_one_at_a_time(official, shared_dir):
    folder = shared_dir / "annotations/kinetics"
    val = official("kinetics", annotations=folder / "tiny_val.csv")
    assert (val.format, splits(val), len(val.class_names)) == ("kinetics", {"val": 400}, 400)
    assert (val.class_names[0], val.class_names[-1]) == ("abseiling", "zumba")
    assert val.samples[0].name == "val/abseiling/-3B32lodo2M_000059_000069.mp4"
    labels = [line.split(",", 1)[1] for line in (folder / "kinetics_400_labels_slowfast.csv").read_text().splitlines()]
    assert list(val.class_names) == [label.strip('"') for label in labels[1:]]
    test = official("kinetics", annotations=folder / "kinetics-600_test.head100.csv")
    assert splits(test) == {"test": 100}
    assert (test.samples[0].name, test.samples[0].class_name) == ("test/LAcSOxdNrmI_000061_000071.mp4", "")
    with pytest.raises(ValueError, match=r"head200\.csv, line 2: there must be one list for each split, got val here"):
        official("kinetics")


def test_ucf101_split_1_is_whole(official):
    annotations = official("ucf101")
    assert annotations.format == "ucf101"
    assert splits(annotations) == {"train": 9537, "val": 3783}
    assert len(annotations.class_names) == 101
    assert (annotations.class_names[0], annotations.class_names[-1]) == ("ApplyEyeMakeup", "YoYo")
    first = annotations.samples[0]
    assert first.name == "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi"
    assert (first.class_name, first.group) == ("ApplyEyeMakeup", "ApplyEyeMakeup g08")
    groups = [{sample.group for sample in annotations.samples if sample.split == split} for split in ("train", "val")]
    assert not groups[0] & groups[1]
    assert len(groups[0] | groups[1]) == 101 * 25
    with pytest.raises(ValueError, match=r"must hold one trainlist02\.txt for --data\.fold 2, got .*trainlist01\.txt"):
        official("ucf101", fold=2)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_hmdb51_has_70_and_30_videos_of_each_class(official, fold):
    annotations = official("hmdb51", fold=fold)
    assert annotations.format == "hmdb51"
    assert len(annotations.class_names) == 51
    assert (annotations.class_names[0], annotations.class_names[-1]) == ("brush_hair", "wave")
    counts = Counter((sample.class_name, sample.split) for sample in annotations.samples)
    assert all(counts[name, "train"] == 70 for name in annotations.class_names)
    assert all(counts[name, "val"] == 30 for name in annotations.class_names)
    assert "1666 videos are in neither part" in annotations.notes[0]
    assert set("!()#&;[]") <= {character for sample in annotations.samples for character in sample.name}
    groups = [{sample.group for sample in annotations.samples if sample.split == split} for split in ("train", "val")]
    assert not groups[0] & groups[1]


def test_hmdb51_has_three_splits(official):
    with pytest.raises(
        ValueError, match=r"must hold a list of --data\.fold 4 for each class, got none: brush_hair_test_"
    ):
        official("hmdb51", fold=4)
