"""Windows: the stretch of a video that a clip is taken from, where that is not the whole video; pure arithmetic.

Dense sampling is that of TSM (Lin et al. 2019, arXiv 1811.08383): every (64 // T)-th frame of a window of 64.

Shapes: T frames of a view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kinema.spec import DENSE_FRAMES, ClipSpec

# An offset such as 1/49 is rounded when it is stored, so that 49 * (1/49) may fall just below 1. The products that
# must hit an integer are m * length / D with D = 2 * T * num_clips; they are either integers or at least 1/D away from
# one, and the rounding is below 1e-7 for any length under 1e8, so this much more never reaches a wrong frame.
ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of frames that can stand at many places of a video."""

    length: float
    """Frames that must lie inside the video, where it has as many: so far the window can move."""
    span: float
    """Frames that offsets from 0 to 1 run over: T times the distance of neighbours."""
    wraps: bool
    """Whether a video that is shorter begins anew where it ends; else it stands still there."""


def make_window(spec: ClipSpec, *, fps: float) -> Window | None:
    """Returns the window that a spec asks for in a video of a frame rate; none means the whole video.

    A window of a fixed stride is T times the stride long: each frame stands for those up to the next, as in a segment.
    """
    if spec.sampling == "segments":
        return None
    if spec.sampling == "dense":
        step = DENSE_FRAMES // spec.num_frames
        return Window(length=DENSE_FRAMES, span=spec.num_frames * step, wraps=True)
    distance = spec.stride if spec.stride_seconds is None else spec.stride_seconds * fps
    assert distance is not None
    return Window(length=spec.num_frames * distance, span=spec.num_frames * distance, wraps=False)


def window_indices(offsets: Sequence[float], length: int, *, place: float, window: Window) -> list[int]:
    """Frames that lie at the offsets inside a window.

    A video shorter than the window begins anew at its end where the window wraps (TSM's dense sampling), else it stands
    still there (our reading, as for stacks: a jump back to the start would be a motion that nobody made).

    Args:
        offsets: Moments in [0, 1), as parts of the window.
        length: Number of frames of the video.
        place: Where the window stands, from 0 (at the video's start) to 1 (at its end).
        window: The window.

    Returns:
        floor(place * (length - window.length) + offset * window.span) for each offset.

    Raises:
        ValueError: If the video has no frame.
    """
    check_length(length)
    start = math.floor(place * max(length - window.length, 0.0) + ROUNDING)
    numbers = [start + math.floor(offset * window.span + ROUNDING) for offset in offsets]
    return [number % length if window.wraps else min(number, length - 1) for number in numbers]


def check_length(length: int) -> None:
    """Refuses a video without frames.

    Raises:
        ValueError: If it has none.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}; a video without frames has no view")
