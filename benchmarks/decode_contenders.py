"""The readers that `decode.py` measures, each with one thread and opened anew each time; absent ones say why."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinema.data.video.opening import open_video
from kinema.data.views import frame_indices, segment_offsets

NUM_SAMPLED = 8
Clip = NDArray[np.uint8]


@dataclass(frozen=True)
class Read:
    """A way to read the frames at the middles of the segments, RGB [T, H, W, 3]."""

    read: Callable[[Path], Clip]
    """The function."""
    version: str
    """Of the package."""

    def __call__(self, path: Path) -> Clip:
        """Reads the frames of a file."""
        return self.read(path)


def indices(length: int) -> list[int]:
    """Returns the middle frame of each segment."""
    return frame_indices(segment_offsets(NUM_SAMPLED), length)


def contenders(trial: Path) -> tuple[dict[str, Read], dict[str, str]]:
    """Returns the readers by name, and the reason of those that cannot be used.

    Args:
        trial: A file that each of them is to read.

    Returns:
        The readers, and the reasons.
    """
    version = importlib.metadata.version("kinema")
    readers = {"kinema": Read(_kinema, version), "kinema, cached index": Read(_kinema_cached, version)}
    absent = {}
    for name, (module, package, make) in _OTHERS.items():
        try:
            reader = Read(make(importlib.import_module(module)), importlib.metadata.version(package))
            reader(trial)
            readers[name] = reader
        except (ImportError, RuntimeError, OSError) as error:  # torchcodec finds out late that FFmpeg is missing
            absent[name] = str(error).strip().splitlines()[0]
    return readers, absent


def _kinema(path: Path) -> Clip:
    with open_video(path) as video:
        return video.frames(indices(len(video)))


def _kinema_cached(path: Path) -> Clip:
    with open_video(path, index_cache=True) as video:
        return video.frames(indices(len(video)))


def _decord(decord: Any) -> Callable[[Path], Clip]:  # noqa: ANN401
    def read(path: Path) -> Clip:
        reader = decord.VideoReader(str(path), num_threads=1)
        return np.asarray(reader.get_batch(indices(len(reader))).asnumpy(), np.uint8)

    return read


def _opencv(cv2: Any, *, seek: bool) -> Callable[[Path], Clip]:  # noqa: ANN401
    cv2.setNumThreads(1)

    def read(path: Path) -> Clip:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        frames = []
        place = 0
        for index in indices(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
            if seek:
                capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            else:
                for _ in range(place, index):
                    capture.grab()
            place = index + 1
            _, frame = capture.read()
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        capture.release()
        return np.stack(frames)

    return read


def _torchcodec(decoders: Any) -> Callable[[Path], Clip]:  # noqa: ANN401
    def read(path: Path) -> Clip:
        decoder = decoders.VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC")
        return np.asarray(decoder.get_frames_at(indices(len(decoder))).data.numpy(), np.uint8)

    return read


_OTHERS: dict[str, tuple[str, str, Callable[[Any], Callable[[Path], Clip]]]] = {
    "decord": ("decord", "decord", _decord),
    "OpenCV, seeking": ("cv2", "opencv-contrib-python-headless", lambda cv2: _opencv(cv2, seek=True)),
    "OpenCV, in sequence": ("cv2", "opencv-contrib-python-headless", lambda cv2: _opencv(cv2, seek=False)),
    "torchcodec": ("torchcodec.decoders", "torchcodec", _torchcodec),
}
