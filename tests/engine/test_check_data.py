"""`kinema data check` on trees with every kind of fault: what is found, what is cached, what is written."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import crashing
from counting import write_counting_video
from kinema.cli import main
from kinema.data.check import probe as probe_module
from kinema.data.check.cache import Cache
from kinema.data.check.findings import KINDS
from kinema.engine import check_data as module
from kinema.engine.check_data import CheckConfig, check_data

ODD_NAME = os.fsdecode(b'it\'s "odd"\n\xff.mp4')


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Different small videos by name."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(12):
        write_counting_video(folder / f"v{number}.mp4", num_frames=10 + number)
    write_counting_video(folder / "short.mp4", num_frames=3)
    write_counting_video(folder / "wide.mp4", width=96, num_frames=9)
    write_counting_video(folder / "slow.mp4", rate=4, num_frames=9)
    parts = [folder / "small.ts", folder / "large.ts"]
    for part, width in zip(parts, (64, 96), strict=True):
        write_counting_video(part, width=width, codec="mpeg2video", num_frames=12)
    (folder / "changing.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    return folder


def place(videos, root, **files):
    """Copies videos: `{"train/a/x.mp4": "v0.mp4"}`."""
    for name, source in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(videos / source, target)


@pytest.fixture
def faulty(videos, tmp_path):
    """Class folders with every fault that files and folders can have."""
    root = tmp_path / "data"
    place(
        videos,
        root,
        **{
            "train/jump/a.mp4": "v0.mp4",
            "train/jump/b.mp4": "v1.mp4",
            f"train/jump/{ODD_NAME}": "v2.mp4",
            "train/jump/twice.mp4": "v3.mp4",
            "train/jump/twice again.mp4": "v3.mp4",
            "train/walk/a copy.mp4": "v0.mp4",
            "train/walk/held out.mp4": "v4.mp4",
            "train/walk/short.mp4": "short.mp4",
            "train/walk/wide.mp4": "wide.mp4",
            "train/walk/slow.mp4": "slow.mp4",
            "train/walk/changing.ts": "changing.ts",
            "train/rest/v5.mp4": "v5.mp4",
            "val/walk/held out too.mp4": "v4.mp4",
            "val/jump/v6.mp4": "v6.mp4",
            **{f"train/rest/v{number}.mp4": f"v{number}.mp4" for number in range(7, 12)},
        },
    )
    jump = root / "train" / "jump"
    (jump / "empty.mp4").touch()
    (jump / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    (jump / "cut.mp4").write_bytes((videos / "v7.mp4").read_bytes()[:2000])
    (jump / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    (jump / "loop.mp4").symlink_to(jump / "loop.mp4")
    (jump / "folder.mp4").mkdir()
    for name, numbers in (("frames", (1, 2, 3)), ("gap", (1, 2, 4)), ("text", (1, 2, 3)), ("sizes", (1, 2))):
        (jump / name).mkdir()
        for number in numbers:
            Image.new("RGB", (64, 64 + 2 * number * (name == "sizes"))).save(jump / name / f"{number:05d}.jpg")
    (jump / "text" / "00002.jpg").write_text("no picture")
    return root


def checked(root, *, cache=None, **options):
    cache = Cache(None) if cache is None else cache
    options = {"num_workers": 0} | options
    return check_data(str(root), CheckConfig(**options), cache=cache, progress=lambda what, done, total: None)


def told(result):
    """Names of each kind of finding."""
    return {finding.kind: sorted(item.name for item in finding.items) for finding in result.findings}


def reasons(result, kind):
    return {item.name: item.reason for finding in result.findings if finding.kind == kind for item in finding.items}


def test_every_fault_of_a_tree_is_found(faulty):
    result = checked(faulty)
    assert told(result) == {
        "missing": ["train/jump/gone.mp4"],
        "unreadable": [
            "train/jump/cut.mp4",
            "train/jump/empty.mp4",
            "train/jump/gap",
            "train/jump/loop.mp4",
            "train/jump/pointer.mp4",
            "train/jump/sizes",
            "train/jump/text",
        ],
        "leak": ["train/walk/held out.mp4"],
        "contradiction": ["train/jump/a.mp4"],
        "duplicate": ["train/jump/twice again.mp4"],
        "short": ["train/jump/frames", "train/walk/short.mp4"],
        "absent_class": ["rest"],
        "frame_rate": ["train/walk/slow.mp4"],
        "frame_size": ["train/walk/wide.mp4"],
        "changing_size": ["train/walk/changing.ts"],
        "unlisted": ["train/jump/folder.mp4"],
    }
    assert [finding.kind for finding in result.findings] == [kind for kind in KINDS if kind in told(result)]
    assert result.num_faults == 1 + 7 + 1 + 1
    assert reasons(result, "missing") == {"train/jump/gone.mp4": "a link to nothing"}
    for name, words in {
        "cut.mp4": "without a readable index",
        "empty.mp4": "the file is empty",
        "gap": "frame 3 is missing between 00002.jpg and 00004.jpg",
        "loop.mp4": "Too many levels of symbolic links",
        "sizes": "where the first is 64x66",
        "text": "frame 1 (00002.jpg) cannot be read",
    }.items():
        reason = reasons(result, "unreadable")[f"train/jump/{name}"]
        assert words in reason
        assert not reason.startswith(str(faulty))
    assert reasons(result, "unreadable")["train/jump/pointer.mp4"]
    assert reasons(result, "leak") == {
        "train/walk/held out.mp4": "the same content as val/walk/held out too.mp4 in val"
    }
    assert reasons(result, "contradiction") == {
        "train/jump/a.mp4": "is jump, walk, as train/jump/a.mp4, train/walk/a copy.mp4"
    }
    assert reasons(result, "duplicate") == {"train/jump/twice again.mp4": "also as train/jump/twice.mp4"}
    assert reasons(result, "absent_class") == {"rest": "no rows in val"}
    assert reasons(result, "frame_rate") == {"train/walk/slow.mp4": "4 frames per second where most have 25"}
    assert reasons(result, "frame_size") == {"train/walk/wide.mp4": "96x64 where most have 64x64"}


def test_ends_see_less_than_all_and_none_sees_no_pictures(faulty):
    assert "train/jump/text" not in reasons(checked(faulty, decode="ends"), "unreadable")
    lightly = told(checked(faulty, decode="none"))
    assert "train/jump/cut.mp4" in lightly["unreadable"]
    assert "frame_size" not in lightly


def test_processes_find_what_one_process_finds(faulty):
    assert checked(faulty, num_workers=2).findings == checked(faulty).findings


def test_json_is_what_the_page_says(faulty, tmp_path, capsys):
    target = tmp_path / "found.json"
    assert main(["data", "check", str(faulty), "--num_workers", "0", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert main(["data", "check", str(faulty), "--num_workers", "0", "--json", str(target)]) == 1
    shown = capsys.readouterr().out
    written = json.loads(target.read_bytes())
    assert "faults: 1 missing video, 7 unreadable videos, 1 leak, 1 contradictory video; 7 remarks" in shown
    for found, read, unchanged in ((printed, 26, 0), (written, 0, 26)):
        assert found.pop("seconds") >= 0
        assert (found.pop("videos_read"), found.pop("videos_unchanged")) == (read, unchanged)
    assert written == printed
    assert {name: type(value).__name__ for name, value in printed.items()} == {
        "version": "int",
        "root": "str",
        "format": "str",
        "lists": "list",
        "annotations": "list",
        "notes": "list",
        "rows": "int",
        "videos": "int",
        "bytes": "int",
        "decode": "str",
        "splits": "dict",
        "frames": "dict",
        "frame_rates": "dict",
        "frame_sizes": "dict",
        "faults": "int",
        "findings": "list",
    }
    assert printed["splits"]["val"] == {"rows": 2, "classes": {"jump": 1, "walk": 1}}
    assert printed["rows"] == printed["videos"] == 28
    assert printed["frame_rates"] == {"least": 4.0, "median": 25.0, "most": 25.0}
    missing = printed["findings"][0]
    assert missing.pop("what")
    assert missing.pop("advice")
    assert missing == {
        "kind": "missing",
        "severity": "fault",
        "count": 1,
        "items": [{"name": "train/jump/gone.mp4", "reason": "a link to nothing"}],
    }


def test_the_quarantine_leaves_out_what_is_at_fault_and_nothing_else(faulty, tmp_path, capsys):
    (faulty / "train" / "jump" / ODD_NAME).write_bytes(b"broken")
    listed = tmp_path / "quarantine.jsonl"
    arguments = ["--num_workers", "0", "--quarantine", str(listed)]
    assert main(["data", "check", str(faulty), *arguments]) == 1
    assert f"wrote {listed}: 10 lines" in capsys.readouterr().err
    entries = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]
    assert Counter(entry["kind"] for entry in entries) == {"missing": 1, "unreadable": 8, "leak": 1}
    assert f"train/jump/{ODD_NAME}" in [entry["name"] for entry in entries]
    assert all(entry["reason"] for entry in entries)


def count_reads(monkeypatch):
    read = []

    def counted(path, decode, beat):
        read.append(os.path.basename(path))  # noqa: PTH119
        return probe_module.probe(path, decode, beat)

    monkeypatch.setattr("kinema.data.check.files.probe", counted)
    return read


def test_nothing_unchanged_is_read_twice(faulty, tmp_path, monkeypatch):
    read = count_reads(monkeypatch)
    first = checked(faulty, cache=Cache(tmp_path / "cache"))
    assert (len(read), first.num_read) == (26, 26)  # neither what is missing nor the loop
    read.clear()
    second = checked(faulty, cache=Cache(tmp_path / "cache"))
    assert (read, second.num_read) == ([], 0)
    assert second.findings == first.findings
    assert checked(faulty, cache=Cache(tmp_path / "cache"), decode="ends").num_read == 0


def test_what_changed_is_read_again(faulty, tmp_path, monkeypatch):
    checked(faulty, cache=Cache(tmp_path / "cache"), decode="ends")
    read = count_reads(monkeypatch)
    (faulty / "train" / "jump" / "a.mp4").write_bytes(b"broken")
    Image.new("RGB", (64, 64)).save(faulty / "train" / "jump" / "gap" / "00003.jpg")
    again = checked(faulty, cache=Cache(tmp_path / "cache"), decode="ends")
    assert sorted(read) == ["a.mp4", "gap"]
    assert "train/jump/a.mp4" in told(again)["unreadable"]
    assert "train/jump/gap" not in told(again)["unreadable"]
    read.clear()
    checked(faulty, cache=Cache(tmp_path / "cache"), decode="all")
    assert len(read) == 26


def test_an_interrupted_check_goes_on_where_it_was(faulty, tmp_path, monkeypatch, capsys):
    read = count_reads(monkeypatch)
    counted = module.look_at_files.__globals__["probe"]

    def interrupted(path, decode, beat):
        if len(read) == 10:
            raise KeyboardInterrupt
        return counted(path, decode, beat)

    monkeypatch.setattr("kinema.data.check.files.probe", interrupted)
    assert main(["data", "check", str(faulty), "--num_workers", "0"]) == 130
    assert len(read) == 10
    monkeypatch.setattr("kinema.data.check.files.probe", counted)
    assert main(["data", "check", str(faulty), "--num_workers", "0"]) == 1
    assert len(read) == len(set(read)) == 26


def test_a_file_that_may_not_be_opened_is_asked_again(videos, tmp_path, monkeypatch):
    root = tmp_path / "data"
    place(videos, root, **{"a/1.mp4": "v0.mp4", "b/2.mp4": "v1.mp4"})
    monkeypatch.setattr("kinema.data.check.probe.os.access", lambda path, mode: False)
    (root / "a" / "1.mp4").write_bytes(b"broken")
    assert checked(root, cache=Cache(tmp_path / "cache")).num_read == 2
    assert checked(root, cache=Cache(tmp_path / "cache")).num_read == 1


def test_a_sound_dataset_has_no_fault(videos, tmp_path, capsys):
    root = tmp_path / "data"
    place(videos, root, **{f"{'ab'[number % 2]}/{number}.mp4": f"v{number}.mp4" for number in range(6)})
    assert main(["data", "check", str(root), "--num_workers", "0", "--num_frames", "4"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "no fault, 0 remarks"
    assert "6 (2 classes, 3 each)" in captured.out
    assert "12.5 frames (10 to 15), 25 frames per second, 64x64" in captured.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "root must be a folder of videos or an annotation file, got 'nowhere'"),
        ([".", "--format", "cvs"], "format must be auto or one of .*did you mean csv"),
        ([".", "--decode", "some"], "decode must be 'all' or 'ends' or 'none'"),
        ([".", "--num_frames", "0"], "num_frames must be at least 1"),
        ([".", "--quarantine", "nowhere/list"], "quarantine must be a file in a folder that can be written to"),
        ([".", "--json", "nowhere/list.json"], "json must be a file in a folder that can be written to"),
        ([], "root"),
    ],
)
def test_called_wrongly_it_says_so_and_ends_with_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert re.search(words, captured.err)


def test_annotations_that_cannot_be_read_are_a_finding_with_file_and_line(videos, tmp_path, capsys):
    place(videos, tmp_path / "data", **{"a.mp4": "v0.mp4"})
    table = tmp_path / "data" / "labels.csv"
    table.write_text('path,label\na.mp4,jump\n"b.mp4,walk\n')
    assert main(["data", "check", str(table), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (finding,) = found["findings"]
    assert (finding["kind"], finding["severity"], finding["count"]) == ("annotations", "fault", 1)
    assert finding["items"][0]["reason"].startswith(f"{table}, line 3, must be CSV, got a syntax error")
    assert (found["format"], found["rows"]) == (None, 0)


def test_every_bad_line_is_a_finding_and_the_files_of_the_others_are_looked_at(videos, tmp_path, capsys):
    place(videos, tmp_path / "data", **{"a.mp4": "v0.mp4", "b.mp4": "v1.mp4"})
    (tmp_path / "data" / "broken.mp4").write_bytes(b"broken")
    table = tmp_path / "data" / "labels.csv"
    table.write_text("path,label\na.mp4,jump\n../x.mp4,jump\nb.mp4,walk\nb.mp4\nbroken.mp4,walk\na.mp4,walk\nx.mp4,\n")
    assert main(["data", "check", str(tmp_path / "data"), "--num_workers", "0", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    kinds = {finding["kind"]: finding for finding in found["findings"]}
    assert list(kinds) == ["bad_line", "unreadable", "one_video"]
    assert (kinds["bad_line"]["severity"], kinds["bad_line"]["count"]) == ("fault", 4)
    items = kinds["bad_line"]["items"]
    assert [(item["name"], item["line"]) for item in items] == [(str(table), line) for line in (3, 5, 7, 8)]
    assert "paths must stay in their folder" in items[0]["reason"]
    assert items[1]["reason"].startswith(f"{table}, line 5, must have 2 cells like the header, got 1")
    assert "got 'a.mp4' as jump in line 2 and as walk in line 7" in items[2]["reason"]
    assert (found["rows"], found["videos_read"]) == (3, 3)
    assert main(["data", "check", str(tmp_path / "data"), "--num_workers", "0"]) == 1
    printed = capsys.readouterr().out
    assert "and 1 more" in printed
    assert "faults: 4 bad lines, 1 unreadable video; 1 remark" in printed


def test_the_table_counts_in_words_and_tells_files_from_the_root_on(videos, tmp_path, capsys):
    root = tmp_path / "data"
    place(videos, root, **{"a.mp4": "v0.mp4"})
    (root / "labels.csv").write_text("path,label,start,end\na.mp4,jump,0,9999\na.mp4,jump,0.1,9999\nb.mp4\n")
    assert main(["data", "check", str(root), "--num_workers", "0"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "rows: 2 (1 class, 2 each), of 1 video" in printed
    assert "read: 1 video, decoded all frames" in printed
    assert "labels.csv, line 4, must have 4 cells" in printed
    assert "faults: 1 bad line, 1 lone class; 2 remarks" in printed
    assert "ends at 9999 seconds, the video has" in printed
    (root / "a.mp4").unlink()
    assert main(["data", "check", str(root), "--num_workers", "0"]) == 1
    assert "read: no video, for none is there" in capsys.readouterr().out
    (root / "labels.csv").write_text("path\na.mp4\n")
    assert main(["data", "check", str(root), "--num_workers", "0"]) == 1
    assert "│ labels.csv must have each of path and label once" in capsys.readouterr().out


def test_of_very_many_bad_lines_the_first_are_told_and_all_are_counted(videos, tmp_path, capsys):
    place(videos, tmp_path / "data", **{"a.mp4": "v0.mp4", "b.mp4": "v1.mp4"})
    bad = "".join(f"{number}.mp4\n" for number in range(1500))
    (tmp_path / "data" / "labels.csv").write_text(f"path,label\na.mp4,jump\n{bad}b.mp4,walk\n")
    result = checked(tmp_path / "data")
    (finding,) = (finding for finding in result.findings if finding.kind == "bad_line")
    assert (finding.count, len(finding.items), result.num_rows) == (1500, 1000, 2)
    assert main(["data", "check", str(tmp_path / "data"), "--num_workers", "0"]) == 1
    assert "and 1,497 more" in capsys.readouterr().out


def test_a_list_without_a_good_line_is_told_as_such(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\na.mp4\nb.mp4\n")
    result = checked(tmp_path)
    assert [(finding.kind, finding.count) for finding in result.findings] == [("bad_line", 2)]
    assert result.num_rows == 0


def test_each_of_several_lists_is_checked_by_itself(videos, tmp_path, capsys):
    root = tmp_path / "data"
    place(videos, root, **{"a.mp4": "v0.mp4", "b.mp4": "v1.mp4", "c.mp4": "v2.mp4"})
    (root / "train_old.csv").write_text("path,label\na.mp4,jump\ngone.mp4,walk\n")
    (root / "train_new.txt").write_text("a.mp4 1\nb.mp4 0\n")
    (root / "train_newer.txt").write_text("b.mp4 1\nx.mp4 0\ny.mp4 0\n")
    (root / "classes.txt").write_text("jump\nwalk\n")
    (root / "notes.txt").write_text("some words\non the data\n")
    (root / "sizes.csv").write_text("video,bytes\na.mp4,12\n")
    assert main(["data", "check", str(root), "--num_workers", "0", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [
        (Path(one["name"]).name, one["format"], one["rows"], one["missing"], one["faults"]) for one in found["lists"]
    ] == [
        ("train_new.txt", "mmaction2_videos", 2, 0, 0),
        ("train_newer.txt", "mmaction2_videos", 3, 2, 2),
        ("train_old.csv", "csv", 2, 1, 1),
    ]
    kinds = {finding["kind"]: finding for finding in found["findings"]}
    assert list(kinds) == ["several_lists", "missing", "one_video", "unlisted"]
    assert [item["name"] for item in kinds["missing"]["items"]] == ["x.mp4", "y.mp4", "gone.mp4"]
    assert kinds["missing"]["items"][2]["of"] == str(root / "train_old.csv")
    assert [item["name"] for item in kinds["unlisted"]["items"]] == ["c.mp4"]
    assert (found["format"], found["rows"], found["videos"]) == (None, 7, 5)
    assert found["notes"] == [f"left aside, in no format that is known: {name}" for name in ("notes.txt", "sizes.csv")]
    assert main(["data", "check", str(root), "--num_workers", "0"]) == 1
    printed = capsys.readouterr().out
    assert "3 lists, each by itself" in " ".join(printed.split())
    assert "train_newer.txt: x.mp4" in printed


def test_lists_whose_videos_are_all_there_are_no_fault(videos, tmp_path):
    place(videos, tmp_path, **{"a.mp4": "v0.mp4", "b.mp4": "v1.mp4"})
    for name in ("one", "other"):
        (tmp_path / f"{name}.csv").write_text("path,label\na.mp4,jump\nb.mp4,walk\n")
    result = checked(tmp_path)
    assert told(result)["several_lists"] == [str(tmp_path / "one.csv"), str(tmp_path / "other.csv")]
    assert result.num_faults == 0
    assert (result.num_faults, result.num_rows, result.num_files) == (0, 4, 2)


def test_messages_name_the_flags_of_the_command(videos, tmp_path, capsys):
    place(videos, tmp_path / "data", **{"a.mp4": "v0.mp4", "b.mp4": "v1.mp4"})
    for name in ("one", "other"):
        (tmp_path / "data" / f"{name}.csv").write_text("path,label\na.mp4,jump\nb.mp4,walk\n")
    out = str(tmp_path / "out")
    for command in (["bench"], ["extract", "--out", out], ["pack", "--out", out], ["flow", "--out", out]):
        assert main(["data", command[0], str(tmp_path / "data"), *command[1:]]) == 2
        assert "name the one that is meant with --annotations FILE" in capsys.readouterr().err
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "train.txt").write_text("a.mp4 1\nb.mp4 0\n")
    assert checked(tmp_path / "numbers").notes[0].endswith("--class_list FILE names them")
    (tmp_path / "data" / "other.csv").unlink()
    both = checked(tmp_path / "data" / "one.csv", annotations="x.csv")
    assert next(iter(reasons(both, "annotations").values())).startswith("annotations must be left out where root is")


def test_class_folders_that_cannot_be_read_do_not_keep_their_files_from_being_looked_at(videos, tmp_path):
    root = tmp_path / "data"
    place(videos, root, **{"jump/a.mp4": "v0.mp4"})
    (root / "walk").mkdir()
    (root / "jump" / "b.mp4").write_bytes(b"broken")
    assert told(checked(root)) == {"annotations": [str(root)], "unreadable": ["jump/b.mp4"]}


def test_a_folder_of_videos_alone_is_checked_without_classes(videos, tmp_path):
    place(videos, tmp_path / "data", **{"a.mp4": "v0.mp4", "b.mp4": "v0.mp4"})
    result = checked(tmp_path / "data")
    assert told(result) == {"duplicate": ["a.mp4"], "unlabelled": [str(tmp_path / "data")]}
    assert result.num_faults == 0


def test_videos_that_no_row_names_are_counted(videos, tmp_path):
    root = tmp_path / "data"
    place(videos, root, **{"a.mp4": "v0.mp4", "sub/b.mp4": "v1.mp4", "c.mp4": "v2.mp4", ".hidden.mp4": "v3.mp4"})
    (root / "sub" / "up").symlink_to(root)
    (root / "link.mp4").symlink_to(root / "a.mp4")
    (root / "labels.csv").write_text("path,label\na.mp4,jump\nsub/b.mp4,walk\n")
    result = checked(root / "labels.csv")
    assert told(result)["unlisted"] == ["c.mp4"]


def test_a_crashing_decoder_is_named_and_the_others_are_checked(videos, tmp_path, monkeypatch):
    root = tmp_path / "data"
    place(videos, root, **{f"a/{number}.mp4": f"v{number}.mp4" for number in range(3)})
    place(videos, root, **{"b/crash.mp4": "v4.mp4", "b/5.mp4": "v5.mp4"})
    monkeypatch.setattr("kinema.data.check.files._probe", crashing.probe_or_crash)
    result = checked(root, num_workers=2)
    assert told(result)["unreadable"] == ["b/crash.mp4"]
    assert "ended the process (SIGSEGV)" in reasons(result, "unreadable")["b/crash.mp4"]
    assert result.num_read == 5


def test_real_clips_are_sound(shared_dir, capsys):
    assert main(["data", "check", str(shared_dir / "clips"), "--decode", "ends", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 57
    assert [finding["kind"] for finding in found["findings"]] == ["imbalance", "one_video"]


def test_of_odd_real_files_only_the_broken_one_is_a_fault(shared_dir, capsys):
    assert main(["data", "check", str(shared_dir / "odd"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    faults = [finding for finding in found["findings"] if finding["severity"] == "fault"]
    assert [(fault["kind"], [item["name"] for item in fault["items"]]) for fault in faults] == [
        ("unreadable", ["decord_corrupted.mp4"])
    ]


def test_a_picture_series_of_eight_bits_counts_its_frames(tmp_path):
    for name in ("a", "b"):
        folder = tmp_path / name / "video"
        folder.mkdir(parents=True)
        for number in range(9):
            grain = np.random.default_rng((ord(name), number)).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(grain).save(folder / f"{number}.png")
    result = checked(tmp_path)
    assert (told(result), result.frames["median"], result.frame_rates) == ({"one_video": ["a", "b"]}, 9.0, {})


@pytest.mark.parametrize(("labels", "kinds"), [((1, 2, 1, 2), ["absent_class", "off_by_one"]), ((0, 1, 0, 1), [])])
def test_labels_that_count_from_one_are_a_fault(videos, tmp_path, labels, kinds):
    root = tmp_path / "data"
    place(videos, root, **{f"v{number}.mp4": f"v{number}.mp4" for number in range(4)})
    (root / "list.txt").write_text("".join(f"v{number}.mp4 {label}\n" for number, label in enumerate(labels)))
    assert [finding.kind for finding in checked(root).findings] == kinds


def test_one_class_alone_is_a_fault(videos, tmp_path):
    place(videos, tmp_path / "data", **{f"videos/v{number}.mp4": f"v{number}.mp4" for number in range(3)})
    result = checked(tmp_path / "data")
    assert (told(result), result.num_faults) == ({"one_class": ["videos"]}, 1)


def test_files_beside_videos_that_are_none_are_named(videos, tmp_path):
    place(videos, tmp_path / "data", **{"a.mp4": "v0.mp4"})
    (tmp_path / "data" / "sound.mp3").write_bytes(b"ID3")
    assert told(checked(tmp_path / "data"))["other_file"] == ["sound.mp3"]


def test_turned_videos_and_variable_rates_are_remarked_on(tmp_path):
    root = tmp_path / "data"
    (root / "jump").mkdir(parents=True)
    (root / "walk").mkdir()
    steady = [40 * number for number in range(40)]
    jitter = [time + (4 if number % 2 else 0) for number, time in enumerate(steady)]  # under a quarter of a gap
    one_off = [time + (40 if number > 20 else 0) for number, time in enumerate(steady)]  # one gap of 39
    uneven = [time + (40 * (number // 3)) for number, time in enumerate(steady)]  # every third gap is double
    for name, times in {"jitter": jitter, "one_off": one_off, "uneven": uneven}.items():
        write_counting_video(root / "jump" / f"{name}.mp4", times=times)
    write_counting_video(root / "jump" / "rounded.mkv", rate=30)  # 33 and 34 ms
    write_counting_video(root / "walk" / "turned.mp4", rotation=90)
    write_counting_video(root / "walk" / "upside down.mp4", rotation=180)
    write_counting_video(root / "walk" / "mirrored.mp4", mirrored=True)
    kinds = ("variable_rate", "turned")
    for decode in ("all", "ends"):
        found = told(checked(root, decode=decode))
        assert {kind: found.get(kind) for kind in kinds} == {
            "variable_rate": ["jump/uneven.mp4"],
            "turned": ["walk/mirrored.mp4", "walk/turned.mp4", "walk/upside down.mp4"],
        }
    result = checked(root, decode="none")
    assert {kind: told(result).get(kind) for kind in kinds} == {"variable_rate": ["jump/uneven.mp4"], "turned": None}
    words = "33% of the gaps between frames are unlike the usual one"
    assert reasons(result, "variable_rate") == {"jump/uneven.mp4": words}
    assert result.num_faults == 0


def test_a_video_without_times_has_no_variable_rate(tmp_path):
    for name in ("jump", "walk"):
        (tmp_path / "data" / name).mkdir(parents=True)
        write_counting_video(tmp_path / "data" / name / f"{name}.avi", codec="mpeg4", b_frames=2, num_frames=12)
    assert "variable_rate" not in told(checked(tmp_path / "data"))


def test_real_odd_videos_are_remarked_on(shared_dir):
    found = told(checked(shared_dir / "odd", decode="ends"))
    assert found["variable_rate"] == ["torchcodec_nasa_13013_vfr.mp4"]
    assert found["turned"] == ["decord_video_90.mov", "torchcodec_nasa_13013_rotated.mp4"]
    assert found["unreadable"] == ["decord_corrupted.mp4"]


def test_a_list_beside_which_too_much_lies_is_a_fault_of_that_list(tmp_path):
    (tmp_path / "something-something-v1-train.csv").write_text("1;jump\n2;walk\n")
    for name in ("old", "new"):
        (tmp_path / f"something-something-v1-labels.{name}.csv").write_text("jump\nwalk\n")
    result = checked(tmp_path)
    reason = reasons(result, "annotations")[str(tmp_path / "something-something-v1-train.csv")]
    assert "there must be one list for each split, got" in reason
    assert "--annotations" in reason
    assert "data.annotations" not in reason
