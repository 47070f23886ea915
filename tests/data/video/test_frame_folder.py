"""Folders of numbered frames: every template of the field, and what must be refused."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from counting import counting_frame, numbers_in
from kinema.data.video.opening import ASSUMED_FPS, VideoError, is_video, open_video

if TYPE_CHECKING:
    from pathlib import Path


def _write_frames(folder: Path, template: str, numbers: range) -> None:
    folder.mkdir(exist_ok=True)
    for place, number in enumerate(numbers):
        Image.fromarray(counting_frame(place)).save(folder / template.format(number))


@pytest.mark.parametrize("first", [0, 1, 57])
@pytest.mark.parametrize(
    "template",
    [
        *("{:04d}.jpg", "{:05d}.jpg", "{:06d}.jpg", "{:d}.jpg", "img_{:05d}.jpg", "image_{:05d}.jpg"),
        *("frame{:06d}.jpg", "frame_{:010d}.jpg", "{:05d}.png", "v_clip_g01_{:d}.jpeg", "IMG_{:04d}.JPG"),
        *("v_{:05d}.jpg", "overflow_{:d}.png", "frame ({:d}).png", "{:03d}.tif"),
    ],
)
def test_every_template_gives_the_frames_in_order(template: str, first: int, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    _write_frames(folder, template, range(first, first + 12))
    for other in ("flow_x_00001.jpg", "flow_y_00001.jpg", "x_0001.jpg", "y_0001.jpg", "._00001.jpg", "notes.txt"):
        (folder / other).write_bytes(b"not a frame")
    assert is_video(folder)
    with open_video(folder) as video:
        assert (len(video), video.fps) == (12, ASSUMED_FPS)
        assert numbers_in(video.frames([11, 0, 2, 10, 2])) == [11, 0, 2, 10, 2]


def _message(folder: Path) -> str:
    with pytest.raises(VideoError) as error, open_video(folder) as video:
        video.frames(range(len(video)))
    message = str(error.value)
    assert message.startswith(f"{folder}: ")
    assert "\n" not in message
    assert str(pickle.loads(pickle.dumps(error.value))) == message
    return message


def test_a_missing_frame_is_named(tmp_path: Path) -> None:
    _write_frames(tmp_path, "img_{:05d}.jpg", range(1, 10))
    (tmp_path / "img_00004.jpg").unlink()
    assert "frame 4 is missing between img_00003.jpg and img_00005.jpg" in _message(tmp_path)


def test_two_series_of_frames_are_refused_unless_one_has_a_usual_name(tmp_path: Path) -> None:
    _write_frames(tmp_path, "left_{:05d}.png", range(1, 4))
    _write_frames(tmp_path, "right_{:05d}.png", range(1, 4))
    assert "several series of frames (such as left_00001.png and right_00001.png)" in _message(tmp_path)
    _write_frames(tmp_path, "img_{:05d}.png", range(1, 6))
    with open_video(tmp_path) as video:
        assert len(video) == 5


def test_one_number_in_two_files_is_refused(tmp_path: Path) -> None:
    _write_frames(tmp_path, "{:d}.jpg", range(1, 4))
    _write_frames(tmp_path, "{:03d}.jpg", range(2, 3))
    assert "002.jpg and 2.jpg are both frame 2" in _message(tmp_path)


def test_a_frame_cut_short_is_named(tmp_path: Path) -> None:
    _write_frames(tmp_path, "{:05d}.jpg", range(1, 6))
    file = tmp_path / "00003.jpg"
    file.write_bytes(file.read_bytes()[:-200])
    assert "frame 2 (00003.jpg) cannot be read" in _message(tmp_path)


def test_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    _write_frames(tmp_path, "{:05d}.jpg", range(1, 4))
    Image.new("RGB", (32, 48)).save(tmp_path / "00002.jpg")
    assert "frame 1 (00002.jpg) is 32x48 where the first is 64x64" in _message(tmp_path)


def test_frames_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    Image.new("I;16", (32, 32)).save(tmp_path / "00001.png")
    assert "more than 8 bits" in _message(tmp_path)


def test_gray_and_palette_frames_become_rgb(tmp_path: Path) -> None:
    for number, mode in enumerate(("RGB", "L", "P", "RGBA"), start=1):
        Image.new("RGB", (8, 6), (102, 102, 102)).convert(mode).save(tmp_path / f"{number}.png")
    with open_video(tmp_path) as video:
        assert (video.frames(range(4)) == 102).all()


def test_extensions_may_be_written_in_both_cases(tmp_path: Path) -> None:
    _write_frames(tmp_path, "a{:d}.jpg", range(1, 3))
    _write_frames(tmp_path, "a{:d}.JPG", range(3, 5))
    with open_video(tmp_path) as video:
        assert len(video) == 4


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("1.jpg", "2.jpg"), True),
        (("1.jpg",), True),
        (("1.jpg", "2.jpg", "flow/1.jpg"), True),
        (("1.jpg", "a.mp4"), False),
        (("1.jpg", "2.jpg", "3.jpg", "a.mp4"), False),
        (("1.jpg", "2.jpg", "._a.mp4"), True),
        (("cover1.jpg", "clip/1.jpg"), False),
        (("flowx_1.jpg", "flowY2.jpg"), True),
        (("overflow_1.jpg", "flower2.jpg"), True),
        (("x_1.jpg", "y_1.jpg"), True),
        (("flow_x_1.jpg", "optical flow 2.jpg"), True),
    ],
)
def test_a_folder_is_a_video_where_its_pictures_are_the_content(
    names: tuple[str, ...], expected: bool, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert is_video(tmp_path) == expected
