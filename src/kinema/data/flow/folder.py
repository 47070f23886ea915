"""A folder of optical flow as a video: one field a frame, x and y in 8 bits, in the layouts of the field.

Layouts: `flow_x_00001.jpg` with `flow_y_00001.jpg` (TSN, TSM, mmaction2), `x_00001.jpg` with `y_00001.jpg`,
`<id>-x_00001.jpg` with `<id>-y_00001.jpg` (Something-Something V1), each with u and v in place of x and y too; and
`000001.jpg`, one picture whose red is x, whose green is y and whose blue is blank (Something-Something V2). Other
pictures may lie beside the first three.

Shapes: H, W height and width of a field.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from kinema.data.video.base import ASSUMED_FPS, Video, VideoError
from kinema.data.video.frame_folder import frame_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

DESCRIPTION: Final = "flow.json"
"""What `kinema data flow` writes beside the fields: the frame rate, and how they were computed."""
_COMPONENT: Final = re.compile(
    r"(?P<before>(?:.*(?:[^a-z]|flow))?)(?P<letter>[xyuv])[_-]?(?P<number>\d+)\.(?:jpg|jpeg|png|bmp|webp)",
    re.IGNORECASE,
)
_PARTNERS: Final = {"x": "y", "u": "v"}
_MAX_BLANK_SPREAD: Final = 16.0
"""Largest standard deviation of a blank channel: JPEG's coarse colours spread those of flow by less."""

_Components = dict[tuple[str, str], list[tuple[int, "Path"]]]  # by what stands before the letter, and the letter


def is_flow_folder(path: Path) -> bool:
    """Say whether a folder holds flow in files of its own for x and y."""
    return path.is_dir() and bool(_pairs(_components(path.iterdir())))


class FlowFolder(Video):
    """A folder of flow; frame i is the field from frame i to i + 1 of its video, as codes of x and y, [H, W, 2]."""

    def __init__(self, path: Path) -> None:
        """List the fields and look at the first one's size.

        Raises:
            VideoError: No flow, a missing field, x without y, or an unreadable first field.
        """
        self.path = path
        self.fps = _stored_fps(path)
        self.container_name = "folder"
        self.sequential_reason = None
        self._files = _flow_files(path)
        self.codec_name = self._files[0][0].suffix.lower().removeprefix(".")
        self._shape = self._load(0).shape

    def __len__(self) -> int:
        return len(self._files)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the first field, in pixels."""
        height, width, _ = self._shape
        return height, width

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for number in numbers:
            field = self._load(number)
            if field.shape != self._shape:
                raise VideoError(
                    f"{self.path}: field {number} ({self._files[number][0].name}) is "
                    f"{field.shape[1]}x{field.shape[0]} where the first is {self._shape[1]}x{self._shape[0]}; extract "
                    "the flow again"
                )
            yield number, field

    def _load(self, number: int) -> NDArray[np.uint8]:
        files = self._files[number]
        if len(files) == 1:
            picture = self._picture(files[0], "RGB")
            if picture[..., 2].std() > _MAX_BLANK_SPREAD:
                raise VideoError(
                    f"{self.path}: {files[0].name} is no optical flow, for its blue is not blank; extract the flow "
                    "with kinema data flow"
                )
            return picture[..., :2]
        x, y = (self._picture(file, "L") for file in files)
        if x.shape != y.shape:
            raise VideoError(
                f"{self.path}: {files[0].name} is {x.shape[1]}x{x.shape[0]} and {files[1].name} is "
                f"{y.shape[1]}x{y.shape[0]}; extract the flow again"
            )
        return np.stack([x, y], axis=-1)

    def _picture(self, file: Path, mode: str) -> NDArray[np.uint8]:
        try:
            with Image.open(file) as image:
                if image.mode.startswith(("I", "F")):
                    raise VideoError(f"{self.path}: {file.name} has more than 8 bits a value; store 8-bit flow")
                return np.asarray(image.convert(mode))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(f"{self.path}: {file.name} cannot be read ({error}); extract the flow again") from error


def _stored_fps(folder: Path) -> float:
    file = folder / DESCRIPTION
    if not file.is_file():
        return ASSUMED_FPS
    try:
        fps = float(json.loads(file.read_text(encoding="utf-8"))["fps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VideoError(f"{file}: cannot be read ({error!r}); extract the flow again") from error
    if not 0.0 < fps < float("inf"):
        raise VideoError(f"{file}: fps must be positive, got {fps}; extract the flow again")
    return fps


def _components(files: Iterable[Path]) -> _Components:
    """Sort pictures of components by what stands before the letter; folders may hold anything else too."""
    found: _Components = {}
    for file in files:
        match = _COMPONENT.fullmatch(file.name)
        if match is not None and not file.name.startswith("."):
            key = (match["before"].lower(), match["letter"].lower())
            found.setdefault(key, []).append((int(match["number"]), file))
    return found


def _pairs(found: _Components) -> list[tuple[str, str]]:
    """List (what stands before the letter, the letter of x) where there is a component of either kind."""
    pairs = {(before, x) for before, letter in found for x, y in _PARTNERS.items() if letter in (x, y)}
    whole = [pair for pair in pairs if pair in found and (pair[0], _PARTNERS[pair[1]]) in found]
    named = [pair for pair in pairs if "flow" in pair[0]]
    return sorted(whole or named)


def _flow_files(folder: Path) -> list[tuple[Path, ...]]:
    try:
        found = _components(sorted(folder.iterdir()))
    except OSError as error:
        raise VideoError(f"{folder}: the folder cannot be listed ({error.strerror}); check its permissions") from error
    pairs = _pairs(found)
    if not pairs:
        return [(file,) for file in _single_files(folder)]
    if len(pairs) > 1:
        names = " and ".join(f"{before}{letter}" for before, letter in pairs[:2])
        raise VideoError(f"{folder}: several series of flow (such as {names}); keep one in the folder")
    before, letter = pairs[0]
    x, y = (_by_number(found.get((before, one), [])) for one in (letter, _PARTNERS[letter]))
    for number in sorted(x.keys() ^ y.keys()):
        there, missing = (letter, _PARTNERS[letter]) if number in x else (_PARTNERS[letter], letter)
        raise VideoError(
            f"{folder}: field {number} has {there} but no {missing} ({len(x)} of {letter}, {len(y)} of "
            f"{_PARTNERS[letter]}); extract the flow again"
        )
    numbers = sorted(x)
    for number, following in pairwise(numbers):
        if following != number + 1:
            raise VideoError(f"{folder}: field {number + 1} is missing behind {x[number].name}; extract the flow again")
    return [(x[number], y[number]) for number in numbers]


def _by_number(numbered: Iterable[tuple[int, Path]]) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for number, file in numbered:
        if number in files:
            raise VideoError(
                f"{file.parent}: {files[number].name} and {file.name} are both field {number}; keep one of them"
            )
        files[number] = file
    return files


def _single_files(folder: Path) -> list[Path]:
    try:
        return frame_files(folder)
    except VideoError as error:
        raise VideoError(
            f"{folder}: no optical flow (flow_x_00001.jpg with flow_y_00001.jpg, or the like) in the folder; extract "
            "it with kinema data flow"
        ) from error
