"""Reading costs the same memory the ten-thousandth time as the first, and a long file no more than a short one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import av
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from counting import add_counting_stream, counting_frame, write_counting_video

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

_MEBIBYTE = 2**20
_READ_AGAIN = """
import os, sys
from kinema.data.video.opening import open_video

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

path, cached = sys.argv[1], sys.argv[2] == "cached"
for opened in range(1050):
    if opened == 50:
        before = resident()
    with open_video(path, index_cache=cached) as video:
        for number in range(10):
            video.frames([number % len(video)])
print(resident() - before)
"""
_READ_ONCE = """
import resource, sys
from kinema.data.video.opening import open_video

with open_video(sys.argv[1]) as video:
    for number in range(8):
        video.frames([(2 * number + 1) * len(video) // 16])
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _run(script: str, *arguments: str, cache: Path) -> int:
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "KINEMA_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
    )
    return int(process.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "file, cached", "file in sequence", "folder"])
def test_ten_thousand_reads_do_not_make_the_process_grow(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    if kind == "folder":
        path.mkdir()
        for number in range(8):
            Image.fromarray(counting_frame(number, width=32, height=32)).save(path / f"{number:05d}.jpg")
    elif kind == "file in sequence":
        path = write_counting_video(tmp_path / "a.flv", codec="flv", num_frames=2, width=32, height=32)
    else:
        path = write_counting_video(tmp_path / "a.mp4", num_frames=8, width=32, height=32, gop_size=4)
    growth = _run(_READ_AGAIN, str(path), "cached" if kind == "file, cached" else "", cache=tmp_path / "cache")
    assert growth < 50 * _MEBIBYTE, f"{growth / _MEBIBYTE:.1f} MiB"


def _write_long(path: Path, *, num_frames: int) -> Path:
    """Write a still picture of noise, two frames a second, every other one a large keyframe."""
    picture = counting_frame(5, width=256, height=256)
    with av.open(str(path), "w") as container:
        stream = add_counting_stream(
            container, codec="mpeg4", rate=2, width=256, height=256, options={"qmin": "1", "qmax": "1"}
        )
        stream.codec_context.gop_size = 2
        frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", threads=1)
        for number in range(num_frames):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.slow
def test_a_long_file_is_sampled_in_the_memory_of_a_short_one(tmp_path: Path) -> None:
    short = _write_long(tmp_path / "short.mp4", num_frames=80)
    long = _write_long(tmp_path / "long.mp4", num_frames=8_000)
    assert long.stat().st_size > 48 * _MEBIBYTE
    peaks = [_run(_READ_ONCE, str(path), cache=tmp_path / "cache") for path in (short, long)]
    index = 8_000 * 300  # bytes a packet: ours, FFmpeg's own and what sorting takes for a moment
    kept = 33 * _MEBIBYTE  # packets of a file that might yet turn out to be small
    assert peaks[1] - peaks[0] < index + kept, [round(peak / _MEBIBYTE) for peak in peaks]
