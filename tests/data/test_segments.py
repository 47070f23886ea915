"""Labelled segments of long videos, and CSV files that a root holds or that give a video several classes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kinema.data.annotations import Section, Source, read_annotations
from kinema.data.split.samples import split_samples
from kinema.data.video.section import open_sample


def read(root, text=None, *, name="all.csv", **options):
    if text is not None:
        (root / name).write_text(text, encoding="utf-8", newline="")
    return read_annotations(Source(root=root, **options))


def test_segments_are_samples_of_their_own(tmp_path):
    text = "path,label,start,end,split\na.mp4,jump,0,2.5,train\na.mp4,run,2.5,4,train\nb.mp4,jump,1e1,12,val\n"
    annotations = read(tmp_path, text)
    assert (annotations.format, annotations.class_names) == ("segments", ("jump", "run"))
    assert [(s.name, s.class_name, s.split, s.group, s.section) for s in annotations.samples] == [
        ("a.mp4#0-2.5s", "jump", "train", "a.mp4", Section(0.0, 2.5)),
        ("a.mp4#2.5-4s", "run", "train", "a.mp4", Section(2.5, 4.0)),
        ("b.mp4#10-12s", "jump", "val", "b.mp4", Section(10.0, 12.0)),
    ]


def test_segments_of_one_video_stay_on_one_side_of_a_split(tmp_path):
    lines = [f"{name}.mp4,{label},{start},{start + 1}" for name in "abcdef" for start, label in enumerate("xy")]
    annotations = read(tmp_path, "\n".join(["path,label,start,end", *lines]))
    train, val = split_samples(annotations.samples, val_fraction=0.3, seed=0)
    assert val
    assert {sample.path for sample in train}.isdisjoint({sample.path for sample in val})


def test_a_column_of_groups_goes_before_the_video(tmp_path):
    annotations = read(tmp_path, "path,label,start,end,group\na.mp4,x,0,1,anna\na.mp4,y,1,2,\n")
    assert [sample.group for sample in annotations.samples] == ["anna", "a.mp4"]


def test_a_segment_of_a_real_video_has_the_frames_of_its_time(shared_dir, tmp_path):
    video = shared_dir / "clips/arid/Stand_1_1.mp4"
    (sample,) = read(tmp_path, f"path,label,start,end\n{video},stand,0.5,1\n").samples
    with open_sample(sample) as section:
        assert len(section) == 15  # of 30 frames a second


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,label,start,end\na,x,1,1\n", r"all\.csv, line 2, must have a start .* got '1' and '1'; correct them"),
        ("path,label,start,end\na,x,0,1\nb,x,-1,1\n", r"line 3, must have a start of at least 0 and an end after it"),
        ("path,label,start,end\na,x,2,1\n", "line 2, must have a start"),
        ("path,label,start,end\na,x,nan,1\n", r"got 'nan' and '1'"),
        ("path,label,start,end\na,x,0,inf\n", r"got '0' and 'inf'"),
        ("path,label,start,end\na,x,,\n", r"got '' and ''"),
        ("path,label,start\na,x,0\n", r"must have each of path and label and start and end once.* without end"),
        (
            "path,label,start,end\na,x,0,1\na,y,0,1\n",
            r"got 'a#0-1s' as x/a in line 2 and as y/a in line 3; remove one",
        ),
    ],
)
def test_faulty_segments_are_refused_with_the_line(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path, text)


def test_one_csv_is_found_by_the_root_alone(tmp_path):
    (tmp_path / "other.csv").write_text("id,name\n0,a\n")
    annotations = read(tmp_path, "path,label\na.mp4,jump\nb.mp4,run\n")
    assert (annotations.format, [sample.class_name for sample in annotations.samples]) == ("csv", ["jump", "run"])


def test_a_csv_for_each_split_gives_the_splits(tmp_path):
    (tmp_path / "val.csv").write_text("path,label\nb.mp4,run\n")
    annotations = read(tmp_path, "path,label\na.mp4,jump\n", name="train.csv")
    assert [(s.name, s.split) for s in annotations.samples] == [("a.mp4", "train"), ("b.mp4", "val")]


def test_a_video_in_two_splits_is_left_to_the_check(tmp_path):
    (tmp_path / "val.csv").write_text("path,label\na.mp4,jump\n")
    annotations = read(tmp_path, "path,label\na.mp4,jump\n", name="train.csv")
    assert [sample.split for sample in annotations.samples] == ["train", "val"]


def test_two_csv_files_of_no_split_are_refused(tmp_path):
    (tmp_path / "more.csv").write_text("path,label\nb.mp4,run\n")
    with pytest.raises(ValueError, match=r"lists must be one for each of train, val and test, got all\.csv, more\.csv"):
        read(tmp_path, "path,label\na.mp4,jump\n")


def test_a_column_of_labels_gives_several_classes(tmp_path):
    annotations = read(tmp_path, "path,labels\na.mp4,jump; run|sing\nb.mp4,run\nc.mp4,run;run\n")
    assert annotations.multi_label
    assert annotations.class_names == ("jump", "run", "sing")
    assert [sample.class_names for sample in annotations.samples] == [("jump", "run", "sing"), ("run",), ("run",)]


def test_a_label_with_a_semicolon_is_one_name(tmp_path):
    annotations = read(tmp_path, "path,label\na.mp4,jump;run\n")
    assert (annotations.multi_label, annotations.class_names) == (False, ("jump;run",))


CELLS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["path", "label", "labels", "start", "end", "split", "a.mp4", "0", "1", "../a"]),
)
TABLES = st.tuples(
    st.sampled_from(["", "path,label", "path,labels", "path,label,start,end", "path,label,split", "path,label,start"]),
    st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=5),
).map(lambda parts: "\n".join([parts[0], *parts[1]]))


@pytest.mark.parametrize("format", ["csv", "segments"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TABLES | st.text(max_size=40))
@example(text="path,label\r\na,b\rc")
@example(text="path,label\n\0,a")
def test_any_text_gives_samples_or_a_sentence_that_names_the_file(tmp_path, format, text):
    path = tmp_path / "train.csv"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        annotations, sentence = read_annotations(Source(root=tmp_path, annotations=path), format=format), "train.csv"
    except ValueError as error:
        annotations, sentence = None, str(error)
    assert "train.csv" in sentence
    if annotations is not None:
        names = {name for sample in annotations.samples for name in sample.class_names}
        assert names == set(annotations.class_names)
