"""Writes a video as a file that is quick to read at random: small frames, a keyframe every few of them.

Shapes: H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Final, Literal

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kinema.data.prepare.jobs import StoppedError
from kinema.data.prepare.pictures import TICKS, scaled_size
from kinema.data.video.base import Video
from kinema.data.video.opening import VideoError, open_video
from kinema.wording import check

_ENCODERS: Final = {
    # The macroblock tree is left out: with it, x264 does not write the same bytes every time.
    "h264": ("libx264", {"preset": "fast", "x264-params": "log-level=none:mbtree=0"}),
    "hevc": ("libx265", {"preset": "fast", "x265-params": "log-level=none:pools=none:frame-threads=1:open-gop=0"}),
    "vp9": ("libvpx-vp9", {"deadline": "good", "cpu-used": "4", "b": "0"}),
}
_FPS_DENOMINATOR: Final = 1001


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How videos are encoded anew."""

    short_side: int | None = 256
    """Longest that the short side of a frame may be, in pixels; smaller frames are not enlarged, null keeps all."""
    codec: Literal["h264", "hevc", "vp9", "copy"] = "h264"
    """Codec; `copy`, for shards, packs every file as it is."""
    crf: int = 20
    """Quality of the codec's constant rate factor: less is better and larger."""
    keyframe_distance: int = 12
    """Most frames from one keyframe to the next: less is quicker to read at random, and larger."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        short, distance = self.short_side, self.keyframe_distance
        check(short is None or short >= 16, "short_side", "be at least 16", short, "256 is usual, null keeps the size")
        most = 63 if self.codec == "vp9" else 51
        check(0 <= self.crf <= most, "crf", f"lie in [0, {most}]", self.crf, "18 to 28 are usual")
        check(
            distance >= 1, "keyframe_distance", "be at least 1", distance, "12 is a good choice, 1 is fastest to read"
        )


def encode(video: Video, path: Path, encoding: Encoding, *, times: list[int] | None, stop: Event) -> None:
    """Encodes all frames of a video, upright, and reads the file again to count them.

    Args:
        video: What to encode.
        path: The file to write, an MP4.
        encoding: How.
        times: When each frame is shown, in `TICKS` of a second; none: at the video's rate.
        stop: Ends the work early, with a `StoppedError`.

    Raises:
        VideoError: If the video cannot be read, or the file does not hold what the video does.
        OSError: If the file cannot be written.
    """
    frames = video.each_frame()
    first = next(frames)
    size = scaled_size(*first.shape[:2], short_side=encoding.short_side, even=True)
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as file:
            stream = _add_stream(file, video.fps, encoding, size=size, steady=times is None)
            reformatter = VideoReformatter()
            for number, frame in enumerate(_with_first(first, frames)):
                if stop.is_set():
                    raise StoppedError
                picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                picture = reformatter.reformat(
                    picture,
                    height=size[0],
                    width=size[1],
                    format="yuv420p",
                    interpolation=Interpolation.BICUBIC,
                    threads=1,
                )
                picture.pict_type = PictureType.NONE
                picture.pts = number if times is None else times[number]
                picture.time_base = stream.codec_context.time_base
                file.mux(stream.encode(picture))
            file.mux(stream.encode(None))
    except av.FFmpegError as error:
        raise OSError(
            f"{path}: cannot be written ({error.strerror}), a copy of {video.path}; check the disk"
        ) from error
    _verify(video, path)


def _with_first(first: NDArray[np.uint8], others: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    yield first
    yield from others


def _add_stream(
    file: OutputContainer, fps: float, encoding: Encoding, *, size: tuple[int, int], steady: bool
) -> VideoStream:
    """Adds the stream to a file; one thread, so that the same frames give the same bytes."""
    encoder, options = _ENCODERS[encoding.codec]
    rate = Fraction(fps).limit_denominator(_FPS_DENOMINATOR) or Fraction(1, _FPS_DENOMINATOR)
    stream = file.add_stream(encoder, rate=rate, options={**options, "crf": str(encoding.crf)})
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.height, context.width = size
    context.pix_fmt = "yuv420p"
    context.gop_size = encoding.keyframe_distance
    context.thread_count = 1
    context.time_base = 1 / rate if steady else Fraction(1, TICKS)
    return stream


def _verify(video: Video, path: Path) -> None:
    with open_video(path) as again:
        length, fps = len(again), again.fps
    if length != len(video) or abs(fps - video.fps) > 0.02 * video.fps:
        raise VideoError(
            f"{video.path}: encoded anew it has {length} frames at {fps:g} a second, not {len(video)} at "
            f"{video.fps:g}; take another codec, or leave the file out"
        )
