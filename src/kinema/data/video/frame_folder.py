"""A folder of numbered frames as a video: 00001.jpg, img_00001.jpg, image_00001.jpg, frame000001.png and their kind.

The frames are the images `<prefix><number>.<extension>` of one prefix, sorted by number, which may start anywhere
and be padded or not. Numbers must be consecutive: a hole would shift time, so it is an error that names the missing
file. Images of optical flow (`flow_x_00001.jpg`; `x_00001.jpg` with `y_00001.jpg`) lie in the same folder in many
datasets: they are left aside. A file `frames.info` with `fps` and `num_frames` says the rate and the end.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageOps

from kinema.data.video.base import ASSUMED_FPS, Video, VideoError, check_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# A file in the folder that says the rate, as `kinema data extract` leaves it.
RATE_FILE: Final = "frames.info"
_FRAME_NAME: Final = re.compile(
    r"(?P<prefix>.*?)(?P<number>\d+)\)?\.(?P<extension>jpg|jpeg|png|bmp|webp|tif|tiff)", re.IGNORECASE
)
_FLOW_PREFIX: Final = re.compile(r"(.*[^a-z])?(opt|optical)?flow[_-]?[xyuv]?([^a-z].*)?", re.IGNORECASE)
_FLOW_PARTNERS: Final = {"x": "y", "y": "x", "u": "v", "v": "u"}

# What the extensions stand for; of Pillow's other formats some run programs.
_FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
_BOMBS: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_Series = dict[tuple[str, str], list[tuple[int, "Path"]]]  # by prefix and extension, in lower case: (number, file)

# Where several prefixes stand in one folder, these are the frames, the first found.
_USUAL_PREFIXES: Final = ("", "img_", "image_", "frame_", "frame", "img", "image")


def is_frame_folder(path: Path) -> bool:
    """Say whether a folder looks like a video: it holds numbered frames.

    One picture beside folders is none: a class folder may have a cover.
    """
    if not path.is_dir():
        return False
    entries = list(path.iterdir())
    num_frames = sum(map(len, _series(entries).values()))
    return num_frames > 1 or (num_frames == 1 and not any(entry.is_dir() for entry in entries))


class FrameFolder(Video):
    """A folder of numbered frames; the rate is assumed, unless a file in the folder says it (`RATE_FILE`)."""

    def __init__(self, path: Path) -> None:
        """List the frames and look at the first one's size.

        Raises:
            VideoError: No frames, a missing frame, several series of frames, an unreadable first frame, or other
                frames than the file with the rate counts.
        """
        self.path = path
        self.container_name = "folder"
        self.sequential_reason = None
        self._files = frame_files(path)
        self.codec_name = self._files[0].suffix.lower().removeprefix(".")
        self.fps = _rate(path, num_frames=len(self._files))
        self._shape = self._load(0).shape

    def __len__(self) -> int:
        return len(self._files)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the first frame; all others have the same."""
        return self._shape[0], self._shape[1]

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for number in numbers:
            frame = self._load(number)
            if frame.shape != self._shape:
                raise VideoError(
                    f"{self.path}: frame {number} ({self._files[number].name}) is {frame.shape[1]}x{frame.shape[0]} "
                    f"where the first is {self._shape[1]}x{self._shape[0]}; give all frames one size"
                )
            yield number, frame

    def _load(self, number: int) -> NDArray[np.uint8]:
        file = self._files[number]
        try:
            with Image.open(file, formats=_FORMATS) as image:
                check_size(file, width=image.width, height=image.height)
                if image.mode.startswith(("I", "F")):
                    raise VideoError(f"{self.path}: {file.name} has more than 8 bits a value; store 8-bit RGB images")
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, SyntaxError, ValueError, *_BOMBS) as error:
            raise VideoError(
                f"{self.path}: frame {number} ({file.name}) cannot be read ({error}); extract the frames again"
            ) from error


def rate_text(*, fps: float, num_frames: int) -> str:
    """Return what the file with the rate of a folder holds."""
    return json.dumps({"fps": fps, "num_frames": num_frames}) + "\n"


def _rate(folder: Path, *, num_frames: int) -> float:
    try:
        said = json.loads((folder / RATE_FILE).read_text(encoding="utf-8"))
        fps, counted = float(said["fps"]), int(said["num_frames"])
    except FileNotFoundError:
        return ASSUMED_FPS
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise VideoError(f"{folder}: {RATE_FILE} does not say fps and num_frames ({error}); remove it") from error
    if counted != num_frames or not 0 < fps <= 1000:
        raise VideoError(
            f"{folder}: {RATE_FILE} tells of {counted} frames at {fps:g} a second, and {num_frames} lie there; extract "
            "the frames again"
        )
    return fps


def _series(files: Iterable[Path]) -> _Series:
    """Sort numbered images by what stands around the number; those of optical flow are left out."""
    series: _Series = {}
    for file in files:
        match = _FRAME_NAME.fullmatch(file.name)
        if match is not None and not file.name.startswith(".") and not _FLOW_PREFIX.fullmatch(match["prefix"]):
            key = (match["prefix"].lower(), match["extension"].lower())
            series.setdefault(key, []).append((int(match["number"]), file))
    letters = {prefix.rstrip("_-") for prefix, _ in series}
    components = [key for key in series if _FLOW_PARTNERS.get(key[0].rstrip("_-")) in letters]
    return {key: numbered for key, numbered in series.items() if key not in components}


def frame_files(folder: Path) -> list[Path]:
    """List the frames of a folder in their order.

    Raises:
        VideoError: No frames, a missing frame, or several series of frames.
    """
    try:
        series = _series(sorted(folder.iterdir()))
    except OSError as error:
        raise VideoError(f"{folder}: the folder cannot be listed ({error.strerror}); check its permissions") from error
    if not series:
        raise VideoError(
            f"{folder}: no numbered frames (00001.jpg, img_00001.jpg or the like) in the folder; "
            "check the path, or extract the frames"
        )
    chosen: dict[int, Path] = {}
    for number, file in _chosen_series(folder, series):
        if number in chosen:
            raise VideoError(f"{folder}: {chosen[number].name} and {file.name} are both frame {number}; keep one")
        chosen[number] = file
    numbers = sorted(chosen)
    for number, following in pairwise(numbers):
        if following != number + 1:
            raise VideoError(
                f"{folder}: frame {number + 1} is missing between {chosen[number].name} and {chosen[following].name}; "
                "extract the frames again"
            )
    return [chosen[number] for number in numbers]


def _chosen_series(folder: Path, series: _Series) -> list[tuple[int, Path]]:
    if len(series) == 1:
        return next(iter(series.values()))
    for usual in _USUAL_PREFIXES:
        found = [key for key in series if key[0] == usual]
        if len(found) == 1:
            return series[found[0]]
    names = " and ".join(numbered[0][1].name for numbered in list(series.values())[:2])
    raise VideoError(f"{folder}: several series of frames (such as {names}); keep one in the folder")
