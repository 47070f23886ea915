"""The cached index: the same frames without a pass over the packets, and never those of another state of the file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from counting import numbers_in, write_counting_video
from kinema.data.user_cache import cache_folder
from kinema.data.video import file as video_file
from kinema.data.video.opening import VideoError, open_video
from kinema.data.video.packet_source import BarePackets, SoughtPackets

if TYPE_CHECKING:
    from kinema.data.video.packet_source import PacketSource


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that remembers files however young they are."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("KINEMA_CACHE", str(folder))
    monkeypatch.setattr("kinema.data.video.index_cache._SETTLED_NS", -(10**18))
    return folder


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _refuse_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the packets were read again")

    monkeypatch.setattr(video_file, "index_file", refuse)


_KINDS: list[tuple[str, str, dict[str, object], type[PacketSource] | None]] = [
    ("libx264", "mp4", {"gop_size": 12, "b_frames": 3}, BarePackets),
    ("libx264", "mkv", {"gop_size": 12, "b_frames": 3}, BarePackets),
    ("libx264", "ts", {"gop_size": 12, "b_frames": 3}, SoughtPackets),
    ("libx264", "mp4", {"gop_size": 12, "rotation": 90}, SoughtPackets),
    ("libx265", "mp4", {"options": {"x265-params": "keyint=12:log-level=none"}}, BarePackets),
    ("mpeg4", "mp4", {"gop_size": 12, "b_frames": 2}, BarePackets),
    ("mpeg4", "avi", {"gop_size": 12, "b_frames": 0}, BarePackets),
    ("mpeg4", "avi", {"gop_size": 12, "b_frames": 2}, None),
    ("libvpx-vp9", "webm", {"gop_size": 10}, BarePackets),
    ("libsvtav1", "mp4", {"gop_size": 16}, BarePackets),
    ("mjpeg", "avi", {"pix_fmt": "yuvj420p"}, SoughtPackets),
    ("gif", "gif", {}, None),
]


@pytest.mark.parametrize(("codec", "container", "settings", "source"), _KINDS)
def test_a_file_opened_again_gives_the_same_frames_without_a_pass_over_its_packets(
    codec: str,
    container: str,
    settings: dict[str, object],
    source: type[PacketSource] | None,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_counting_video(tmp_path / f"a.{container}", codec=codec, num_frames=30, **settings)  # type: ignore[arg-type]
    with open_video(path, index_cache=True) as video:
        plain, fps, size = video.frames(range(30)), video.fps, video.size
    assert len(_entries(cache)) == 1
    _refuse_pass(monkeypatch)
    for numbers in ([29], [0], [14, 3, 17], range(30)):
        with open_video(path, index_cache=True) as video:
            assert (len(video), video.fps, video.size) == (30, fps, size)
            assert type(video._source) is (source or type(None))  # type: ignore[attr-defined]
            assert np.array_equal(video.frames(numbers), plain[list(numbers)])


def test_nothing_is_kept_or_looked_up_unless_asked_for(
    counting_video: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_video(counting_video).close()
    assert not cache.exists()
    open_video(counting_video, index_cache=True).close()
    assert len(_entries(cache)) == 1
    for value in ("off", "0", ""):
        monkeypatch.setenv("KINEMA_CACHE", value)
        assert cache_folder() is None
        open_video(counting_video, index_cache=True).close()
    monkeypatch.delenv("KINEMA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert cache_folder() == cache / "kinema"


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_changed_file_is_not_read_with_an_old_index(keep_times: bool, tmp_path: Path) -> None:
    path = write_counting_video(tmp_path / "a.mp4", num_frames=30, gop_size=8)
    other = write_counting_video(tmp_path / "b.mp4", num_frames=20, gop_size=5)
    old = path.stat()
    open_video(path, index_cache=True).close()
    content = other.read_bytes()
    path.write_bytes(content + bytes(max(old.st_size - len(content), 0)))  # in place, of the same size if need be
    if keep_times:
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    with open_video(path, index_cache=True) as video:
        assert numbers_in(video.frames(range(len(video)))) == list(range(20))


def test_a_file_changed_just_now_is_not_remembered(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinema.data.video.index_cache._SETTLED_NS", 3 * 10**9)
    path = write_counting_video(tmp_path / "a.mp4", num_frames=5)
    open_video(path, index_cache=True).close()
    assert not cache.exists()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**10)
    open_video(path, index_cache=True).close()
    assert len(_entries(cache)) == 1


def test_a_damaged_or_foreign_entry_is_passed_over_and_written_anew(counting_video: Path, cache: Path) -> None:
    open_video(counting_video, index_cache=True).close()
    (entry,) = _entries(cache)
    good = entry.read_bytes()
    spoilt = bytearray(good)
    spoilt[-5] ^= 1
    for content in (b"", good[:20], good[:-1], bytes(spoilt), b"kinema index 1\n", b"something else\n" * 50):
        entry.write_bytes(content)
        with open_video(counting_video, index_cache=True) as video:
            assert numbers_in(video.frames([0, 39, 20])) == [0, 39, 20]
        assert _entries(cache) == [entry]
        assert entry.read_bytes() == good


def test_an_entry_that_does_not_fit_the_file_is_found_out_while_decoding(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_counting_video(tmp_path / "a.mp4", num_frames=30, gop_size=8, b_frames=2)
    other = write_counting_video(tmp_path / "b.mp4", num_frames=30, gop_size=5, width=96, height=96)
    open_video(path, index_cache=True).close()
    monkeypatch.setattr("kinema.data.video.index_cache.state_of", lambda path: {"size": 10**9, "mtime": 0, "ctime": 0})
    open_video(path, index_cache=True).close()
    path.write_bytes(other.read_bytes())
    with open_video(path, index_cache=True) as video:
        assert numbers_in(video.frames([0, 29, 20])) == [0, 29, 20]
    assert not _entries(cache)


def test_a_cache_that_cannot_be_written_does_no_harm(counting_video: Path, cache: Path) -> None:
    cache.write_bytes(b"a file where the folder should be")
    with open_video(counting_video, index_cache=True) as video:
        assert numbers_in(video.frames([7])) == [7]


def test_an_unreadable_file_is_not_remembered(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x" * 100)
    for _ in range(2):
        with pytest.raises(VideoError, match="not a video"):
            open_video(path, index_cache=True)
    assert not cache.exists()


def test_the_container_is_not_opened_where_its_bytes_prove_enough(
    counting_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_video(counting_video, index_cache=True).close()
    monkeypatch.setattr(av, "open", None)
    with open_video(counting_video, index_cache=True) as video:
        assert numbers_in(video.frames([39, 1])) == [39, 1]


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch, counting_video: Path) -> None:
    monkeypatch.delenv("KINEMA_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert cache_folder() is None
    with open_video(counting_video, index_cache=True) as video:
        assert len(video) == 40


def test_a_file_that_cannot_be_read_for_the_cache_is_read_without_it(
    cache: Path, counting_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def lost(path: Path) -> bytes:
        asked.append(path)
        raise OSError("the network drive is gone")

    monkeypatch.setattr(Path, "read_bytes", lost)
    with open_video(counting_video, index_cache=True) as video:
        assert len(video) == 40
    assert counting_video in asked
    assert not _entries(cache)
