"""A part of a long video, read like a video of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kinema.data.annotations.sample import Sample, Section
from kinema.data.video import VideoError, open_video
from kinema.data.video_base import Video
from kinema.spec import Modality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROUNDING = 1e-6


class VideoSection(Video):
    """Frames of a video from a moment on, up to just before another."""

    def __init__(self, whole: Video, section: Section) -> None:
        """Finds the frames that lie in the section; the video is closed with it.

        Raises:
            VideoError: If none of the video's frames does.
        """
        rate = whole.fps if section.unit == "seconds" else 1.0
        first = max(0, math.ceil(section.start * rate - _ROUNDING))
        last = min(len(whole), math.ceil(section.end * rate - _ROUNDING))
        if first >= last:
            raise VideoError(
                f"{whole.path}: no frame lies between {section.start:g} and {section.end:g} {section.unit}, the video "
                f"has {len(whole)} frames ({whole.duration_seconds:.2f} seconds); mend the annotation"
            )
        self.path, self.fps = whole.path, whole.fps
        self.codec_name, self.container_name = whole.codec_name, whole.container_name
        self.sequential_reason = whole.sequential_reason
        self._whole, self._first, self._length = whole, first, last - first

    def __len__(self) -> int:
        return self._length

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        return ((n - self._first, frame) for n, frame in self._whole._read([n + self._first for n in numbers]))

    def close(self) -> None:
        """Closes the video."""
        self._whole.close()


def open_sample(sample: Sample, *, modality: Modality = "rgb") -> Video:
    """Opens the video of a sample, or the part of it that is meant.

    Args:
        sample: What to open.
        modality: Whether its frames or its flow is read.

    Returns:
        The video, to be closed after use.

    Raises:
        VideoError: If it cannot be read, or the part lies outside of it.
    """
    video = open_video(sample.path, modality=modality)
    if sample.section is None:
        return video
    try:
        return VideoSection(video, sample.section)
    except VideoError:
        video.close()
        raise
