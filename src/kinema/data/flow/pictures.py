"""Writes fields of flow as pictures, in the layouts of the field.

Shapes: H, W height and width of a field.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

Layout = Literal["tsn", "xy", "ssv1", "ssv2"]

_PATTERNS: dict[Layout, str] = {
    "tsn": "flow_{letter}_{number:05d}.jpg",
    "xy": "{letter}_{number:05d}.jpg",
    "ssv1": "{name}-{letter}_{number:05d}.jpg",
}
_SINGLE_PATTERN = "{number:06d}.jpg"
_QUALITY = 95


def write_field(folder: Path, codes: NDArray[np.uint8], *, number: int, layout: Layout, name: str) -> None:
    """Writes one field.

    Args:
        folder: Where.
        codes: Codes of x and y [H, W, 2].
        number: Its number, from 1.
        layout: How it is stored.
        name: Name of the video, which stands in the files' names in some layouts.
    """
    if layout == "ssv2":
        blank = np.zeros_like(codes[..., :1])
        _write(folder / _SINGLE_PATTERN.format(number=number), np.concatenate([codes, blank], axis=-1))
        return
    for channel, letter in enumerate("xy"):
        _write(folder / _PATTERNS[layout].format(letter=letter, number=number, name=name), codes[..., channel])


def _write(file: Path, picture: NDArray[np.uint8]) -> None:
    """Writes a JPEG whose colours are as fine as its brightness."""
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "JPEG", quality=_QUALITY, subsampling=0)
