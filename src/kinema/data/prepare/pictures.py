"""Sizes and times of the frames that are written.

Shapes: H height, W width.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from kinema.data.video.stream import open_stream

TICKS: Final = 90_000
"""Ticks of a second in files whose frames do not follow each other steadily."""


def scaled_size(height: int, width: int, *, short_side: int | None, even: bool = False) -> tuple[int, int]:
    """Returns height and width of a frame whose short side is at most so many pixels.

    Args:
        height: H of the frame.
        width: W of the frame.
        short_side: Longest that the short side may be; none: as it is. Nothing is enlarged.
        even: Whether both must be even, as 4:2:0 has it.
    """
    factor = min(1.0, short_side / min(height, width)) if short_side else 1.0
    step = 2 if even else 1
    sizes = [max(step, step * math.floor(side * factor / step + 0.5)) for side in (height, width)]
    return sizes[0], sizes[1]


def scale(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scales an RGB frame [H, W, 3]; a frame of that size is returned as it is."""
    if frame.shape[:2] == (height, width):
        return frame
    picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    scaled = VideoReformatter().reformat(
        picture, width=width, height=height, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1
    )
    return np.asarray(scaled.to_ndarray(), np.uint8)


def resampled(length: int, fps: float, new_fps: float | None) -> list[int]:
    """Returns which frames a video of another rate shows: at each of its moments, the one that is nearest.

    Args:
        length: Frames of the video.
        fps: Their rate.
        new_fps: The rate wanted; none: the same.
    """
    if new_fps is None:
        return list(range(length))
    count = max(1, math.floor(length / fps * new_fps + 0.5))
    return [min(math.floor(number * fps / new_fps + 0.5), length - 1) for number in range(count)]


def uneven_times(path: Path, *, length: int, fps: float) -> list[int] | None:
    """Returns when each frame of a video file is shown, if not in even steps.

    Args:
        path: The file.
        length: Its number of frames.
        fps: Their average rate.

    Returns:
        Times in `TICKS` of a second from the first frame on; none where they follow the rate, or nothing tells them.
    """
    if path.is_dir():
        return None
    container, stream = open_stream(path)
    try:
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        unit = stream.time_base
    except av.FFmpegError:
        return None
    finally:
        container.close()
    pts = sorted(packet.pts for packet in packets if packet.pts is not None)
    if unit is None or len(pts) != length or len(set(pts)) < length:
        return None
    times = [(one - pts[0]) * unit for one in pts]
    grid = max(unit, Fraction(1, 500))  # a container may round to its own unit, Matroska to milliseconds
    if all(abs(float(time) - number / fps) <= grid for number, time in enumerate(times)):
        return None
    ticks = [round(time * TICKS) for time in times]
    return ticks if all(later > earlier for earlier, later in pairwise(ticks)) else None
