"""Extracting and packing: the same samples come out, whole, whenever the work was cut off."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from counting import numbers_in, write_counting_video
from kinema.data.annotations import Sample, Section, Source, read_annotations
from kinema.data.annotations.write_csv import write_csv
from kinema.data.prepare.extract import ExtractConfig
from kinema.data.prepare.pictures import resampled, scaled_size
from kinema.data.prepare.targets import find_targets
from kinema.data.prepare.work_log import WorkLog
from kinema.data.video.opening import VideoError, open_video, without_extension
from preparing import run

LOG = ".kinema-prepare.jsonl"


@pytest.fixture
def videos(tmp_path) -> Path:
    root = tmp_path / "videos"
    for split, label, name in [
        ("train", "jump", "a.mp4"),
        ("train", "jump", "deep/b 1.avi"),
        ("train", "walk, slow", "ä.mkv"),
        ("val", "jump", "c.mp4"),
        ("val", "walk, slow", "d.mp4"),
    ]:
        path = root / split / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        write_counting_video(path, num_frames=11, width=96, codec=codec, rate=20, gop_size=6)
    return root


def tree(folder: Path) -> dict[str, str]:
    """Every file of a folder but the log, with a digest of its content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOG
    }


def stem(name: str) -> str:
    return name.rpartition(".")[0]


@pytest.mark.parametrize("what", ["extract", "files", "shards"])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_the_same_samples_come_out_with_the_same_frames(videos, tmp_path, what, num_workers):
    out = tmp_path / "out"
    report = run(what, videos, out, num_workers=num_workers)
    assert (report.num_new, report.num_kept, report.failures) == (5, 0, {})
    before, after = read_annotations(Source(root=videos)), read_annotations(Source(root=out))
    assert after.class_names == before.class_names
    old = [(stem(sample.name), sample.class_name, sample.split) for sample in before.samples]
    assert [(stem(s.name) if what != "extract" else s.name, s.class_name, s.split) for s in after.samples] == old
    for sample in after.samples:
        with open_video(sample.path) as video:
            assert video.fps == pytest.approx(20)
            assert numbers_in(video.frames(range(len(video)))) == list(range(11))
    again = run(what, videos, out)
    assert (again.num_new, again.num_kept) == (0, 5)


@pytest.mark.parametrize(("what", "suffix"), [("extract", ""), ("files", ".mp4"), ("shards", None)])
def test_a_list_of_videos_goes_with_them(videos, tmp_path, what, suffix):
    rows = ["train/jump/deep/b 1.avi,jump,train,ann", '"train/walk, slow/ä.mkv","walk, slow",train,ben']
    rows.append("val/jump/c.mp4,jump,val,ann")
    listing = videos / "lists" / "labels.csv"
    listing.parent.mkdir()
    listing.write_text("\n".join(["path,label,split,group", *rows]), encoding="utf-8")
    out = tmp_path / "out"
    report = run(what, videos, out, annotations=listing)
    assert report.num_new == 3
    new = None if suffix is None else out / "lists" / "labels.csv"
    before = read_annotations(Source(root=videos, annotations=listing))
    after = read_annotations(Source(root=out, annotations=new))
    ending = {".avi": suffix, ".mkv": suffix, ".mp4": suffix}
    renamed = {
        (sample.name if suffix is None else stem(sample.name) + ending[sample.path.suffix]): sample
        for sample in before.samples
    }
    assert {s.name: (s.class_name, s.split, s.group) for s in after.samples} == {
        name: (s.class_name, s.split, s.group) for name, s in renamed.items()
    }
    if new is not None:
        assert any(str(new) in note for note in report.notes)


@pytest.mark.parametrize("what", ["extract", "files", "shards"])
def test_a_video_that_cannot_be_read_is_named_and_the_others_go_on(videos, tmp_path, what):
    bad, out = videos / "train" / "jump" / "bad.mp4", tmp_path / "out"
    bad.write_bytes((videos / "train" / "jump" / "a.mp4").read_bytes()[:2000])
    report = run(what, videos, out)
    assert report.num_new == 5
    assert next(iter(report.failures.values())).startswith(f"{bad}: ")
    assert len(report.failures) == 1
    assert not any("bad" in name for name in tree(out))
    write_counting_video(bad, num_frames=11, width=96, rate=20)
    assert (run(what, videos, out).num_new, len(read_annotations(Source(root=out)).samples)) == (1, 6)


@pytest.mark.parametrize("what", ["extract", "files"])
def test_a_video_that_has_changed_is_done_again(videos, tmp_path, what):
    out, changed = tmp_path / "out", videos / "val" / "jump" / "c.mp4"
    run(what, videos, out)
    write_counting_video(changed, num_frames=7, rate=20)
    assert run(what, videos, out).num_new == 1
    sample = next(s for s in read_annotations(Source(root=out)).samples if s.name.startswith("val/jump"))
    with open_video(sample.path) as video:
        assert len(video) == 7


@pytest.mark.parametrize("what", ["extract", "files", "shards", "copy"])
def test_a_video_that_is_swapped_while_it_is_opened_is_not_taken(videos, tmp_path, monkeypatch, what):
    swapped, gone = videos / "val" / "jump" / "c.mp4", videos / "val" / "walk, slow" / "d.mp4"

    def open_and_swap(path, **options):
        video = open_video(path, **options)
        if path == swapped:
            shutil.copy(videos / "train" / "jump" / "a.mp4", tmp_path / "new")
            (tmp_path / "new").rename(swapped)
        return video

    for module in ("prepare.extract", "prepare.pack_files", "video.section"):
        monkeypatch.setattr(f"kinema.data.{module}.open_video", open_and_swap)
    found = read_annotations(Source(root=videos))
    gone.unlink()
    monkeypatch.setattr("preparing.read_annotations", lambda source: found)
    options = {"codec": "copy"} if what == "copy" else {}
    report = run("shards" if what == "copy" else what, videos, tmp_path / "out", **options)
    assert sorted(report.failures.values()) == [
        f"{swapped}: has changed while it was read; run the command again",
        f"{gone}: no such file or folder; check the path",
    ]
    assert report.num_new == 3


def test_shards_of_a_video_that_has_changed_are_refused(videos, tmp_path):
    run("shards", videos, tmp_path / "out")
    write_counting_video(videos / "val" / "jump" / "c.mp4", num_frames=7)
    with pytest.raises(ValueError, match=r"1 that have changed or are gone: val/jump/c\.mp4"):
        run("shards", videos, tmp_path / "out")


@pytest.mark.parametrize("what", ["extract", "files", "shards"])
def test_other_settings_and_folders_in_use_are_refused(videos, tmp_path, what):
    out = tmp_path / "out"
    run(what, videos, out, short_side=32)
    with pytest.raises(ValueError, match="got short_side 32, now 48"):
        run(what, videos, out, short_side=48)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="out must be a new folder"):
        run(what, videos, tmp_path / "full")


def test_names_that_would_fall_together_are_refused(tmp_path):
    for name in ("jump/a.mp4", "jump/a.mkv", "walk/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_counting_video(tmp_path / name, num_frames=2)
    with pytest.raises(ValueError, match=r"a\.mkv and .*a\.mp4"):
        run("extract", tmp_path, tmp_path / "out")
    (tmp_path / "jump" / "a.mkv").unlink()
    (tmp_path / "jump" / "a").mkdir()
    write_counting_video(tmp_path / "jump" / "a" / "c.mp4", num_frames=2)
    with pytest.raises(ValueError, match="must not lie in a folder of another's name"):
        run("extract", tmp_path, tmp_path / "out")


def start(what: str, root: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(Path(__file__).parents[2] / "preparing.py"), what, str(root), str(out)]
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE)


def finished_pieces(out: Path) -> int:
    log = out / LOG
    return log.read_bytes().count(b"\n") if log.is_file() else 0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["extract", "files", "shards"])
def test_a_killed_run_leaves_nothing_half_and_goes_on(videos, tmp_path, what):
    for number in range(4):
        write_counting_video(videos / "train" / "jump" / f"long{number}.mp4", num_frames=80, width=128, height=128)
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(what, videos, whole)
    expected = tree(whole)
    for pieces in (1, 3, 6):  # killed as soon as so many lines stand in the log
        child = start(what, videos, out)
        while finished_pieces(out) < pieces and child.poll() is None:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stderr.close()
        for name, digest in tree(out).items():
            if not name.startswith((".partial/", ".staged/")):
                assert digest == expected[name], f"{name} is not whole"
        if what == "shards" and not (out / "index.jsonl").exists():
            with pytest.raises(ValueError, match="got unfinished work"):
                read_annotations(Source(root=out), format="shards")
    with (out / LOG).open("ab") as log:  # what a kill in the midst of a line leaves
        log.write(b'{"key": "tra')
    report = run(what, videos, out)
    assert report.num_kept + report.num_new == 9
    assert tree(out) == expected


def test_a_second_process_is_kept_out(videos, tmp_path):
    with WorkLog(tmp_path / "out", {}), pytest.raises(ValueError, match="at which another works"):
        WorkLog(tmp_path / "out", {})


def test_frames_that_were_lost_or_added_by_hand_are_noticed(videos, tmp_path):
    run("extract", videos, tmp_path / "out", template="img_{:06d}.png", short_side=32)
    folder = tmp_path / "out" / "val" / "jump" / "c"
    assert sorted(path.name for path in folder.iterdir())[:2] == ["frames.info", "img_000001.png"]
    with Image.open(folder / "img_000001.png") as image:
        assert image.size == (48, 32)
    (folder / "img_000011.png").unlink()
    with pytest.raises(VideoError, match="tells of 11 frames at 20 a second, and 10 lie there"):
        open_video(folder)
    (folder / "frames.info").write_text("{}")
    with pytest.raises(VideoError, match="does not say fps and num_frames"):
        open_video(folder)


def test_another_rate_takes_the_frames_nearest_in_time(videos, tmp_path):
    run("extract", videos, tmp_path / "out", fps=8.0)
    with open_video(tmp_path / "out" / "train" / "jump" / "a") as video:
        assert video.fps == 8
        assert numbers_in(video.frames(range(len(video)))) == [0, 3, 5, 8]


@pytest.mark.parametrize(
    ("length", "fps", "new_fps", "expected"),
    [
        (5, 25, None, [0, 1, 2, 3, 4]),
        (5, 25, 25, [0, 1, 2, 3, 4]),
        (6, 30, 10, [0, 3]),
        (10, 30, 12, [0, 3, 5, 8]),
        (3, 10, 20, [0, 1, 1, 2, 2, 2]),
        (1, 25, 1, [0]),
    ],
)
def test_frames_of_a_rate_are_found_by_arithmetic(length, fps, new_fps, expected):
    assert resampled(length, fps, new_fps) == expected


@pytest.mark.parametrize(
    ("size", "short_side", "even", "expected"),
    [
        ((240, 320), 256, False, (240, 320)),
        ((480, 640), 256, False, (256, 341)),
        ((480, 640), 256, True, (256, 342)),
        ((640, 480), 256, True, (342, 256)),
        ((241, 321), None, True, (242, 322)),
        ((241, 321), None, False, (241, 321)),
        ((1, 1000), 256, True, (2, 1000)),
    ],
)
def test_the_short_side_is_made_smaller_never_larger(size, short_side, even, expected):
    assert scaled_size(*size, short_side=short_side, even=even) == expected


def test_a_turned_video_is_packed_upright_and_its_uneven_times_are_kept(tmp_path):
    root = tmp_path / "videos"
    for label in ("jump", "walk"):
        (root / label).mkdir(parents=True)
    times = [40 * number + (30 if number % 3 else 0) for number in range(12)]
    turned = write_counting_video(root / "jump" / "a.mp4", num_frames=12, width=96, rotation=90)
    uneven = write_counting_video(root / "walk" / "b.mp4", num_frames=12, rate=20, times=times)
    run("files", root, tmp_path / "out", keyframe_distance=4)
    for old, new in ((turned, "jump/a.mp4"), (uneven, "walk/b.mp4")):
        with open_video(old) as video, open_video(tmp_path / "out" / new) as packed:
            assert len(packed) == len(video)
            assert packed.fps == pytest.approx(video.fps, rel=0.01)
            before, after = video.frames(range(12)), packed.frames(range(12))
            assert before.shape == after.shape
            assert np.abs(before.astype(int) - after).mean() < 6
    with av.open(str(tmp_path / "out" / "walk" / "b.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        shown = sorted(float(packet.pts * packet.time_base) for packet in packets)
        assert [time - shown[0] for time in shown] == pytest.approx([time / 800 for time in times])
        assert sum(packet.is_keyframe for packet in packets) >= 3


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9"])
def test_every_codec_gives_files_that_are_read_at_random(tmp_path, codec):
    for label in ("jump", "walk"):
        (tmp_path / "videos" / label).mkdir(parents=True)
        write_counting_video(tmp_path / "videos" / label / "a.mp4", num_frames=30, rate=30)
    report = run("files", tmp_path / "videos", tmp_path / "out", codec=codec, keyframe_distance=5)
    assert not report.failures
    with open_video(tmp_path / "out" / "jump" / "a.mp4") as video:
        assert video.sequential_reason is None
        assert numbers_in(video.frames([29, 4, 17])) == [29, 4, 17]


def test_a_copy_is_for_shards(videos, tmp_path):
    with pytest.raises(ValueError, match="codec must be an encoder's for files"):
        run("files", videos, tmp_path / "out", codec="copy")
    assert not run("shards", videos, tmp_path / "out", codec="copy").failures


def test_frames_can_be_packed(videos, tmp_path):
    run("extract", videos, tmp_path / "frames")
    for what in ("files", "shards"):
        assert run(what, tmp_path / "frames", tmp_path / what).num_new == 5
        sample = read_annotations(Source(root=tmp_path / what)).samples[0]
        with open_video(sample.path) as video:
            assert numbers_in(video.frames(range(11))) == list(range(11))
            assert video.fps == pytest.approx(20)
    shutil.rmtree(tmp_path / "frames")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"short_side": 2}, "short_side must be at least 16"),
        ({"quality": 0}, "quality must lie in"),
        ({"template": "a.jpg"}, "template must hold one number"),
        ({"template": "../{:05d}.jpg"}, "template must hold one number"),
        ({"template": "{:05d}.gif"}, "template must hold one number"),
        ({"fps": 0.0}, "fps must be positive"),
    ],
)
def test_settings_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        ExtractConfig(**options)


@pytest.mark.parametrize("what", ["extract", "files", "shards"])
def test_names_in_no_encoding_are_kept(tmp_path, what):
    name = os.fsdecode(b"\xff \n'.mp4")
    for label in ("jump", "walk"):
        (tmp_path / "videos" / label).mkdir(parents=True)
        write_counting_video(tmp_path / "plain.mp4", num_frames=3)
        (tmp_path / "plain.mp4").rename(tmp_path / "videos" / label / name)
    assert run(what, tmp_path / "videos", tmp_path / "out").num_new == 2
    assert run(what, tmp_path / "videos", tmp_path / "out").num_kept == 2
    for sample in read_annotations(Source(root=tmp_path / "out")).samples:
        assert sample.name.startswith(f"{sample.class_name}/{stem(name)}")
        with open_video(sample.path) as video:
            assert numbers_in(video.frames([2])) == [2]


def test_a_list_of_the_whole_replaces_one_with_gaps(videos, tmp_path):
    bad, out, listing = videos / "bad.mp4", tmp_path / "out", tmp_path / "list.csv"
    listing.write_text("path,label,group\nval/jump/c.mp4,jump,ann\nbad.mp4,walk,ben\n")
    bad.write_bytes(b"no video")
    report = run("files", videos, out, annotations=listing)
    assert len(report.failures) == 1
    assert report.notes == [f"train with --data.root {out} --data.annotations {out / 'annotations.csv'}"]
    assert (out / "annotations.csv").read_text() == "path,label,group\nval/jump/c.mp4,jump,ann\n"
    write_counting_video(bad, num_frames=3)
    report = run("files", videos, out, annotations=listing)
    assert report.notes == [f"train with --data.root {out} --data.annotations {out / 'list.csv'}"]
    assert sorted(path.name for path in out.glob("*.csv")) == ["list.csv"]


@pytest.mark.parametrize("what", ["extract", "files"])
@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("path,label,start,end,split", ["{},jump,0,0.25,train", "{},walk,0.1,0.3,train", "bad.mp4,walk,0,1,val"]),
        ("path,labels,group", ["{},jump;walk,ann", "bad.mp4,walk,ben"]),
        ("path,labels,start,end", ["{},jump;walk,0,0.25", "{},walk,0.25,0.5", "bad.mp4,walk,0,1"]),
    ],
    ids=["segments", "multi-label", "both"],
)
def test_parts_and_several_classes_stay_where_a_video_cannot_be_read(videos, tmp_path, what, header, rows):
    listing, out = tmp_path / "list.csv", tmp_path / "out"
    listing.write_text("\n".join([header, *(row.format("val/jump/c.mp4") for row in rows)]))
    (videos / "bad.mp4").write_bytes(b"no video")
    report = run(what, videos, out, annotations=listing)
    assert len(report.failures) == 1
    assert report.notes == [f"train with --data.root {out} --data.annotations {out / 'annotations.csv'}"]
    before = read_annotations(Source(root=videos, annotations=listing))
    after = read_annotations(Source(root=out, annotations=out / "annotations.csv"))
    assert after.multi_label == before.multi_label
    assert [(s.class_names, s.split, s.group, s.section) for s in after.samples] == [
        (s.class_names, s.split, s.group, s.section) for s in before.samples if s.path.name != "bad.mp4"
    ]
    assert {s.path for s in after.samples} == {out / ("val/jump/c" if what == "extract" else "val/jump/c.mp4")}


def test_a_list_without_rows_is_not_advised(videos, tmp_path):
    listing, out = tmp_path / "list.csv", tmp_path / "out"
    listing.write_text("path,label\nbad.mp4,jump\n")
    (videos / "bad.mp4").write_bytes(b"no video")
    report = run("files", videos, out, annotations=listing)
    assert report.notes == [f"no list of samples is in {out}, for none of the videos can be read"]
    assert not list(out.glob("*.csv"))


def test_samples_that_no_csv_can_hold_are_counted(tmp_path):
    samples = [
        Sample(Path("a"), "jump", section=Section(0, 8, "frames")),
        Sample(Path("b"), ""),
        Sample(Path("c"), "jump", also=("walk",)),
    ]
    assert write_csv(tmp_path / "list.csv", samples, multi_label=False) == 0
    assert not (tmp_path / "list.csv").exists()
    assert write_csv(tmp_path / "list.csv", samples, multi_label=True) == 1
    assert (tmp_path / "list.csv").read_text() == "path,labels\nc,jump;walk\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jump/v1.MP4", "jump/v1"),
        ("jump/v1.mp4#0-0.2s", "jump/v1#0-0.2s"),
        ("jump/v1.2", "jump/v1.2"),
        ("a.mp4/frames", "a.mp4/frames"),
        ("jump/.mp4", "jump/.mp4"),
    ],
)
def test_only_the_extension_of_a_video_is_taken_off_a_name(name, expected):
    assert without_extension(name) == expected


def test_the_key_of_a_part_of_a_video_in_a_shard_has_no_extension_in_it(videos, tmp_path):
    (tmp_path / "list.csv").write_text("path,label,start,end\nval/jump/c.mp4,jump,0,0.2\n")
    run("shards", videos, tmp_path / "out", annotations=tmp_path / "list.csv")
    with tarfile.open(tmp_path / "out" / "data-000000.tar") as tar:
        assert {name.rpartition("-")[0] for name in tar.getnames()} == {"val/jump/c#0-0_2s"}


@pytest.mark.parametrize(("suffix", "expected"), [("", ["deep/v"]), (".mp4", ["deep/v.mp4"])])
def test_parts_of_a_video_outside_of_the_root_have_one_new_name(tmp_path, suffix, expected):
    parts = [Section(0, 1), Section(1, 2.5)]
    path = tmp_path / "elsewhere" / "v.mkv"
    samples = [Sample(path, "jump", name=f"deep/v.mkv{part.mark}", section=part) for part in parts]
    assert [target.name for target in find_targets(samples, root=tmp_path / "root", suffix=suffix)] == expected
