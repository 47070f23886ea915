"""The files that `decode.py` measures on: 300 frames of 320x240 at 30 a second, in several codecs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

NUM_FRAMES, WIDTH, HEIGHT, RATE = 300, 320, 240, 30


@dataclass(frozen=True)
class Coding:
    """A way to encode."""

    encoder: str
    """FFmpeg's name."""
    extension: str
    """Of the file."""
    b_frames: int | None = None
    """At most so many between two others; the encoder's default if None."""
    options: str = ""
    """Of the encoder, `name=value` joined by blanks; `{distance}` is the distance of keyframes."""


_X264 = "preset=medium x264-params=keyint={distance}:min-keyint={distance}:scenecut=0"
_X265 = "preset=medium x265-params=keyint={distance}:min-keyint={distance}:scenecut=0:log-level=none"
CODECS = {
    "H.264": Coding("libx264", "mp4", options=_X264),
    "HEVC": Coding("libx265", "mp4", options=_X265),
    "MPEG-4, B-frames": Coding("mpeg4", "mp4", 2, "b=1000000"),
    "VP9": Coding("libvpx-vp9", "webm", options="deadline=good cpu-used=4 crf=32 b=0"),
    "H.264, no B-frames": Coding("libx264", "mp4", 0, f"{_X264}:bframes=0"),
    "HEVC, no B-frames": Coding("libx265", "mp4", 0, f"{_X265}:bframes=0"),
    "MPEG-4, no B-frames": Coding("mpeg4", "mp4", 0, "b=1000000"),
}


def read_source(path: Path) -> list[VideoFrame]:
    """Decodes and scales a file; one that is too short is played forwards and backwards until it is long enough."""
    with av.open(str(path)) as container:
        frames = [
            frame.reformat(width=WIDTH, height=HEIGHT, format="yuv420p")
            for frame in itertools.islice(container.decode(video=0), NUM_FRAMES)
        ]
    swing = itertools.cycle(frames + frames[-2:0:-1])
    return list(itertools.islice(swing, NUM_FRAMES))


def encode(frames: list[VideoFrame], path: Path, coding: Coding, *, distance: int) -> None:
    """Writes a file with a keyframe each so many frames."""
    options = dict(pair.split("=", 1) for pair in coding.options.format(distance=distance).split())
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream(coding.encoder, rate=RATE, options=options))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = distance
        if coding.b_frames is not None:
            stream.codec_context.max_b_frames = coding.b_frames
        for number, source in enumerate(frames):
            frame = VideoFrame.from_ndarray(source.to_ndarray(), format="yuv420p")
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, RATE), PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
