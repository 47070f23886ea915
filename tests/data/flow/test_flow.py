"""Extracting flow: right way and size, whole or not at all, and on from where it was stopped."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kinema.cli import main
from kinema.data.annotations import Sample, Source, read_annotations
from kinema.data.flow.codes import encode_flow
from kinema.data.flow.extract import FlowConfig, extract_flow
from kinema.data.flow.fields import fields_of
from kinema.data.video.opening import open_video

pytest.importorskip("cv2", reason="kinema[flow] is not installed")

FAST = FlowConfig(algorithm="farneback", short_side=32)


def texture(height=120, width=160):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3)), np.float64)
    return np.clip((smooth - 128) * 5 + 128, 0, 255).astype(np.uint8)


def moving_frames(folder, *, right, down, num_frames=4, size=64):
    """A window on a texture whose content moves."""
    folder.mkdir(parents=True)
    ground = texture()
    for number in range(num_frames):
        top, left = 28 - down * number, 48 - right * number
        Image.fromarray(ground[top : top + size, left : left + size]).save(folder / f"img_{number + 1:05d}.png")
    return folder


@pytest.mark.parametrize("algorithm", ["tvl1", "farneback"])
@pytest.mark.parametrize(("right", "down"), [(3, 0), (-3, 0), (0, 2), (0, -2), (2, 1)])
def test_what_moves_right_has_positive_x_and_what_moves_down_positive_y(algorithm, right, down, tmp_path):
    with open_video(moving_frames(tmp_path / "clip", right=right, down=down)) as video:
        fields = list(fields_of(video, algorithm=algorithm, short_side=None))

    assert [field.shape for field in fields] == [(64, 64, 2)] * 3
    for field in fields:
        middle = np.median(field[16:48, 16:48], axis=(0, 1))
        # TV-L1 is exact to a tenth of a pixel here, Farneback of two frames to one.
        assert middle == pytest.approx((right, down), abs=0.1 if algorithm == "tvl1" else 1.0)


def test_velocities_are_in_pixels_of_the_scaled_frame(tmp_path):
    with open_video(moving_frames(tmp_path / "clip", right=4, down=0)) as video:
        field = next(fields_of(video, algorithm="tvl1", short_side=32))

    assert field.shape == (32, 32, 2)
    assert np.median(field[8:24, 8:24], axis=(0, 1)) == pytest.approx((2.0, 0.0), abs=0.1)


def test_small_frames_are_not_enlarged(tmp_path):
    with open_video(moving_frames(tmp_path / "clip", right=1, down=0)) as video:
        assert next(fields_of(video, algorithm="farneback", short_side=256)).shape == (64, 64, 2)


def test_the_bar_is_drawn_on_stderr(tmp_path, monkeypatch, capsys):
    moving_frames(tmp_path / "videos" / "clip", right=1, down=0)
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for rich
    config = FlowConfig(algorithm="farneback")

    extract_flow(samples_of(tmp_path / "videos"), tmp_path / "flow", config, progress=True)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "computing flow" in printed.err


def test_rest_is_stored_as_128(tmp_path):
    moving_frames(tmp_path / "videos" / "still", right=0, down=0)

    extract_flow(samples_of(tmp_path / "videos"), tmp_path / "flow", FlowConfig(short_side=None))

    with open_video(tmp_path / "flow" / "still", modality="flow") as video:
        assert (len(video), video.fps) == (3, 25.0)
        assert (video.frames(range(3)) == 128).all()


def test_what_is_stored_is_the_flow(tmp_path):
    moving_frames(tmp_path / "videos" / "clip", right=3, down=-2)
    config = FlowConfig(short_side=None, bound=10.0)

    extracted = extract_flow(samples_of(tmp_path / "videos"), tmp_path / "flow", config)

    assert (extracted.num_new, extracted.errors) == (1, {})
    with open_video(tmp_path / "videos" / "clip") as video:
        wanted = np.stack(
            [encode_flow(field, bound=10.0) for field in fields_of(video, algorithm="tvl1", short_side=None)]
        )
    with open_video(tmp_path / "flow" / "clip", modality="flow") as video:
        codes = video.frames(range(3))
    assert abs(codes.astype(int) - wanted).max() <= 8  # JPEG
    assert np.median(codes * (20.0 / 255) - 10.0, axis=(0, 1, 2)) == pytest.approx((3, -2), abs=0.1)
    assert json.loads((tmp_path / "flow" / "clip" / "flow.json").read_text()) == {
        **{"fps": 25.0, "algorithm": "tvl1", "short_side": None, "bound": 10.0, "layout": "tsn"}
    }


def samples_of(root):
    return [
        Sample(path=path, class_name="a", name=path.relative_to(root).as_posix()) for path in sorted(root.iterdir())
    ]


@pytest.fixture
def videos(tmp_path):
    """Class folders of four videos, one of which cannot be read, and one of which has a single frame."""
    root = tmp_path / "videos"
    for number, name in enumerate(("left/one", "left/two", "right/three")):
        moving_frames(root / name, right=number - 1, down=0)
    (root / "right" / "broken.mp4").write_bytes(b"no video")
    moving_frames(root / "right" / "single", right=0, down=0, num_frames=1)
    return root


def flow_of(root, out, *options):
    options = ["--algorithm", "farneback", "--short_side", "32", "--num_workers", "2", *options]
    return main(["data", "flow", str(root), "--out", str(out), *options])


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


def test_a_dataset_of_flow_is_a_dataset_and_what_cannot_be_read_is_named(videos, tmp_path, capsys):
    out = tmp_path / "flow"

    assert flow_of(videos, out) == 1

    captured = capsys.readouterr()
    assert f"{out}: flow of 3 videos (0 were there already), 2 unreadable\n" in captured.out
    assert f"next: kinema train --data.root {out} --clip.modality flow" in captured.out
    first, second = captured.err.splitlines()
    assert first.startswith("kinema: no flow of right/broken.mp4: ")
    assert second.startswith("kinema: no flow of right/single: ")
    assert second.endswith("flow needs two frames, the video has 1; leave it out")
    annotations = read_annotations(Source(root=out))
    assert [(sample.name, sample.class_name) for sample in annotations.samples] == [
        *(("left/one", "left"), ("left/two", "left"), ("right/three", "right"))
    ]


def test_what_is_there_is_not_computed_again(videos, tmp_path, capsys):
    out = tmp_path / "flow"
    flow_of(videos, out)
    whole = contents(out)
    marked = out / "left" / "one" / "flow_x_00001.jpg"
    marked.write_bytes(b"mark")
    shutil.rmtree(out / "left" / "two")
    (out / "left" / ".two.flow-partial").mkdir()
    (out / "left" / ".two.flow-partial" / "flow_x_00001.jpg").write_bytes(b"half")

    flow_of(videos, out)

    assert "flow of 3 videos (2 were there already), 2 unreadable" in capsys.readouterr().out
    assert marked.read_bytes() == b"mark"
    assert {**contents(out), "left/one/flow_x_00001.jpg": whole["left/one/flow_x_00001.jpg"]} == whole


@pytest.mark.slow
def test_a_killed_extraction_leaves_nothing_half_and_goes_on(tmp_path):
    root, out = tmp_path / "videos", tmp_path / "flow"
    for number in range(6):
        moving_frames(root / "a" / f"clip{number}", right=1, down=0, num_frames=12)
    command = [*(sys.executable, "-m", "kinema", "data", "flow", str(root), "--out", str(out)), "--short_side", "48"]
    source = str(Path(__file__).resolve().parents[3] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}

    child = subprocess.Popen([*command, "--num_workers", "1"], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(out.glob("a/.*/flow_x_00003.jpg")) or not any(out.glob("a/clip*")):
        assert child.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()

    whole = sorted(path.name for path in out.glob("a/clip*"))
    assert 1 <= len(whole) < 6
    for name in whole:
        with open_video(out / "a" / name, modality="flow") as video:
            assert len(video) == 11
    assert [path.name for path in out.glob("a/.*")] == [f".clip{len(whole)}.flow-partial"]
    before = {name: (out / "a" / name).stat().st_mtime_ns for name in whole}
    assert subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert not list(out.glob("a/.*"))
    assert sorted(path.name for path in out.glob("a/*")) == [f"clip{number}" for number in range(6)]
    assert {name: (out / "a" / name).stat().st_mtime_ns for name in whole} == before
    alone = tmp_path / "alone"
    samples = read_annotations(Source(root=root)).samples
    extract_flow(samples, alone, FlowConfig(short_side=48))
    assert contents(out) == contents(alone)


def test_flow_of_other_settings_is_not_mixed_in(videos, tmp_path, capsys):
    flow_of(videos, tmp_path / "flow")
    capsys.readouterr()

    assert flow_of(videos, tmp_path / "flow", "--bound", "10") == 2

    assert "out must hold flow of the same bound, got 20.0 in" in capsys.readouterr().err


def test_the_list_of_a_csv_comes_along(videos, tmp_path):
    rows = [["path", "label", "split", "group"], ["left/one", "l", "train", "g"], ["right/three", "r", "val", "h"]]
    with (videos.parent / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    out = tmp_path / "flow"

    assert flow_of(videos, out, "--annotations", str(videos.parent / "list.csv"), "--layout", "ssv1") == 0

    annotations = read_annotations(Source(root=out))
    found = [(sample.name, sample.class_name, sample.split, sample.group) for sample in annotations.samples]
    assert found == [("left/one", "l", "train", "g"), ("right/three", "r", "val", "h")]
    with open_video(annotations.samples[0].path, modality="flow") as video:
        assert len(video) == 3
    assert (out / "left" / "one" / "one-x_00001.jpg").is_file()


def test_several_classes_and_parts_of_videos_come_along(videos, tmp_path):
    rows = [["path", "labels", "start", "end"], ["left/one", "a;b", "0", "0.08"], ["left/one", "b", "0.08", "0.16"]]
    with (videos.parent / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    out = tmp_path / "flow"

    assert flow_of(videos, out, "--annotations", str(videos.parent / "list.csv")) == 0

    annotations = read_annotations(Source(root=out))
    assert annotations.multi_label
    assert [(sample.class_names, len(open_video(sample.path, modality="flow"))) for sample in annotations.samples] == [
        (("a", "b"), 1),
        (("b",), 1),
    ]


def test_videos_whose_class_is_not_known_are_in_no_list_and_that_is_said(videos, tmp_path, capsys):
    labels = {"labels": "Lifting", "train": "1;Lifting\n2;Lifting", "validation": "3;Lifting", "test": "4"}
    root = tmp_path / "root"
    for name, lines in labels.items():
        (root / f"something-something-v1-{name}.csv").parent.mkdir(exist_ok=True)
        (root / f"something-something-v1-{name}.csv").write_text(lines + "\n")
    for number in range(1, 5):
        shutil.copytree(videos / "left" / "one", root / "20bn-something-something-v1" / str(number))
    capsys.readouterr()

    assert flow_of(root, tmp_path / "flow") == 0

    printed = capsys.readouterr().out
    assert "flow of 4 videos" in printed
    assert "1 of them are in no list, for the data does not say their class" in printed
    samples = read_annotations(Source(root=tmp_path / "flow")).samples
    assert [sample.split for sample in samples] == ["train", "train", "val"]
    assert all(sample.path.is_dir() for sample in samples)


def test_one_video_is_enough(counting_video, tmp_path, capsys):
    assert flow_of(counting_video, tmp_path / "flow") == 0

    assert "next:" not in capsys.readouterr().out
    with open_video(tmp_path / "flow" / "counting", modality="flow") as video:
        assert (len(video), video.fps, video.frames([0]).shape) == (39, 25.0, (1, 32, 32, 2))


@pytest.mark.parametrize("place", [".", "flow", "left/flow", ".."])
def test_flow_is_not_written_among_the_videos(place, videos, capsys):
    assert flow_of(videos, videos / place) == 2
    assert "out must lie beside the videos, not in their folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a.mp4", "a.avi"], "names of videos must differ by more than their extension, got 'a.mp4 and a.avi'"),
        (["../a.mp4"], r"names of videos must stay in the root, got '\.\./a\.mp4'"),
    ],
)
def test_videos_that_would_share_a_folder_are_refused(names, sentence, tmp_path):
    samples = [Sample(path=tmp_path / name, class_name="a", name=name) for name in names]

    with pytest.raises(ValueError, match=sentence):
        extract_flow(samples, tmp_path / "flow", FAST)


def test_other_files_are_not_taken_for_flow(videos, tmp_path):
    (tmp_path / "flow" / "one").mkdir(parents=True)

    with pytest.raises(ValueError, match=r"out must hold nothing but flow, got .* with other files"):
        extract_flow(samples_of(videos / "left"), tmp_path / "flow", FAST)


def test_two_extractions_at_once_are_refused(videos, tmp_path):
    import fcntl

    (tmp_path / "flow").mkdir()
    with (tmp_path / "flow" / ".flow.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="out must be written to by one command at a time"):
            extract_flow(samples_of(videos / "left"), tmp_path / "flow", FAST)


def test_a_missing_opencv_is_one_sentence(videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)

    assert flow_of(videos, tmp_path / "flow") == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "install them with pip install 'kinema[flow]'" in error


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"bound": 0.0}, "bound must be positive, got 0.0"),
        ({"short_side": 8}, "short_side must be at least 16, got 8"),
        ({"layout": "mine"}, "layout must be one of tsn, xy, ssv1, ssv2, got 'mine'"),
        ({"algorithm": "brox"}, "algorithm must be one of tvl1, farneback, got 'brox'"),
    ],
)
def test_a_config_out_of_range_is_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        FlowConfig(**values)
