"""Lists that number the classes: what their lines mean, what is refused, and the field's own files."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kinema.data.annotations import FORMATS, Section, Source, read_annotations
from kinema.data.annotations.class_list import read_class_names
from kinema.data.annotations.list_files import split_of
from kinema.data.annotations.list_layout import LAYOUTS


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def touch(root, *names):
    for name in names:
        write(root, name, "")


def frames(root, *names, count=5):
    for name in names:
        touch(root, *(f"{name}/img_{number:05}.jpg" for number in range(1, count + 1)))


def read(root, *, annotations=None, format="auto", **options):
    return read_annotations(Source(root=root, annotations=annotations, **options), format=format)


def rows(annotations):
    return [(sample.name, sample.class_names, sample.section) for sample in annotations.samples]


@pytest.mark.parametrize(
    ("format", "line", "expected"),
    [
        ("mmaction2_videos", "a/b.mp4 1", [("a/b.mp4", ("class_1",), None)]),
        ("mmaction2_videos", "my walk 2 (left).mp4 1", [("my walk 2 (left).mp4", ("class_1",), None)]),
        ("mmaction2_videos", '"a b.mp4"\t3', [("a b.mp4", ("class_3",), None)]),
        ("mmaction2_multi_label", "a b.mp4 1 4 0", [("a b.mp4", ("class_1", "class_4", "class_0"), None)]),
        ("mmaction2_rawframes", "a b 163 1", [("a b", ("class_1",), None)]),
        ("mmaction2_rawframes_multi_label", "a 163 1 4", [("a", ("class_1", "class_4"), None)]),
        ("mmaction2_offset", "a 12 163 3", [("a#12-175f", ("class_3",), Section(12, 175, "frames"))]),
        (
            "mmaction2_rawvideos",
            "a 1 4 0 3",
            [("a/part_0.mp4", ("class_1",), None), ("a/part_3.mp4", ("class_1",), None)],
        ),
        ("tsm", "100218 42 35", [("100218", ("class_35",), None)]),
        ("tsm", "a b 42 144,246", [("a b", ("class_144", "class_246"), None)]),
        ("ibm", "a 1 30 2", [("a#0-30f", ("class_2",), Section(0, 30, "frames"))]),
        ("pyslowfast", "/data/a b.mp4 2", [("/data/a b.mp4", ("class_2",), None)]),
        ("pyslowfast", "a b.mp4,2", [("a b.mp4", ("class_2",), None)]),
        ("pyslowfast", '"a, b.mp4",2', [("a, b.mp4", ("class_2",), None)]),
        ("pyslowfast", "a b.mp4::2", [("a b.mp4", ("class_2",), None)]),
        ("pyslowfast", "a b.mp4;2", [("a b.mp4", ("class_2",), None)]),
    ],
)
def test_a_line_is_read_as_its_system_reads_it(tmp_path, format, line, expected):
    list_file = write(tmp_path, "list.txt", f"\ufeff{line}\r\n\r\n")
    annotations = read(tmp_path, annotations=list_file, format=format)
    assert rows(annotations) == expected
    assert annotations.multi_label == (format.endswith("multi_label") or "," in line.split()[-1][:-2])


@pytest.mark.parametrize(
    ("lines", "there", "format"),
    [
        (["a.mp4 1", "b c.mp4 0"], [], "mmaction2_videos"),
        (["a.mp4 1", "b.mp4 0"], ["a.mp4"], "mmaction2_videos"),
        (["a 12", "b 13"], [], "mmaction2_videos"),
        (["a.mp4 1 4", "b.mp4 2"], [], "mmaction2_multi_label"),
        (["a.mp4 0 4", "b.mp4 2 3"], [], "mmaction2_multi_label"),
        (["a.mp4 20 4", "b.mp4 4 4"], [], "tsm"),
        (["a 20 4", "b 30 4"], [], "tsm"),
        (["a 20 4", "b 30 4"], ["a.mp4"], "tsm"),
        (["clip 1 0", "clip 2 1"], ["clip 1/1.jpg", "clip 2/1.jpg"], "mmaction2_videos"),
        (["a 5 1", "b 5 3 4"], [], "mmaction2_rawframes_multi_label"),
        (["a 5 3 3", "b 5 3 3"], [], "mmaction2_offset"),
        (["a 0 3 1"], [f"a/{n}.jpg" for n in range(3)], "mmaction2_offset"),
        (["a 4 6 7", "b 4 6 7"], [f"a/{n}.jpg" for n in range(6)], None),
        (["a 2 3 1"], ["a/part_0.mp4", "a/part_1.mp4"], "mmaction2_rawvideos"),
        (["a 20 144,246", "b 20 3"], [], "tsm"),
        (["a.mp4,1", "b.mp4,0"], [], "pyslowfast"),
        (["a.mp4::1", "b.mp4::0"], [], "pyslowfast"),
    ],
)
def test_the_whole_list_and_the_disk_decide_between_formats(tmp_path, lines, there, format):
    touch(tmp_path, *there)
    write(tmp_path, "all.txt", "\n".join(lines))
    if format is None:
        with pytest.raises(ValueError, match=r"all\.txt must leave no choice .* say which it is with --data\.format"):
            read(tmp_path)
    else:
        assert read(tmp_path).format == format


def test_what_stays_open_names_the_choices(tmp_path):
    write(tmp_path, "all.txt", "a.mp4 12 3\nb.mp4 11 4\n")
    with pytest.raises(ValueError, match=r"got 'a.mp4 12 3'; .* one of mmaction2_multi_label \(path label label .*tsm"):
        read(tmp_path)
    assert read(tmp_path, format="tsm").multi_label is False


def test_names_of_classes_tell_labels_from_numbers_of_frames(tmp_path):
    write(tmp_path, "all.txt", "a.mp4 12 3\nb.mp4 11 4\n")
    write(tmp_path, "classes.txt", "a\nb\nc\nd\ne\n")
    annotations = read(tmp_path)
    assert (annotations.format, annotations.class_names) == ("tsm", tuple("abcde"))
    assert rows(annotations)[0] == ("a.mp4", ("d",), None)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train_videofolder.txt", "train"),
        ("kinetics_tiny_val_video.txt", "val"),
        ("val.csv", "val"),
        ("Training.txt", "train"),
        ("hmdb51_test_split_1_videos.txt", "test"),
        ("trainlist01.txt", "train"),
        ("train_and_val.txt", None),
        ("constraints.txt", None),
        ("all.txt", None),
    ],
)
def test_the_name_of_a_list_tells_its_split(tmp_path, name, split):
    assert split_of(tmp_path / name) == split


def test_lists_of_several_splits_are_read_together_and_their_videos_found(tmp_path):
    touch(tmp_path, "videos_train/x/1.mp4", "videos_val/x/2.mp4")
    write(tmp_path, "train_list.txt", "x/1.mp4 0\n")
    write(tmp_path, "val_list.txt", "x/2.mp4 1\n")
    write(tmp_path, "label_map.txt", "jump\nrun\n")
    annotations = read(tmp_path)
    assert [(sample.name, sample.class_name, sample.split) for sample in annotations.samples] == [
        ("videos_train/x/1.mp4", "jump", "train"),
        ("videos_val/x/2.mp4", "run", "val"),
    ]
    assert all(sample.path.exists() for sample in annotations.samples)
    assert annotations.notes == (f"names of the classes are those of {tmp_path / 'label_map.txt'}",)


def test_of_several_folds_one_is_read(tmp_path):
    for fold in (1, 2):
        write(tmp_path, f"train_split_{fold}_videos.txt", f"a{fold}.mp4 0\n")
        write(tmp_path, f"val_split_{fold}_videos.txt", f"b{fold}.mp4 1\n")
    assert [sample.name for sample in read(tmp_path, fold=2).samples] == ["a2.mp4", "b2.mp4"]


def test_two_lists_of_one_split_are_refused(tmp_path):
    write(tmp_path, "train_a.txt", "a.mp4 0\n")
    write(tmp_path, "train_b.txt", "b.mp4 0\n")
    with pytest.raises(ValueError, match=r"lists must be one for each .* got train_a\.txt, train_b\.txt in .*; name"):
        read(tmp_path)


def test_a_list_of_one_label_a_line_beside_one_of_several_is_of_several_too(tmp_path):
    write(tmp_path, "train.txt", "a.mp4 0\nb.mp4 0 2\n")
    write(tmp_path, "val.txt", "c.mp4 1\n")
    assert read(tmp_path).format == "mmaction2_multi_label"


def test_lists_of_two_formats_are_refused(tmp_path):
    write(tmp_path, "train.txt", "a 12 0\n")
    write(tmp_path, "val.txt", "b.mp4 0\n")
    with pytest.raises(ValueError, match=r"lists must be in one format, got several in .*train\.txt, .*val\.txt; name"):
        read(tmp_path)


def test_a_suffix_that_the_list_leaves_out_is_found(tmp_path):
    touch(tmp_path, "videos/a/x.mp4")
    write(tmp_path, "val_videofolder.txt", "a/x 300 0\na/y 300 1\n")
    assert [sample.name for sample in read(tmp_path).samples] == ["videos/a/x.mp4", "videos/a/y.mp4"]


def test_a_suffix_is_not_added_to_names_that_have_one(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.webm")
    write(tmp_path, "all.txt", "a 0\nb 0\nc.webm 1\n")
    annotations = read(tmp_path, format="mmaction2_videos")
    assert [sample.name for sample in annotations.samples] == ["a.mp4", "b.mp4", "c.webm"]


def test_offsets_are_those_of_frames_counted_from_one(tmp_path):
    frames(tmp_path, "a", count=8)
    list_file = write(tmp_path, "list_with_offset.txt", "a 2 5 0\n")
    (sample,) = read(tmp_path, annotations=list_file).samples
    names = sorted(path.name for path in sample.path.iterdir())
    section = sample.section
    assert names[int(section.start) : int(section.end)] == [f"img_{number:05}.jpg" for number in range(3, 8)]
    assert (sample.group, sample.name) == ("a", "a#2-7f")


def test_a_slip_in_a_list_is_named_with_its_line(tmp_path):
    list_file = write(tmp_path, "train.txt", "\n".join(["a.mp4 0"] * 9 + ["b.mp4 one"]))
    with pytest.raises(ValueError, match=r"train\.txt, line 10, must be path label, got 'b\.mp4 one'"):
        read(tmp_path, annotations=list_file)


def test_a_list_with_a_slip_is_not_left_out(tmp_path):
    write(tmp_path, "train.txt", "\n".join(["a.mp4 0"] * 9 + ["b.mp4 one"]))
    write(tmp_path, "val.txt", "c.mp4 1\n")
    with pytest.raises(ValueError, match=r"train\.txt, line 10, must be path label"):
        read(tmp_path)


def test_a_list_may_be_called_labels(tmp_path):
    write(tmp_path, "train_labels.txt", "a.mp4 0\nb.mp4 1\n")
    write(tmp_path, "labels.txt", "jump\nrun 2\n")
    annotations = read(tmp_path)
    assert rows(annotations) == [("a.mp4", ("jump",), None), ("b.mp4", ("run 2",), None)]


def test_class_folders_with_a_text_beside_them_are_class_folders(tmp_path):
    touch(tmp_path, "jump/1.mp4", "run/2.mp4")
    write(tmp_path, "notes.txt", "videos 2\n")
    assert read(tmp_path).format == "class_folders"


def test_a_root_of_ten_thousand_texts_is_no_list(tmp_path):
    touch(tmp_path, "jump/1.mp4", "run/2.mp4")
    for number in range(101):
        write(tmp_path, f"{number}.txt", "jump/1.mp4 0\n")
    assert read(tmp_path).format == "class_folders"


@pytest.mark.parametrize(
    ("text", "names", "sentence"),
    [
        ("a.mp4 1\nb.mp4 2\n", "x\ny\n", r"train\.txt, line 2: labels must count from 0, got 1 to 2 for the 2 names"),
        ("a.mp4 0\nb.mp4 2\n", "x\ny\n", r"train\.txt, line 2: labels must lie between 0 and 1 \(there are 2 names"),
        ("a.mp4 -1\nb.mp4 0\n", "x\ny\n", r"train\.txt, line 1: labels must lie between 0 and 1 .*, got -1; correct"),
        ("a.mp4 0\nb.mp4 100000000\n", None, r"line 2: labels must lie between 0 and 99999, got 100000000"),
        ("a.mp4 0\nb.mp4\n", None, r"train\.txt, line 2, must be path label, got 'b\.mp4'; mend the line, or choose"),
        ("../../etc/passwd 0\n", None, r"train\.txt, line 1: paths must stay in their folder, got '\.\./\.\./etc/pass"),
        ("a.mp4 0\n\na.mp4 1\n", None, r"got 'a\.mp4' as class_0/train in line 1 and as class_1/train in line 3;"),
        ("", None, r"train\.txt must have a line for each video, got none"),
        ("a.mp4 0\n", "x\nx\n", r"names\.txt: class names must be distinct"),
    ],
)
def test_a_faulty_list_is_refused_with_file_and_line(tmp_path, text, names, sentence):
    list_file = write(tmp_path, "train.txt", text)
    class_list = write(tmp_path, "names.txt", names) if names else None
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path, annotations=list_file, class_list=class_list, format="mmaction2_videos")


def test_a_list_that_counts_from_one_without_names_is_said(tmp_path):
    list_file = write(tmp_path, "list.txt", "a.mp4 1\nb.mp4 2\n")
    notes = read(tmp_path, annotations=list_file).notes
    assert notes[0] == "the classes have only numbers; --data.class_list FILE names them"
    assert notes[1].startswith("no video has label 0: labels count from 0, so if these count from 1, subtract 1")


def test_lines_that_repeat_others_count_once(tmp_path):
    list_file = write(tmp_path, "list.txt", "a.mp4 0\nb.mp4 1\na.mp4 0\na.mp4 0\n")
    annotations = read(tmp_path, annotations=list_file)
    assert [sample.name for sample in annotations.samples] == ["a.mp4", "b.mp4"]
    assert annotations.notes[-1] == "lines that repeat others and count once: 2"


def test_a_file_in_no_known_format_is_refused(tmp_path):
    list_file = write(tmp_path, "list.lst", "what is this\n")
    with pytest.raises(ValueError, match=r"annotations must be in a format that is known, got .*list\.lst; docs/"):
        read(tmp_path, annotations=list_file)


def test_lists_of_frames_gather_the_labels_of_a_video(tmp_path):
    header = "original_vido_id video_id frame_id path labels\n"
    lines = ['x 0 0 v/x/1.jpg "3,1"', 'y 1 0 v/y/1.jpg ""', 'x 0 1 v/x/2.jpg "1,2"', 'y 1 1 v/y/2.jpg "0"']
    write(tmp_path, "train.csv", header + "\n".join(lines))
    annotations = read(tmp_path)
    assert annotations.format == "pyslowfast_frames"
    assert annotations.multi_label
    assert rows(annotations) == [("v/x", ("class_3", "class_1", "class_2"), None), ("v/y", ("class_0",), None)]
    write(tmp_path, "train.csv", header + "\n".join(lines[1:2]))
    with pytest.raises(ValueError, match=r"train\.csv, line 2: a video must have a label in one of its lines"):
        read(tmp_path)
    write(tmp_path, "train.csv", header + "x 0 v/x/1.jpg 3")
    with pytest.raises(ValueError, match=r"train\.csv, line 2, must be original_vido_id video_id .* got 'x 0 v/x/1"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1 ApplyEyeMakeup\r\n2 ApplyLipstick\r\n", ("ApplyEyeMakeup", "ApplyLipstick")),
        ("0 b\n1 a c\n", ("b", "a c")),
        ('0,b\n1,"a, c"\n', ("b", "a, c")),
        ("1 b\n3 a\n", ("1 b", "3 a")),
        ("2 b\n3 a\n", ("2 b", "3 a")),
    ],
)
def test_numbers_in_front_of_class_names_are_dropped(tmp_path, text, names):
    assert read_class_names(write(tmp_path, "classInd.txt", text), order="file") == names


OFFICIAL = [
    ("tests_video_test_list.txt", "mmaction2_videos", [("test.mp4", ("class_0",), None)]),
    (
        "tests_video_test_list_multi_label.txt",
        "mmaction2_multi_label",
        [("test.mp4", ("class_0", "class_3"), None), ("test.mp4", ("class_0", "class_2", "class_4"), None)],
    ),
    ("tests_rawframe_test_list.txt", "mmaction2_rawframes", [("imgs", ("class_127",), None)]),
    (
        "tests_rawframe_test_list_multi_label.txt",
        "mmaction2_rawframes_multi_label",
        [("imgs", ("class_1",), None), ("imgs", ("class_3", "class_5"), None)],
    ),
    (
        "tests_rawframe_test_list_with_offset.txt",
        "mmaction2_offset",
        [("imgs#2-7f", ("class_127",), Section(2, 7, "frames"))],
    ),
    ("tests_rawvideo_test_anno.txt", "mmaction2_rawvideos", [("rawvideo_dataset/part_0.mp4", ("class_1",), None)]),
    ("tests_rawvideo_test_anno.json", "mmaction2_json", [("rawvideo_dataset/part_0.mp4", ("class_1",), None)]),
]


@pytest.mark.parametrize(("name", "format", "expected"), OFFICIAL)
def test_files_of_mmaction2s_own_tests_are_read(shared_dir, name, format, expected):
    folder = shared_dir / "annotations/mmaction2"
    annotations = read(folder, annotations=folder / name)
    assert (annotations.format, rows(annotations)) == (format, expected)


def test_hvu_names_its_classes_by_category(shared_dir):
    folder = shared_dir / "annotations/mmaction2"
    annotations = read(folder, annotations=folder / "tests_hvu_video_test_anno.json")
    assert annotations.multi_label
    assert len(annotations.class_names) == 12
    assert annotations.samples[1].class_names[:3] == ("action_180", "concept_250", "concept_131")


def test_a_users_own_lists_are_found_by_the_root_alone(shared_dir):
    annotations = read(shared_dir / "annotations/mmaction2_tiny_user")
    train, val = ([s for s in annotations.samples if s.split == split] for split in ("train", "val"))
    assert (len(train), len(val), annotations.class_names) == (74, 20, ("doing exercises", "typing"))
    assert (val[0].name, val[0].class_name) == ("typing41.mp4", "typing")


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        (
            "somethingv1/train_videofolder.head200.txt",
            200,
            ("100218", "train", "Something falling like a feather or paper"),
        ),
        ("kinetics/tdn_val_videofolder.excerpt.txt", 156, ("abseiling/0wR5jVB-WPk", "val", "abseiling")),
        ("somethingv2/ctnet_val.head200.txt", 200, ("74225", "val", "class_140")),
    ],
)
def test_lists_of_tsm_and_its_forks_are_read(shared_dir, name, count, first):
    path = shared_dir / "annotations" / name
    annotations = read(path.parent, annotations=path)
    sample = annotations.samples[0]
    assert (annotations.format, len(annotations.samples)) == ("tsm", count)
    assert (sample.name, sample.split, sample.class_name) == first


LINES = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.from_regex(r"[a-c ]{1,3}(\.mp4)?( -?[0-9]{1,4}){0,4}", fullmatch=True),
        st.from_regex(r"[a-c]{1,3}(,|::|;)[0-9]{1,3}", fullmatch=True),
        st.sampled_from(
            ["original_vido_id video_id frame_id path labels", 'a 0 1 a/1.jpg "1,2"', "path,label", "../a 1"]
        ),
    ),
    max_size=6,
).map("\n".join)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["filename", "frame_dir", "video_dir", "label", "positive_clip_inds"]), inner)
    ),
    max_leaves=12,
).map(lambda value: json.dumps([value] if isinstance(value, dict) else value))


def outcome(root, name, text, **options):
    """What reading a file with any text gives: annotations, or the sentence that refuses it."""
    path = root / name
    path.write_text(text, encoding="utf-8", newline="")
    try:
        return read(root, annotations=path, **options), ""
    except ValueError as error:
        return None, str(error)


def check_outcome(annotations, sentence, *, name):
    """What is refused names the file; what is not has classes."""
    if annotations is None:
        assert name in sentence
        assert "\n" not in sentence
    else:
        names = set(annotations.class_names)
        assert len(annotations.samples) > 0
        assert all(sample.class_names and set(sample.class_names) <= names for sample in annotations.samples)


@pytest.mark.parametrize("format", ["auto", *LAYOUTS, "pyslowfast_frames"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=LINES)
@example(text="\ufeffa.mp4 0\r\nb c.mp4 1\r\n")
@example(text="a.mp4 0\0")
def test_any_text_gives_samples_or_a_sentence_that_names_the_file(tmp_path, format, text):
    check_outcome(*outcome(tmp_path, "train.txt", text, format=format), name="train.txt")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=JSONS | st.text(max_size=30))
def test_any_json_gives_samples_or_a_sentence_that_names_the_file(tmp_path, text):
    check_outcome(*outcome(tmp_path, "train.json", text, format="mmaction2_json"), name="train.json")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | LINES)
def test_any_class_list_gives_names_or_a_sentence_that_names_the_file(tmp_path, text):
    path = tmp_path / "names.txt"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        names, sentence = read_class_names(path, order="file"), "names.txt"
    except ValueError as error:
        names, sentence = ("one",), str(error)
    assert "names.txt" in sentence
    assert len(set(names)) == len(names) > 0


def test_every_format_has_words_for_a_person():
    assert all(format.what for format in FORMATS.values())


def test_an_offset_is_told_by_the_frames_on_the_disk(tmp_path):
    frames(tmp_path, "c0/clip_1", count=49)
    write(tmp_path, "mm_train_list_rawframes.txt", "c0/clip_1 3 39 0\n")
    assert read(tmp_path).format == "mmaction2_offset"
