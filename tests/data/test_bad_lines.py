"""Lists with bad lines, in every format: each is noted with its line, and the others are read."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.data.annotations import Source, read_annotations
from kinema.data.annotations.faults import Faults

V2 = [{"id": "1", "template": "Doing [x]"}, {"template": "Doing"}, {"id": "2", "template": 3}, {"id": 4}, "x"]
JSON = [{"filename": "a.mp4", "label": 0}, {"filename": "b.mp4"}, {"filename": "c.mp4", "label": "x"}]
HVU = [{"filename": "a.mp4", "label": {"scene": [1]}}, {"filename": "b.mp4", "label": {}}, {"label": {"scene": [2]}}]
HEADER = "label,youtube_id,time_start,time_end,split\n"
TABLE = "video_id,label,frames,label_id,shape,format\n"
FRAMES = "original_vido_id video_id frame_id path labels\n"
LISTS = {
    "csv": ("all.csv", "path,label\na.mp4,x\nb.mp4\nc.mp4,y\n../d.mp4,x\na.mp4,y\n", [3, 5, 6], 2),
    "csv of splits": ("all.csv", "path,label,split\na.mp4,x,train\nb.mp4,x,\nc.mp4,x,trian\n", [3, 4], 2),
    "segments": ("all.csv", "path,label,start,end\na.mp4,x,0,1\na.mp4,x,2,1\na.mp4,x,1,z\n", [3, 4], 1),
    "mmaction2_videos": ("train.txt", "a.mp4 0\n" * 9 + "b.mp4 x\n../c.mp4 0\nd.mp4 0\nd.mp4 1\n", [10, 11, 13], 2),
    "negative": ("train.txt", "a.mp4 0\nb.mp4 -1\nc.mp4 1\nd.mp4 100001\n", [2, 4], 2),
    "tsm": ("train_videofolder.txt", "a 9 0\nb 9 1\n" * 5 + "c 9 x\n", [11], 2),
    "pyslowfast_frames": ("train.csv", FRAMES + 'v 0 0 v/1.jpg "1"\nw 1 0 w/1.jpg\nu 2 0 u/1.jpg ""\n', [3, 4], 1),
    "something_v1": ("something-something-v1-train.csv", "1;x\n2\n3;y\n.4;x\n", [2, 4], 2),
    "something_v2": ("something-something-v2-train.json", json.dumps(V2), [2, 3, 4, 5], 1),
    "jester": ("jester-v1-train.csv", "1;x\n2\n3;y\n1;y\n", [2, 4], 2),
    "jester's tables": ("Train.csv", TABLE + "1,x,9,0,s,j\n2,x,9,5,s,j\n3,y\n4,y,9,1,s,j\n", [3, 4], 3),
    "kinetics": ("train.csv", HEADER + "x,a,1,11,train\nx,b,one,11,train\n,c,1,11,train\nx,d\n", [3, 4, 5], 1),
    "ucf101": ("trainlist01.txt", "x/v_x_g01_c01.avi 1\nnothing\ny/v_y_g01_c01.avi 2 3\n", [2, 3], 1),
    "hmdb51": ("x_test_split1.txt", "a.avi 1\nb.avi 3\nc.avi\nd.avi 2\n", [2, 3], 2),
    "mmaction2_json": ("train.json", json.dumps(JSON), [2, 3], 1),
    "hvu": ("train.json", json.dumps(HVU), [2, 3], 1),
}


@pytest.mark.parametrize("name", LISTS)
def test_bad_lines_are_noted_and_the_others_are_read(tmp_path, name):
    file, text, lines, num_rows = LISTS[name]
    (tmp_path / file).write_text(text)
    source = Source(root=tmp_path, annotations=tmp_path / file)
    faults = Faults(note=True)
    annotations = read_annotations(Source(root=tmp_path, annotations=tmp_path / file, faults=faults))
    assert sorted((bad.file, bad.line) for bad in faults.noted) == [(tmp_path / file, line) for line in lines]
    assert len(annotations.samples) == num_rows
    assert faults.count == len(lines)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (each format has its own sentence)
        read_annotations(source)
    assert str(caught.value).startswith(tuple(bad.sentence for bad in faults.noted))


def test_labels_that_are_all_off_by_one_stay_one_fault(tmp_path):
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    (tmp_path / "train.txt").write_text("a.mp4 1\nb.mp4 2\nc.mp4 3\n")
    faults = Faults(note=True)
    source = Source(root=tmp_path, annotations=tmp_path / "train.txt", faults=faults)
    with pytest.raises(ValueError, match=r"labels must count from 0, got 1 to 3 for the 3 names"):
        read_annotations(source)
    assert faults.count == 0


def test_very_many_labels_that_are_out_of_range_are_counted(tmp_path):
    rows = "".join(f"{number}.mp4 {-1 - number % 5}\n" for number in range(1234))
    (tmp_path / "train.txt").write_text("a.mp4 0\nb.mp4 1\n" + rows)
    faults = Faults(note=True)
    read_annotations(Source(root=tmp_path, annotations=tmp_path / "train.txt", faults=faults))
    assert (faults.count, len(faults.noted)) == (1234, 1000)


CELLS = st.sampled_from(["a.mp4", "b.mp4", "../c", "x", "y", "0", "1", "-1", "7", "train", ".h", "0.5", "é", "", " "])
SEPARATORS = {"csv": ",", "segments": ",", "kinetics": ",", "jester": ";", "something_v1": ";"}
HEADERS = {"csv": "path,label", "segments": "path,label,start,end", "kinetics": HEADER.strip()}
NAMES = {
    "something_v1": "something-something-v1-train.csv",
    "jester": "jester-v1-train.csv",
    "ucf101": "trainlist01.txt",
}


@pytest.mark.parametrize(
    "format", ["csv", "segments", "kinetics", "jester", "something_v1", "ucf101", "mmaction2_videos", "tsm", "ibm"]
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=5), min_size=1, max_size=6))
def test_of_any_list_what_is_left_without_its_bad_lines_is_read_as_it_is(tmp_path, format, rows):
    path = tmp_path / NAMES.get(format, "train.csv" if format in HEADERS else "train.txt")
    written = [SEPARATORS.get(format, " ").join(row) for row in rows]
    lines = [HEADERS[format], *written] if format in HEADERS else written
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    faults = Faults(note=True)

    def read(**options):
        try:
            return read_annotations(Source(root=tmp_path, annotations=path, **options), format=format)
        except ValueError as error:
            return str(error)

    strict, noting = read(), read(faults=faults)
    assert isinstance(strict, str) == (isinstance(noting, str) or faults.count > 0)
    if isinstance(noting, str):
        assert path.name in noting
        return
    bad = {noted.line for noted in faults.noted}
    assert all(path.name in noted.sentence and 1 <= noted.line <= len(lines) for noted in faults.noted)
    good = ["" if line in bad else text for line, text in enumerate(lines, start=1)]
    path.write_text("\n".join(good), encoding="utf-8")
    alone = read()
    if not noting.samples:
        assert isinstance(alone, str)
        return
    assert list(alone.samples) == list(noting.samples)
