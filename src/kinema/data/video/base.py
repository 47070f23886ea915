"""What every video offers, whatever it is stored in, and the one error a video that cannot be read raises.

Shapes: T frames asked for, H, W height and width of the upright frame.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

# The rate of a video that states none and shows none: a folder of frames, a file of one frame.
ASSUMED_FPS = 25.0


# A frame may have so many pixels (8192 x 8192) and no side longer than this; a header that says more is not believed.
MAX_PIXELS = 2**26
MAX_SIDE = 2**14


class VideoError(Exception):
    """A video cannot be read: one sentence that names the file, what failed and where, and what to do.

    Built from that one string, so that a data loader's worker can hand it to the main process. What cannot be printed
    on one line (a newline in a name, bytes that are no UTF-8) is written as an escape.
    """

    def __init__(self, sentence: str) -> None:
        printable = sentence.encode("utf-8", "backslashreplace").decode()
        escaped = (letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in printable)
        super().__init__("".join(escaped))


def check_size(path: Path, *, width: int, height: int) -> None:
    """Refuse pictures that are larger than any camera's.

    Args:
        path: The file that is named in the sentence.
        width: W.
        height: H.

    Raises:
        VideoError: No size, or one above the bounds.
    """
    if min(width, height) < 1:
        raise VideoError(f"{path}: its pictures have no size, or more than {MAX_PIXELS} pixels; replace the file")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise VideoError(
            f"{path}: its pictures must be at most {MAX_SIDE} pixels a side and {MAX_PIXELS} in all, "
            f"got {width}x{height}; scale the video down, or replace the file if it is damaged"
        )


class Video(ABC):
    """Frames by number: frame i is the i-th frame that decoding from the start to the end gives.

    Attributes:
        path: The file or folder.
        fps: Frames per second, always positive; the average where the rate varies.
        codec_name: FFmpeg's name of the codec; of a folder, the extension of its images.
        container_name: FFmpeg's name of the container; `folder` of a folder.
        sequential_reason: Why every read decodes from the start; None where it need not.
    """

    path: Path
    fps: float
    codec_name: str
    container_name: str
    sequential_reason: str | None

    @abstractmethod
    def __len__(self) -> int:
        """Count the frames."""

    @abstractmethod
    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield (number, RGB frame [H, W, 3]) for each of the numbers (ascending, distinct), in any order."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upright frames, (H, W)."""
        height, width = self.frames([0]).shape[1:3]
        return height, width

    @property
    def duration_seconds(self) -> float:
        """The number of frames over their average rate."""
        return len(self) / self.fps

    def frames(self, indices: Iterable[SupportsIndex]) -> NDArray[np.uint8]:
        """Read frames by number, in any order, repeated or not; each distinct frame is decoded once.

        Args:
            indices: Frame numbers from 0 to len - 1.

        Returns:
            Upright RGB frames in the order asked for, [T, H, W, 3].

        Raises:
            ValueError: No index, or one outside the video.
            VideoError: A frame that was asked for cannot be decoded.
        """
        rows: dict[int, list[int]] = {}
        for row, index in enumerate(indices):
            rows.setdefault(self._checked(index), []).append(row)
        if not rows:
            raise ValueError("indices must hold at least one frame number, got none; ask for one frame or more")
        clip: NDArray[np.uint8] | None = None
        for number, frame in self._read(sorted(rows)):
            if clip is None:
                clip = np.empty((sum(map(len, rows.values())), *frame.shape), np.uint8)
            clip[rows[number]] = frame
        assert clip is not None
        return clip

    def each_frame(self) -> Iterator[NDArray[np.uint8]]:
        """Read all frames in their order, one at a time, so that a long video needs no more memory than a short one.

        Yields:
            The upright RGB frames, [H, W, 3].

        Raises:
            VideoError: A frame cannot be decoded.
        """
        waiting: dict[int, NDArray[np.uint8]] = {}
        place = 0
        for number, frame in self._read(range(len(self))):
            if number >= place:  # where decoding had to begin anew, the first frames come again
                waiting[number] = frame
            while place in waiting:
                yield waiting.pop(place)
                place += 1
        if place != len(self):
            raise VideoError(f"{self.path}: frame {place} of {len(self)} cannot be decoded; replace the file")

    def _checked(self, index: SupportsIndex) -> int:
        number = operator.index(index)
        if not 0 <= number < len(self):
            raise ValueError(
                f"indices must lie between 0 and {len(self) - 1}, got {number}; {self.path} has {len(self)} frames"
            )
        return number

    def close(self) -> None:  # noqa: B027 (a folder of frames holds nothing open)
        """Let go of the file; a closed video cannot be read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {len(self)} frames, {self.fps:g} fps)"
