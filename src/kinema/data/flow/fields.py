"""Optical flow between the frames of a video, by OpenCV.

TV-L1: Zach, Pock and Bischof 2007, "A duality based approach for realtime TV-L1 optical flow"; Farneback 2003,
"Two-frame motion estimation based on polynomial expansion". Both with OpenCV's own settings, Farneback with those of
its documentation.

Shapes: H, W height and width of a scaled frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kinema.data.video.base import Video, VideoError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Algorithm = Literal["tvl1", "farneback"]
Compute = Callable[["NDArray[np.uint8]", "NDArray[np.uint8]"], "NDArray[np.float32]"]

_CHUNK = 16
"""Frames that are decoded at once, which bounds the memory."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps OpenCV to one thread a call, where calls run side by side.

    Raises:
        ValueError: If OpenCV with its contributed modules is not installed.
    """
    cv2 = _opencv()
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def fields_of(video: Video, *, algorithm: Algorithm, short_side: int | None) -> Iterator[NDArray[np.float32]]:
    """Computes the flow of a video, field by field.

    Args:
        video: An open video of frames.
        algorithm: How.
        short_side: Longest that the short side of a frame may be, in pixels; smaller frames are not enlarged, none
            keeps all.

    Yields:
        How far each pixel moves to the right and down from frame i to frame i + 1, in pixels of the scaled frame, for
        all frames but the last [H, W, 2].

    Raises:
        VideoError: If the video cannot be read, or has fewer than two frames.
    """
    if len(video) < 2:
        raise VideoError(f"{video.path}: flow needs two frames, the video has {len(video)}; leave it out")
    compute = _algorithm(algorithm)
    before: NDArray[np.uint8] | None = None
    for first in range(0, len(video), _CHUNK):
        for frame in video.frames(range(first, min(first + _CHUNK, len(video)))):
            after = _gray(frame, short_side=short_side)
            if before is not None:
                yield compute(before, after)
            before = after


def _opencv() -> Any:  # noqa: ANN401 (the module, whose contributed parts have no types of use)
    try:
        import cv2
    except ImportError as error:
        raise _not_installed() from error
    if not hasattr(cv2, "optflow"):
        raise _not_installed()
    return cv2


def _not_installed() -> ValueError:
    return ValueError(
        "kinema data flow must have OpenCV with its contributed modules, got none; install them with "
        "pip install 'kinema[flow]'"
    )


def _algorithm(name: Algorithm) -> Compute:
    cv2 = _opencv()
    if name == "tvl1":
        tvl1 = cv2.optflow.DualTVL1OpticalFlow_create()
        return lambda before, after: tvl1.calc(before, after, None)

    def farneback(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        field: NDArray[np.float32] = cv2.calcOpticalFlowFarneback(
            before,
            after,
            None,
            pyr_scale=0.5,
            levels=3,
            winsize=15,
            iterations=3,
            poly_n=5,
            poly_sigma=1.2,
            flags=0,
        )
        return field

    return farneback


def _gray(frame: NDArray[np.uint8], *, short_side: int | None) -> NDArray[np.uint8]:
    """Scales a frame and takes its luminance: [H, W, 3] -> [H', W']."""
    cv2 = _opencv()
    height, width = frame.shape[:2]
    if short_side is not None and min(height, width) > short_side:
        scale = short_side / min(height, width)
        frame = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    gray: NDArray[np.uint8] = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return gray
