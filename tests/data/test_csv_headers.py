"""CSV files as spreadsheets and other programs write them: separators, encodings, and other names of columns."""

from __future__ import annotations

import pytest

from kinema.data.annotations import Source, read_annotations

ROWS = [("a/1.mp4", "x, y"), ("b/2.mp4", "z")]


def read(root, text, *, name="rows.csv", encoding="utf-8", named=False):
    (root / name).write_bytes(text.encode(encoding))
    return read_annotations(Source(root=root, annotations=root / name if named else None))


def found(annotations):
    return [(sample.name, sample.class_name) for sample in annotations.samples]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("separator", "name", "said"),
    [
        (",", "rows.csv", None),
        (";", "rows.csv", "semicolons"),
        ("\t", "rows.csv", "tabs"),
        ("\t", "rows.tsv", "tabs"),
        ("\t", "rows.txt", "tabs"),
    ],
)
def test_separator_and_encoding_are_found_and_said(tmp_path, separator, name, said, encoding, named):
    lines = [("path", "label"), *ROWS]
    text = "".join(separator.join(f'"{cell}"' for cell in cells) + "\r\n" for cells in lines)
    annotations = read(tmp_path, text, name=name, encoding=encoding, named=named)
    assert (annotations.format, found(annotations)) == ("csv", ROWS)
    words = [f"columns are separated by {said}"] * (said is not None) + ["the text is UTF-16"] * (encoding == "utf-16")
    assert annotations.notes == ((f"{name}: {', '.join(words)}",) if words else ())


@pytest.mark.parametrize(
    ("header", "note"),
    [
        ("Path , LABEL", None),
        ("video,class", "'video' is the path, 'class' is the label"),
        ("File Name,Class Name", "'file name' is the path, 'class name' is the label"),
        ("video_path,category", "'video_path' is the path, 'category' is the label"),
        ("filename,action", "'filename' is the path, 'action' is the label"),
        ("clip,target", "'clip' is the path, 'target' is the label"),
        ("file,name", "'file' is the path, 'name' is the label"),
        ("path,label", None),
    ],
)
def test_columns_under_other_usual_names_are_taken_and_said(tmp_path, header, note):
    annotations = read(tmp_path, f'{header}\na/1.mp4,"x, y"\nb/2.mp4,z\n')
    assert (annotations.format, found(annotations)) == ("csv", ROWS)
    assert annotations.notes == ((f"rows.csv: {note}",) if note else ())


def test_a_bad_row_is_told_as_it_is_separated(tmp_path):
    with pytest.raises(
        ValueError, match=r"line 2, must have 2 cells .* got 3: 'a;b;c'; put names that contain semicolons"
    ):
        read(tmp_path, "path;label\na;b;c\n")


def test_split_and_several_classes_have_other_names_too(tmp_path):
    annotations = read(tmp_path, "video;classes;subset\na.mp4;x|y;training\nb.mp4;y;validation\n")
    assert [(s.class_names, s.split) for s in annotations.samples] == [(("x", "y"), "train"), (("y",), "val")]
    assert annotations.multi_label
    assert annotations.notes[0].startswith("rows.csv: 'video' is the path, 'classes' is the labels, 'subset' is the")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("video,file,label", r"rows\.csv must have one column for the path, got 'video', 'file' in line 1; rename or"),
        ("path,label,class", r"must have one column for the label, got 'label', 'class' in line 1"),
        ("path;action;category", r"must have one column for the label, got 'action', 'category' in line 1"),
        ("path,label,lables", r"must have only columns path, label, split, group, got 'lables'; did you mean label"),
        (
            "path,label,group_id",
            r"must have only columns path, label, split, group, got 'group_id'; did you mean group",
        ),
        ("path;split", r"must have each of path and label once, got 'path;split' without label"),
    ],
)
def test_a_header_that_leaves_a_choice_is_refused(tmp_path, header, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path, f"{header}\na,b,c\n", named=True)


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("something-something-v1-train.csv", "1;Doing other things\n2;Drumming Fingers\n", "something_v1"),
        ("jester-v1-train.csv", "1;Swiping Left\n2;No gesture\n", "jester"),
        ("Train.csv", 'video_id,label,frames,label_id,shape,format\n1,No gesture,37,0,"(1, 2)",jpg\n', "jester"),
        ("val.csv", "label,youtube_id,time_start,time_end,split\nabseiling,abcdefghijk,1,11,val\n", "kinetics"),
        ("all.csv", "path,label,start,end\na.mp4,x,0,1\n", "segments"),
        ("all.csv", "video;class;start;end\na.mp4;x;0;1\n", "segments"),
        ("all.csv", "path,labels\na.mp4,x;y\n", "csv"),
        ("train.csv", "a/1.mp4,0\nb/2.mp4,1\n", "pyslowfast"),
        ("train.csv", "a/1.mp4;0\nb/2.mp4;1\n", "pyslowfast"),
        ("train.csv", 'original_vido_id video_id frame_id path labels\nv 0 0 v/1.jpg "1,2"\n', "pyslowfast_frames"),
        ("train.txt", "a/1.mp4 0\nb/2.mp4 1\n", "mmaction2_videos"),
    ],
)
def test_other_lists_are_still_what_they_are(tmp_path, name, text, format):
    annotations = read(tmp_path, text, name=name)
    assert annotations.format == format
    assert read(tmp_path, text, name=name, named=True).format == format


@pytest.mark.parametrize("text", ["id,name\n0,x\n1,y\n", "label,class\n0,x\n1,y\n", "index;name\n0;x\n1;y\n"])
def test_a_list_of_classes_is_no_list_of_videos(tmp_path, text):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.mp4").touch()
    assert read(tmp_path, text, name="classes.csv").format == "class_folders"


def test_a_line_of_another_encoding_is_named_behind_the_header(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"path,label\n1.mp4,a\n" + "2.mp4,über\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"rows\.csv must be UTF-8 text, got other bytes"):
        read_annotations(Source(root=tmp_path, annotations=tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a.mp4,x\n", r"must begin with a header line such as path,label, got 'a\.mp4,x' in line 1; add the header"),
        (b"path|label\na.mp4|x\n", r"must begin with a header line such as path,label, got 'path\|label' in line 1"),
        (b"path\na.mp4\n", r"must have each of path and label once, got 'path' without label"),
        (b"id,label\na,x\n", r"must have each of path and label once, got 'id,label' without path"),
        (b"", r"must have a header line path,label, got an empty file"),
        (b"path,label\na.mp4,x\nb.mp4,\xe9t\xe9\n", r"must be UTF-8 text, got other bytes in line 3 "),
        ("path,label\na.mp4,x\n".encode("utf-16-le"), r", line 1, must be text, got a zero byte; save it as UTF-8"),
    ],
)
def test_of_the_only_list_it_is_said_what_is_wrong_with_it(tmp_path, content, sentence):
    (tmp_path / "rows.csv").write_bytes(content)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ValueError, match=rf"rows\.csv{'' if sentence[0] == ',' else ' '}{sentence}"):
        read_annotations(Source(root=tmp_path))


@pytest.mark.parametrize(
    ("text", "line"),
    [("sep=;\npath;label\na.mp4;x\nb.mp4\n", 4), ("# a comment\n\n# path,label\npath,label\na.mp4,x\nb.mp4\n", 6)],
)
def test_lines_above_the_header_are_passed_over_and_counted(tmp_path, text, line):
    with pytest.raises(
        ValueError, match=rf"line {line}, must have 2 cells like the header, got 1: 'b.mp4'; add the label$"
    ):
        read(tmp_path, text)
    assert found(read(tmp_path, text.removesuffix("b.mp4\n"))) == [("a.mp4", "x")]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (",path,label\n0,a.mp4,x\n", "one without a name"),
        ("path,label,\na.mp4,x\n", "one without a name"),
        ('path,label,comment,frames\na.mp4,x,"two\nlines",9\n', "'comment', 'frames'"),
        ("path,label\na.mp4,x,, \n", None),
    ],
)
def test_columns_that_say_nothing_of_videos_are_left_out_and_named(tmp_path, text, names):
    annotations = read(tmp_path, text)
    assert found(annotations) == [("a.mp4", "x")]
    assert annotations.notes == ((f"rows.csv: columns that are not read: {names}",) if names else ())


def test_a_zero_byte_in_a_row_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rows\.csv, line 3, must be text, got a zero byte"):
        read(tmp_path, "path,label\na.mp4,x\nb.mp4,x\0y\n")


def test_backslashes_are_slashes_where_only_so_the_video_is_there(tmp_path):
    (tmp_path / "videos/x").mkdir(parents=True)
    for name in ("videos/x/a.mp4", "videos/b\\c.mp4"):
        (tmp_path / name).touch()
    annotations = read(tmp_path, "path,label\n.\\x\\a.mp4,x\nb\\c.mp4,y\n")
    assert [sample.name for sample in annotations.samples] == ["videos/x/a.mp4", "videos/b\\c.mp4"]
    assert annotations.notes == ("rows.csv: backslashes in paths are read as slashes",)
