"""Folders of flow: the field's layouts, written and read, and what is wrong with broken ones."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from kinema.data.flow.folder import FlowFolder
from kinema.data.flow.pictures import Layout, write_field
from kinema.data.video.opening import VideoError, is_video, open_video

FLAT = np.random.default_rng(0).integers(0, 256, (7, 2))
"""Codes of x and y of seven fields."""


def write_flow(folder, layout, codes=FLAT, size=(24, 16)):
    folder.mkdir(parents=True, exist_ok=True)
    for number, (x, y) in enumerate(codes, start=1):
        field = np.stack([np.full(size, x), np.full(size, y)], axis=-1).astype(np.uint8)
        write_field(folder, field, number=number, layout=layout, name=folder.name)


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("tsn", ["flow_x_00001.jpg", "flow_x_00002.jpg", "flow_y_00001.jpg", "flow_y_00002.jpg"]),
        ("xy", ["x_00001.jpg", "x_00002.jpg", "y_00001.jpg", "y_00002.jpg"]),
        ("ssv1", ["100218-x_00001.jpg", "100218-x_00002.jpg", "100218-y_00001.jpg", "100218-y_00002.jpg"]),
        ("ssv2", ["000001.jpg", "000002.jpg"]),
    ],
)
def test_a_layout_has_these_names(layout, names, tmp_path):
    write_flow(tmp_path / "100218", layout, FLAT[:2])

    assert sorted(file.name for file in (tmp_path / "100218").iterdir()) == names


@pytest.mark.parametrize("layout", get_args(Layout))
def test_a_layout_is_read_as_it_was_written(layout, tmp_path):
    folder = tmp_path / "100218"
    write_flow(folder, layout)

    assert is_video(folder)
    with open_video(folder, modality="flow") as video:
        frames = video.frames([0, 6, 3, 3])

    assert (len(video), video.fps, frames.shape, frames.dtype) == (7, 25.0, (4, 24, 16, 2), np.uint8)
    # JPEG turns a flat picture into one that is two codes off at most.
    assert abs(frames.astype(int) - FLAT[[0, 6, 3, 3]][:, None, None]).max() <= 2


@pytest.mark.parametrize("names", [("u_{:05d}.png", "v_{:05d}.png"), ("opt_flow_x{:d}.png", "opt_flow_y{:d}.png")])
def test_other_names_are_read_too(names, tmp_path):
    for channel, name in enumerate(names):
        for number, code in enumerate(FLAT[:, channel]):
            Image.new("L", (16, 24), int(code)).save(tmp_path / name.format(number + 3))

    frames = FlowFolder(tmp_path).frames(range(7))

    assert (frames == FLAT[:, None, None]).all()


def test_flow_is_read_from_beside_the_frames_and_frames_from_beside_the_flow(tmp_path):
    write_flow(tmp_path, "tsn")
    for number in range(1, 9):
        Image.new("RGB", (16, 24), (200, 100, 50)).save(tmp_path / f"img_{number:05d}.png")

    with open_video(tmp_path, modality="flow") as flow, open_video(tmp_path) as frames:
        assert (len(flow), len(frames)) == (7, 8)
        assert (frames.frames([0]) == (200, 100, 50)).all()


@pytest.mark.parametrize(
    ("codes", "subsampling"), [([[0, 255]], 0), ([[0, 255], [255, 0]], 2), ([[255, 255], [0, 0]], 2)]
)
def test_colours_as_coarse_as_jpeg_makes_them_are_flow(codes, subsampling, tmp_path):
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, :32, :2], halves[:, 32:, :2] = codes[0], codes[-1]
    Image.fromarray(halves).save(tmp_path / "000001.jpg", quality=75, subsampling=subsampling)

    with FlowFolder(tmp_path) as video:
        assert video.frames([0]).shape == (1, 64, 64, 2)


def test_frames_are_not_taken_for_flow(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 24, 16, 3), dtype=np.uint8)
    for number, frame in enumerate(noise):
        Image.fromarray(frame).save(tmp_path / f"{number:06d}.jpg")

    with pytest.raises(VideoError, match=r"000000\.jpg is no optical flow, for its blue is not blank"):
        open_video(tmp_path, modality="flow")


def test_flow_is_not_taken_for_frames(tmp_path):
    for layout in ("tsn", "ssv2"):
        write_flow(tmp_path / layout, layout)
        (tmp_path / layout / "flow.json").write_text('{"fps": 12.5}')

        with pytest.raises(VideoError, match="the folder holds optical flow, not frames; take it with"):
            open_video(tmp_path / layout)
        assert open_video(tmp_path / layout, modality="flow").fps == 12.5


def test_a_file_is_no_flow(counting_video):
    with pytest.raises(VideoError, match="a file where a folder of optical flow is needed; make one with kinema data"):
        open_video(counting_video, modality="flow")


def remove(name):
    return lambda folder: (folder / name).unlink()


def resize(name):
    return lambda folder: Image.new("L", (8, 24)).save(folder / name)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (remove("flow_y_00007.jpg"), r"field 7 has x but no y \(7 of x, 6 of y\); extract the flow again"),
        (remove("flow_x_00003.jpg"), r"field 3 has y but no x \(6 of x, 7 of y\)"),
        (resize("flow_y_00001.jpg"), r"flow_x_00001\.jpg is 16x24 and flow_y_00001\.jpg is 8x24"),
        (
            lambda folder: [resize(f"flow_{letter}_00004.jpg")(folder) for letter in "xy"],
            r"field 3 \(flow_x_00004\.jpg\) is 8x24 where the first is 16x24",
        ),
        (
            lambda folder: [remove(f"flow_{letter}_00004.jpg")(folder) for letter in "xy"],
            r"field 4 is missing behind flow_x_00003\.jpg",
        ),
        (
            lambda folder: (folder / "flow_x_00004.jpg").write_bytes(b"\xff\xd8\xff"),
            r"flow_x_00004\.jpg cannot be read",
        ),
        (lambda folder: (folder / "flow_x_4.jpg").touch(), r"flow_x_00004\.jpg and flow_x_4\.jpg are both field 4"),
        (lambda folder: write_flow(folder, "xy"), r"several series of flow \(such as x and flow_x\)"),
        (lambda folder: (folder / "flow.json").write_text("{}"), r"flow\.json: cannot be read \(KeyError\('fps'\)\)"),
        (lambda folder: (folder / "flow.json").write_text('{"fps": 0}'), r"fps must be positive, got 0\.0"),
        (lambda folder: [file.unlink() for file in folder.iterdir()], r"no optical flow \(flow_x_00001\.jpg with"),
    ],
)
def test_a_broken_folder_is_an_error_that_says_what_is_broken(spoil, sentence, tmp_path):
    write_flow(tmp_path, "tsn")
    spoil(tmp_path)

    with pytest.raises(VideoError, match=sentence):
        FlowFolder(tmp_path).frames(range(7))


def test_the_rate_is_the_one_that_was_stored(tmp_path):
    write_flow(tmp_path, "xy")
    (tmp_path / "flow.json").write_text(json.dumps({"fps": 12.0, "bound": 20.0}))

    assert FlowFolder(tmp_path).duration_seconds == 7 / 12
