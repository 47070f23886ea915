"""Files that are no videos, or that would have another file read: one sentence each, never a crash, never that file."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from PIL import Image

from counting import numbers_in, rgb_of, write_counting_video
from kinema.data.video.opening import VideoError, open_video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PLAYLISTS = {
    "hls": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "hls behind a byte order mark": b"\xef\xbb\xbf#EXTM3U\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile secret.mp4\n",
    "dash": b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    b' mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1"'
    b' bandwidth="1"><BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>\n',
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    b"a=rtpmap:96 H264/90000\n",
    "imf": b'<?xml version="1.0"?>\n<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>\n',
}


def _refusal(path: Path) -> str:
    with pytest.raises(VideoError) as error, open_video(path) as video:
        video.frames(range(len(video)))
    message = str(error.value)
    assert message.isprintable()
    assert str(pickle.loads(pickle.dumps(error.value))) == message
    return message


@pytest.mark.parametrize("extension", ["mp4", "avi", "m3u8", "mpd", "webm", "txt"])
@pytest.mark.parametrize("kind", _PLAYLISTS)
def test_a_playlist_is_refused_whatever_its_extension(kind: str, extension: str, tmp_path: Path) -> None:
    write_counting_video(tmp_path / "secret.mp4", num_frames=4)
    path = tmp_path / f"list.{extension}"
    path.write_bytes(_PLAYLISTS[kind])
    assert "a playlist that names other files, not a video" in _refusal(path)


def test_a_pattern_of_names_is_one_name(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "0001.png")
    (tmp_path / "%04d.png").write_bytes((tmp_path / "0001.png").read_bytes())
    assert "not a video that can be opened" in _refusal(tmp_path / "%04d.png")
    assert "no such file" in _refusal(tmp_path / "%05d.png")
    assert "no such file" in _refusal(tmp_path / "*.png")


def test_a_graph_of_filters_or_a_device_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("testsrc", "lavfi:testsrc", "http://127.0.0.1:9/a.mp4", "pipe:0", "concat:a.mp4|b.mp4"):
        with pytest.raises(VideoError, match="no such file"):
            open_video(name)


def _mov_that_names_another_file(folder: Path) -> Path:
    """Let the data reference of a MOV name the file beside it (QuickTime's `alis` with relative and absolute path)."""
    secret = write_counting_video(folder / "secret.mov", num_frames=4, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(secret.read_bytes())
    place = data.index(b"dref") + 12
    size = int.from_bytes(data[place : place + 4], "big")
    name = os.fsencode(secret)
    entries = struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2) + struct.pack(">hH", -1, 0)
    head = b"\0" * 130 + struct.pack(">HH", 1, 1) + b"\0" * 16  # one folder up, one down: beside this file
    alias = struct.pack(">I4sI", 12 + len(head) + len(entries), b"alis", 0) + head + entries
    grown = len(alias) - size
    data[place : place + size] = alias
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        start = data.index(box, data.index(b"moov")) - 4
        data[start : start + 4] = (int.from_bytes(data[start : start + 4], "big") + grown).to_bytes(4, "big")
    media = data.index(b"mdat")
    path = folder / "names.mov"
    moov = data.index(b"moov") - 4
    assert moov > media  # offsets into the data stay
    data[media + 4 : moov] = bytes(moov - media - 4)
    path.write_bytes(data)
    return path


def test_a_mov_does_not_read_the_file_that_its_data_reference_names(tmp_path: Path) -> None:
    path = _mov_that_names_another_file(tmp_path)
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert numbers_in(np.stack([rgb_of(f) for f in container.decode(video=0)])) == [0, 1, 2, 3]
    assert "replace" in _refusal(path)  # its own data are zeros, and those of the other are not taken


def test_a_header_of_a_hundred_thousand_pixels_is_refused(tmp_path: Path) -> None:
    path = write_counting_video(tmp_path / "wide.avi", codec="ffvhuff", num_frames=2)
    data = bytearray(path.read_bytes())
    for place in (data.index(b"avih") + 8 + 32, data.index(b"strf") + 8 + 4):
        assert data[place : place + 8] == struct.pack("<II", 64, 64)
        data[place : place + 8] = struct.pack("<II", 100_000, 64)
    path.write_bytes(data)
    assert "got 100000x64" in _refusal(path)
    for place in (data.index(b"avih") + 8 + 32, data.index(b"strf") + 8 + 4):
        data[place : place + 8] = struct.pack("<II", 16_000, 16_000)
    path.write_bytes(data)
    assert "more than 67108864 pixels" in _refusal(path)


def test_a_picture_of_a_hundred_thousand_pixels_is_refused(tmp_path: Path) -> None:
    Image.new("1", (100_000, 8)).save(tmp_path / "0001.png")
    assert "got 100000x8" in _refusal(tmp_path)
    Image.new("1", (9_500, 9_500)).save(tmp_path / "0001.png")
    assert "9500" in _refusal(tmp_path) or "90250000" in _refusal(tmp_path)


def test_a_picture_under_a_wrong_name_runs_no_program(tmp_path: Path) -> None:
    (tmp_path / "0001.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert "frame 0 (0001.jpg) cannot be read" in _refusal(tmp_path)


_CONTENTS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "no bytes": ("the file is empty", lambda _: b""),
    "zero bytes": ("nothing but zero bytes at its start", lambda whole: bytes(len(whole))),
    "pointer": (
        "a pointer that git-lfs left",
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n",
    ),
    "cut off": ("without a readable index", lambda whole: whole[: len(whole) // 2]),
    "one byte": ("not a video that can be opened", lambda _: b"x"),
    "page of a server": ("not a video that can be opened", lambda _: b"<!DOCTYPE html><html>404</html>"),
}


@pytest.mark.parametrize("kind", _CONTENTS)
def test_a_file_that_is_no_whole_video_says_what_it_is(kind: str, counting_video: Path, tmp_path: Path) -> None:
    sentence, content = _CONTENTS[kind]
    path = tmp_path / "clip.mp4"
    path.write_bytes(content(counting_video.read_bytes()))
    assert sentence in _refusal(path)


def test_a_folder_named_like_a_video_is_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.mkdir()
    assert "no numbered frames" in _refusal(path)
    Image.new("RGB", (8, 4)).save(path / "1.png")
    with open_video(path) as video:
        assert video.frames([0]).shape == (1, 4, 8, 3)


def test_links_that_lead_nowhere_or_in_a_ring_are_refused(tmp_path: Path) -> None:
    ring, dangling = tmp_path / "ring.mp4", tmp_path / "dangling.mp4"
    ring.symlink_to(ring)
    dangling.symlink_to(tmp_path / "gone.mp4")
    assert "links that lead in a ring" in _refusal(ring)
    assert "no such file" in _refusal(dangling)
    inner = tmp_path / "frames"
    inner.mkdir()
    Image.new("RGB", (8, 4)).save(inner / "1.png")
    (inner / "2.png").symlink_to(inner / "2.png")
    assert "frame 1 (2.png) cannot be read" in _refusal(inner)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "neither a file nor a folder" in _refusal(tmp_path / "pipe.mp4")


_NAMES = (
    "a clip.mp4",
    'it\'s "one".mp4',
    "two\nlines.mp4",
    "-i.mp4",
    "http:.mp4",
    "file:a.mp4",
    "%d.mp4",
    "ü.mp4",
    "a,b|c.mp4",
)


@pytest.mark.parametrize("name", _NAMES)
def test_any_name_is_a_name(name: str, counting_video: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(counting_video.read_bytes())
    with open_video(path) as video:
        assert numbers_in(video.frames([3, 39])) == [3, 39]
    path.write_bytes(b"x")
    _refusal(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep names as text")
def test_a_name_that_is_no_utf_8_is_a_name(counting_video: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(counting_video.read_bytes())
    with open_video(path) as video:
        assert numbers_in(video.frames([3, 39])) == [3, 39]
    path.write_bytes(b"x")
    assert "caf\\udce9.mp4" in _refusal(path)
