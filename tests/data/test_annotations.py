"""Which videos there are and what they show: class folders and CSV."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kinema.data.annotations import Sample, Source, read_annotations, read_samples


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def frames(root, *names, num=3):
    for name in names:
        touch(root, *(f"{name}/{i:05}.jpg" for i in range(1, num + 1)))


def rows(samples):
    return [(sample.name, sample.class_name, sample.split, sample.group) for sample in samples]


def read_text(root, text, **options):
    path = root / "list.csv"
    path.write_bytes(text.encode("utf-8", **options))
    return read_samples(root, annotations=path)


def test_train_and_val_folders_give_splits(tmp_path):
    touch(tmp_path, "train/b/2.mp4", "train/a/10.avi", "train/a/9.mp4", "val/a/1.webm", "test/b/3.mkv", "README.txt")
    samples = read_samples(tmp_path)
    assert rows(samples) == [
        ("test/b/3.mkv", "b", "test", None),
        ("train/a/10.avi", "a", "train", None),
        ("train/a/9.mp4", "a", "train", None),
        ("train/b/2.mp4", "b", "train", None),
        ("val/a/1.webm", "a", "val", None),
    ]
    assert samples[0].path == tmp_path / "test/b/3.mkv"


@pytest.mark.parametrize(("train", "val"), [("train", "validation"), ("Train", "Validation"), ("TRAIN", "val")])
def test_other_writings_of_the_split_folders_are_known(tmp_path, train, val):
    touch(tmp_path, f"{train}/a/1.mp4", f"{val}/a/2.mp4")
    assert [(sample.class_name, sample.split) for sample in read_samples(tmp_path)] == [("a", "train"), ("a", "val")]


def test_one_folder_of_classes_has_no_split(tmp_path):
    touch(tmp_path, "zoom/1.mp4", "jump/1.mp4", "jump/2.mp4")
    assert rows(read_samples(tmp_path)) == [
        ("jump/1.mp4", "jump", None, None),
        ("jump/2.mp4", "jump", None, None),
        ("zoom/1.mp4", "zoom", None, None),
    ]


def test_folders_of_numbered_frames_are_videos(tmp_path):
    frames(tmp_path, "jump/clip1", "jump/clip2", "run/deep/clip3")
    assert [sample.name for sample in read_samples(tmp_path)] == ["jump/clip1", "jump/clip2", "run/deep/clip3"]


def test_folders_inside_a_class_count_for_it(tmp_path):
    touch(tmp_path, "jump/day1/cam a/1.mp4", "jump/2.mp4", "run/1.mp4")
    assert rows(read_samples(tmp_path))[0] == ("jump/2.mp4", "jump", None, None)
    assert rows(read_samples(tmp_path))[1] == ("jump/day1/cam a/1.mp4", "jump", None, None)


def test_names_are_kept_as_they_stand(tmp_path):
    names = ["Big Jump, twice (left)/a b.mp4", "-5/x.mp4", "007/y.mp4", "über/ü.mp4", 'it\'s "so"/z.mp4']
    touch(tmp_path, *names)
    samples = read_samples(tmp_path)
    assert {sample.name for sample in samples} == set(names)
    assert {sample.class_name for sample in samples} == {name.split("/")[0] for name in names}
    assert [sample.name for sample in samples] == sorted(names)


def test_hidden_entries_and_other_files_are_passed_over(tmp_path):
    touch(tmp_path, "a/1.mp4", "a/notes.txt", "a/.2.mp4", ".cache/x.mp4", "a/.trash/3.mp4", "notes.txt", "b/2.mp4")
    assert [sample.name for sample in read_samples(tmp_path)] == ["a/1.mp4", "b/2.mp4"]


def test_links_are_followed_and_loops_are_not(tmp_path):
    touch(tmp_path / "store", "x.mp4", "deep/y.mp4")
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/x.mp4").symlink_to(tmp_path / "store/x.mp4")
    (tmp_path / "data/a/loop").symlink_to(tmp_path / "data/a", target_is_directory=True)
    (tmp_path / "data/b").symlink_to(tmp_path / "store", target_is_directory=True)
    samples = read_samples(tmp_path / "data")
    assert [(sample.name, sample.class_name) for sample in samples] == [
        ("a/x.mp4", "a"),
        ("b/deep/y.mp4", "b"),
        ("b/x.mp4", "b"),
    ]


def test_a_class_may_be_called_train(tmp_path):
    touch(tmp_path, "train/1.mp4", "car/2.mp4")
    assert {sample.class_name: sample.split for sample in read_samples(tmp_path)} == {"train": None, "car": None}


def test_folders_without_videos_beside_the_splits_do_not_matter(tmp_path):
    touch(tmp_path, "train/a/1.mp4", "val/a/2.mp4", "annotations/list.csv")
    assert len(read_samples(tmp_path)) == 2


def test_a_class_needs_a_video_in_one_split_only(tmp_path):
    touch(tmp_path, "train/a/1.mp4", "val/a/2.mp4", "train/b/3.mp4")
    (tmp_path / "val/b").mkdir()
    assert {sample.class_name for sample in read_samples(tmp_path)} == {"a", "b"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.mp4", "a/2.mp4"], r"must hold one folder for each class, got a video without a class: 1\.mp4"),
        (["train/1.mp4", "val/a/2.mp4"], r"train must hold one folder for each class, got a video without a class: 1"),
        (["UCF/a/1.mp4", "UCF/b/1.mp4"], r"got only UCF, in which a, b look like them; take .*UCF as the root"),
        (["set/train/a/1.mp4", "set/val/a/1.mp4"], r"got only set, in which train, val look like them; take .*set as"),
        (["train/a/1.mp4", "cars/2.mp4"], r"either split folders or class folders, got both: train and cars;"),
        (["val/a/1.mp4", "validation/a/1.mp4", "train/a/3.mp4"], r"one folder for each split, got val and validation"),
        (["a/1.mp4", "b/x.txt", "b/.h.mp4"], r"class folder .*b must hold videos, got 2 other files \(1 hidden\)"),
    ],
)
def test_another_layout_is_refused_with_what_was_found(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        read_samples(tmp_path)


def test_an_empty_class_folder_is_refused(tmp_path):
    touch(tmp_path, "a/1.mp4")
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="b must hold videos, got an empty folder"):
        read_samples(tmp_path)


def test_a_root_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"root must be a folder of videos, got .*nowhere; check the path"):
        read_samples(tmp_path / "nowhere")


def test_the_cctv_clips_are_two_classes(shared_dir):
    samples = read_samples(shared_dir / "clips" / "fight_cctv")
    assert [sample.class_name for sample in samples] == ["fight"] * 15 + ["noFight"] * 15


def test_a_csv_gives_paths_labels_splits_and_groups(tmp_path):
    touch(tmp_path, "v/1.mp4", "v/2.mp4")
    samples = read_text(tmp_path, "path,label,split,group\nv/2.mp4,jump,train,anna\nv/1.mp4,run,val,\n")
    assert rows(samples) == [("v/1.mp4", "run", "val", None), ("v/2.mp4", "jump", "train", "anna")]
    assert samples[0] == Sample(tmp_path / "v/1.mp4", "run", "val", None, "v/1.mp4")


def test_columns_may_stand_in_any_order_and_case(tmp_path):
    touch(tmp_path, "1.mp4")
    assert rows(read_text(tmp_path, "Label, PATH\njump, 1.mp4\n")) == [("1.mp4", "jump", None, None)]


def test_quotes_keep_blanks_and_commas(tmp_path):
    touch(tmp_path, "a b, c.mp4", 'say "x".mp4')
    text = 'path,label\n"a b, c.mp4","jump, twice"\n"say ""x"".mp4", "run fast"\n'
    assert rows(read_text(tmp_path, text)) == [
        ("a b, c.mp4", "jump, twice", None, None),
        ('say "x".mp4', "run fast", None, None),
    ]


@pytest.mark.parametrize("prefix", ["", "\ufeff"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_byte_order_mark_line_ends_and_blank_lines_do_not_matter(tmp_path, prefix, ending):
    touch(tmp_path, "1.mp4", "2.mp4")
    text = prefix + ending.join(["", "path,label", "", "1.mp4,jump ", " ,", "2.mp4,über", "", ""])
    assert rows(read_text(tmp_path, text)) == [("1.mp4", "jump", None, None), ("2.mp4", "über", None, None)]


def test_labels_that_look_like_numbers_are_names(tmp_path):
    touch(tmp_path, "1.mp4", "2.mp4")
    assert [sample.class_name for sample in read_text(tmp_path, "path,label\n1.mp4,010\n2.mp4,2\n")] == ["010", "2"]


@pytest.mark.parametrize(
    ("there", "place", "names"),
    [
        ("root", "root", ["1.mp4", "clip"]),
        ("lists", "lists", ["1.mp4", "clip"]),
        ("root/videos", "root", ["videos/1.mp4", "videos/clip"]),
        ("elsewhere", "root", ["1.mp4", "clip"]),
    ],
)
def test_paths_start_where_the_first_of_them_are(tmp_path, there, place, names):
    touch(tmp_path, f"{there}/1.mp4", "lists/x", "root/x")
    frames(tmp_path, f"{there}/clip")
    (tmp_path / "lists/all.csv").write_text("path,label\n1.mp4,a\nclip,c\n")
    samples = read_samples(tmp_path / "root", annotations=tmp_path / "lists/all.csv")
    assert [(sample.name, sample.path) for sample in samples] == [(name, tmp_path / place / name) for name in names]


def test_an_absolute_path_is_taken_as_it_is(tmp_path):
    touch(tmp_path, "far/1.mp4")
    (tmp_path / "root").mkdir()
    samples = read_text(tmp_path / "root", f"path,label\n{tmp_path}/far/1.mp4,a\n")
    assert samples[0].path == tmp_path / "far/1.mp4"


def test_a_row_that_stands_twice_counts_once(tmp_path):
    touch(tmp_path, "1.mp4")
    assert len(read_text(tmp_path, "path,label\n1.mp4,a\n./1.mp4,a\n1.mp4,a\n")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"list\.csv must have a header line path,label, got an empty file"),
        ("path,label\n", r"must have rows below its header, got none"),
        ("1.mp4,jump\n2.mp4,run\n", r"must begin with a header line such as path,label, got '1\.mp4,jump' in line 1"),
        ("\n1.mp4;jump\n", r"must begin with a header line such as path,label, got '1\.mp4;jump' in line 2"),
        ("path,label,spilt\n1.mp4,a,train\n", r"got 'spilt'; did you mean split\?"),
        ("path,label,start_time\n1.mp4,a,3\n", r"only columns path, label, split, group, got 'start_time'; known"),
        ("path,split\n1.mp4,train\n", r"each of path and label once, got 'path,split' without label"),
        ("path,label,label\n1.mp4,a,b\n", r"got 'path,label,label' with a column twice"),
        ("path,label\n1.mp4,jump, twice\n", r"line 2, must have 2 cells like the header, got 3: '1\.mp4,jump,twice'"),
        ("path,label\n1.mp4\n", r"line 2, must have 2 cells like the header, got 1"),
        ("path,label\n1.mp4,\n", r"line 2, must have a path and a label, got '1\.mp4,'"),
        ("path,label\n,a\n", r"line 2, must have a path and a label"),
        ("path,label,split\n1.mp4,a,trainn\n", r"line 2, must have a split out of train, val, test, got 'trainn'"),
        (
            "path,label,split\n1.mp4,a,train\n2.mp4,a,\n",
            r"a split to every row or to none, got none in line 3 \(1 such",
        ),
        ("path,label\n1.mp4,a\n\n2.mp4,b\n1.mp4,b\n", r"got '1\.mp4' as a in line 2 and as b in line 5"),
        ("path,label,split\n1.mp4,a,train\n1.mp4,a,val\n", r"as a/train in line 2 and as a/val in line 3"),
        ('path,label\n"1.mp4,a\n2.mp4,b\n', r"list\.csv, line 3, must be CSV, got a syntax error"),
        ("path,label\n../../etc/passwd,a\n", r"list\.csv, line 2: paths must stay in their folder, got '\.\./\.\./etc"),
        ("path,label,labels\n1.mp4,a,b\n", r"got 'path,label,labels' with a column twice"),
    ],
)
def test_a_faulty_csv_is_refused_with_the_line(tmp_path, text, message):
    touch(tmp_path, "1.mp4", "2.mp4")
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, text)


LONG = "".join(f"v/{number}.mp4,{number % 7}\n" for number in range(2000))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("v/x.mp4,1,2", r"list\.csv, line 2005, must have 2 cells like the header, got 3"),
        ("../x.mp4,1", r"list\.csv, line 2005: paths must stay in their folder"),
        ("v/7.mp4,5", r"got 'v/7\.mp4' as 0 in line 12 and as 5 in line 2005"),
        ('v/x.mp4,"1', r"list\.csv, line 2006, must be CSV"),
    ],
)
def test_a_fault_far_down_a_long_csv_is_named_by_its_line(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, f'path,label\n\n"of two\nlines.mp4",1\n{LONG}{line}\nv/y.mp4,3\n')


def test_of_several_faults_the_first_is_named(tmp_path):
    bad = 'v/x.mp4,,\nv/y.mp4,\nv/z.mp4,"'
    with pytest.raises(ValueError, match=r"list\.csv, line 2002, must have a path and a label"):
        read_text(tmp_path, f"path,label\n{LONG}{bad}")


def test_a_long_csv_is_read_as_a_short_one(tmp_path):
    names = [sample.name for sample in read_text(tmp_path, f"path,label\n{LONG}")]
    assert sorted(names) == sorted(f"v/{number}.mp4" for number in range(2000))


def test_a_csv_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes("path,label\n1.mp4,über\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"list\.csv must be UTF-8 text.*save it as UTF-8"):
        read_samples(tmp_path, annotations=tmp_path / "list.csv")


def test_a_csv_that_is_not_there_is_refused(tmp_path):
    missing = tmp_path / "no.csv"
    with pytest.raises(ValueError, match=f"annotations must be a CSV file, got {re.escape(str(missing))}"):
        read_samples(tmp_path, annotations=missing)


def test_a_sample_that_stands_alone_is_named_by_its_path():
    assert Sample(Path("a/b.mp4"), "wave").name == "a/b.mp4"


@pytest.mark.parametrize(
    ("written", "split"),
    [
        ("Train", "train"),
        ("training", "train"),
        ("VAL", "val"),
        ("validation", "val"),
        ("valid", "val"),
        ("Test", "test"),
    ],
)
def test_splits_have_several_names(tmp_path, written, split):
    touch(tmp_path, "1.mp4")
    assert read_text(tmp_path, f"path,label,split\n1.mp4,a,{written}\n")[0].split == split


def test_blanks_around_a_path_are_dropped_unless_they_are_part_of_it(tmp_path):
    touch(tmp_path, "1.mp4", "2.mp4 ")
    samples = read_text(tmp_path, "path,label\n1.mp4 ,a\n2.mp4 ,a\n")
    assert [sample.name for sample in samples] == ["1.mp4", "2.mp4 "]
    assert all(sample.path.exists() for sample in samples)


@pytest.mark.parametrize("labels", ["0 1 0", "3 4 5", "0 0 0 1 1 1"])
def test_a_csv_with_a_header_is_a_csv_although_its_classes_are_numbers(tmp_path, labels):
    rows = [f"v/{number}.mp4,{label}" for number, label in enumerate(labels.split())]
    (tmp_path / "rows.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    for file in (None, tmp_path / "rows.csv"):
        found = read_annotations(Source(root=tmp_path, annotations=file))
        assert (found.format, found.class_names) == ("csv", tuple(sorted(set(labels.split()))))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("labels.csv", b"path|label\na/1.mp4|x\n", "'path|label' in line 1"),
        ("labels.csv", "path,über\na/1.mp4,x\n".encode("latin-1"), "no text in UTF-8"),
        ("labels.csv", b"", "an empty file"),
        ("persons.csv", b"video_path,who\na/1.mp4,x\n", "'video_path,who' in line 1"),
        ("names.csv", b"name,label\na/1.mp4,x\n", "'name,label' in line 1"),
        ("train.txt", b"", "an empty file"),
        ("all.txt", b"a/1.mp4 walking\n", "'a/1.mp4 walking' in line 1"),
    ],
)
def test_annotations_that_are_not_understood_are_never_passed_over_for_the_folders(tmp_path, name, content, what):
    touch(tmp_path, "a/1.mp4", "b/2.mp4")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="must be annotations in a format that is known") as caught:
        read_samples(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name} must")
    assert f"got {what};" in str(caught.value)
    assert read_annotations(Source(root=tmp_path), format="class_folders").class_names == ("a", "b")


def test_each_list_takes_the_videos_in_the_folder_of_its_split(tmp_path):
    touch(tmp_path, *(f"videos_{split}/v{number}.mp4" for split in ("train", "val") for number in range(3)))
    for split in ("train", "val"):
        rows = "".join(f"v{number}.mp4 {number % 2}\n" for number in range(3))
        (tmp_path / f"mm_{split}_list_videos.txt").write_text(rows)
    found = {sample.name: sample.split for sample in read_samples(tmp_path)}
    assert found == {f"videos_{split}/v{number}.mp4": split for split in ("train", "val") for number in range(3)}
