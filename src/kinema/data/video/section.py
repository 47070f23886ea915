"""A part of a long video, read like a video of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kinema.data.annotations.sample import Sample, Section
from kinema.data.video.base import Video
from kinema.data.video.opening import VideoError, open_video
from kinema.spec import Modality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROUNDING = 1e-6
_FAR = 2.0**53  # frames; more than any video has


def frames_of(section: Section, *, num_frames: int, fps: float) -> range:
    """Returns the numbers of the frames that lie in a part of a video; none where the part lies outside of it."""
    rate = fps if section.unit == "seconds" else 1.0
    first, last = (math.ceil(min(moment * rate, _FAR) - _ROUNDING) for moment in (section.start, section.end))
    return range(max(0, first), min(num_frames, last))


def no_frame(section: Section, *, num_frames: int, fps: float) -> str:
    """Says that no frame lies in a part of a video, and what to do."""
    return (
        f"no frame lies between {section.start:g} and {section.end:g} {section.unit}, the video has {num_frames} "
        f"frames ({num_frames / fps:.2f} seconds); mend the annotation"
    )


class VideoSection(Video):
    """Frames of a video from a moment on, up to just before another."""

    def __init__(self, whole: Video, section: Section) -> None:
        """Finds the frames that lie in the section; the video is closed with it.

        Raises:
            VideoError: If none of the video's frames does.
        """
        part = frames_of(section, num_frames=len(whole), fps=whole.fps)
        if not part:
            raise VideoError(f"{whole.path}: {no_frame(section, num_frames=len(whole), fps=whole.fps)}")
        self.path, self.fps = whole.path, whole.fps
        self.codec_name, self.container_name = whole.codec_name, whole.container_name
        self.sequential_reason = whole.sequential_reason
        self._whole, self._first, self._length = whole, part.start, len(part)

    def __len__(self) -> int:
        return self._length

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        return ((n - self._first, frame) for n, frame in self._whole._read([n + self._first for n in numbers]))

    def close(self) -> None:
        """Closes the video."""
        self._whole.close()


def open_sample(sample: Sample, *, modality: Modality = "rgb", index_cache: bool = False) -> Video:
    """Opens the video of a sample, or the part of it that is meant.

    Args:
        sample: What to open.
        modality: Whether its frames or its flow is read.
        index_cache: Whether the index of its file is kept for the next time.

    Returns:
        The video, to be closed after use.

    Raises:
        VideoError: If it cannot be read, or the part lies outside of it.
    """
    video = open_video(sample.path, modality=modality, index_cache=index_cache)
    if sample.section is None:
        return video
    try:
        return VideoSection(video, sample.section)
    except VideoError:
        video.close()
        raise
