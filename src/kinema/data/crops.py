"""Crops: boxes relative to a frame whose size is not yet known, drawn for training or fixed for evaluation.

The multi-scale corner crops and the ten crops are those of TSN (Wang et al. 2016, arXiv 1608.00859); the random resized
crop is that of torchvision (Szegedy et al. 2014, arXiv 1409.4842).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from kinema.wording import check

if TYPE_CHECKING:
    import numpy as np

CropKind = Literal["box", "multiscale", "resized"]

RESIZED_TRIES = 10
"""Boxes that a random resized crop draws at most until one fits, as torchvision."""

_CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
_CENTER = (0.5, 0.5)
_SIDES = ((0.0, 0.5), (1.0, 0.5), (0.5, 1.0), (0.5, 0.0))
_QUARTERS = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))
FIXED_PLACES = (*_CORNERS, _CENTER, *_SIDES, *_QUARTERS)
"""Across and down: TSN's 13 places of a training crop."""


@dataclass(frozen=True)
class Crop:
    """A box relative to the frame; it always lies inside the frame, whatever the frame's shape.

    Raises:
        ValueError: If a number is out of its range.
    """

    center_x: float
    """Place across the range in which the box can move: 0 touches the left edge, 1 the right one."""
    center_y: float
    """Place down the range in which the box can move: 0 touches the top edge, 1 the bottom one."""
    scale: float
    """Square root of the box's area over the short side of the frame."""
    aspect: float
    """Width of the box over its height."""
    of_area: bool = False
    """Whether `scale` is over the square root of the frame's area instead of its short side."""
    others: tuple[Crop, ...] = ()
    """Boxes of which the first that fits into the frame takes this one's place where it does not."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("center_x", "center_y"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}; 0.5 is the middle")
        for name in ("scale", "aspect"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}; 1 is a square of the short side")


def crop_box(crop: Crop, *, height: int, width: int) -> tuple[int, int, int, int]:
    """Pixels of a crop in a frame of a given size; a box that is larger than the frame is cut to it.

    Args:
        crop: The box relative to a frame.
        height: H in pixels.
        width: W in pixels.

    Returns:
        Top, left, height and width of the box in pixels; at least one pixel, and inside the frame.
    """
    fitting = (box for box in (crop, *crop.others) if _fits(box, height=height, width=width))
    crop = next(fitting, crop)
    wanted_height, wanted_width = _size(crop, height=height, width=width)
    box_height = min(max(wanted_height, 1), height)
    box_width = min(max(wanted_width, 1), width)
    top = round(crop.center_y * (height - box_height))
    left = round(crop.center_x * (width - box_width))
    return top, left, box_height, box_width


def _size(crop: Crop, *, height: int, width: int) -> tuple[int, int]:
    """Height and width of a box in pixels, which may be larger than the frame."""
    side = crop.scale * (math.sqrt(height * width) if crop.of_area else min(height, width))
    return round(side / math.sqrt(crop.aspect)), round(side * math.sqrt(crop.aspect))


def _fits(crop: Crop, *, height: int, width: int) -> bool:
    box_height, box_width = _size(crop, height=height, width=width)
    return box_height <= height and box_width <= width


def fixed_crops(num_crops: int, *, scale: float) -> list[Crop]:
    """Crops of evaluation.

    Args:
        num_crops: 1 is the centre; 3 are squares of the whole short side at both ends and in the middle of the long
            one; 5 are the four corners and the centre.
        scale: Side of the square over the short side of the frame, where there is one crop or five.

    Returns:
        The crops.

    Raises:
        ValueError: If there is no such number of crops.
    """
    if num_crops == 1:
        return [Crop(*_CENTER, scale=scale, aspect=1.0)]
    if num_crops == 3:
        return [Crop(center_x=place, center_y=place, scale=1.0, aspect=1.0) for place in (0.0, 0.5, 1.0)]
    if num_crops == 5:
        return [Crop(*place, scale=scale, aspect=1.0) for place in (*_CORNERS, _CENTER)]
    raise ValueError(
        f"num_crops must be 1 (centre), 3 (along the long side), 5 (corners and centre) or 10 (these and their mirror "
        f"images), got {num_crops}; choose one of them"
    )


@dataclass(frozen=True, kw_only=True)
class CropRange:
    """From what crops are drawn in training.

    Raises:
        ValueError: If a range is empty or a number lies outside of what it can mean.
    """

    crop: CropKind = "box"
    """Kind of the crop: `box` is a free box measured by the frame's short side; `multiscale` is TSN's, of some sizes at
    13 places; `resized` is torchvision's random resized crop, measured by the frame's area."""
    min_scale: float = 0.66
    """Smallest `box`: square root of its area over the short side of the frame."""
    max_scale: float = 1.0
    """Largest `box`, as above."""
    min_aspect: float = 0.75
    """Smallest width over height of a `box` or `resized` crop."""
    max_aspect: float = 4 / 3
    """Largest width over height of a `box` or `resized` crop."""
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Sides of `multiscale` crops over the short side of the frame."""
    max_distortion: int = 1
    """How many places apart in `scales` width and height of a `multiscale` crop may be; 0 gives squares."""
    min_area: float = 0.08
    """Smallest `resized` crop, as a part of the frame's area."""
    max_area: float = 1.0
    """Largest `resized` crop, as a part of the frame's area."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not 0.0 < self.min_scale <= self.max_scale:
            raise ValueError(
                f"min_scale must be positive and at most max_scale, got {self.min_scale} and {self.max_scale}; "
                "0.66 and 1 are usual"
            )
        if not 0.0 < self.min_aspect <= self.max_aspect:
            raise ValueError(
                f"min_aspect must be positive and at most max_aspect, got {self.min_aspect} and {self.max_aspect}; "
                "0.75 and 1.33 are usual, 1 and 1 give squares"
            )
        fits = bool(self.scales) and all(0.0 < scale <= 1.0 for scale in self.scales)
        check(fits, "scales", "be some numbers in (0, 1]", self.scales, "1, 0.875, 0.75 and 0.66 are TSN's")
        check(self.max_distortion >= 0, "max_distortion", "be 0 or more", self.max_distortion, "1 is TSN's")
        if not 0.0 < self.min_area <= self.max_area <= 1.0:
            raise ValueError(
                f"min_area must be positive and at most max_area, which is at most 1, got {self.min_area} and "
                f"{self.max_area}; 0.08 and 1 are usual"
            )


def draw_crop(crops: CropRange, center: tuple[float, float], rng: np.random.Generator) -> Crop:
    """Draws a training crop.

    Args:
        crops: Kind and ranges.
        center: Place of a `box` or `resized` crop, drawn uniformly.
        rng: The only source of randomness.

    Returns:
        Of kind `box`, a box of a scale drawn uniformly and an aspect drawn log-uniformly. Of kind `multiscale`, a box
        of two of the scales at one of the 13 places, all equally likely (sizes and places are rounded to the nearest
        pixel, TSN's down). Of kind `resized`, a box of an area drawn uniformly and an aspect drawn log-uniformly, with
        others to take where it does not fit; if none does, it is cut to the frame (our reading: torchvision takes the
        middle of the frame then).
    """
    if crops.crop == "multiscale":
        sizes = multiscale_sizes(crops)
        box_width, box_height = sizes[int(rng.integers(len(sizes)))]
        place = FIXED_PLACES[int(rng.integers(len(FIXED_PLACES)))]
        return Crop(*place, scale=math.sqrt(box_width * box_height), aspect=box_width / box_height)
    if crops.crop == "resized":
        first, *others = [_draw_resized(crops, center, rng) for _ in range(RESIZED_TRIES)]
        return replace(first, others=tuple(others))
    scale = rng.uniform(crops.min_scale, crops.max_scale)
    return Crop(*center, scale=scale, aspect=_draw_aspect(crops, rng))


def multiscale_sizes(crops: CropRange) -> list[tuple[float, float]]:
    """Widths and heights of TSN's crops over the short side of the frame: pairs of near scales."""
    places = range(len(crops.scales))
    near = [(i, j) for i in places for j in places if abs(i - j) <= crops.max_distortion]
    return [(crops.scales[i], crops.scales[j]) for i, j in near]


def _draw_resized(crops: CropRange, center: tuple[float, float], rng: np.random.Generator) -> Crop:
    """Draws one try of a random resized crop."""
    scale = math.sqrt(rng.uniform(crops.min_area, crops.max_area))
    return Crop(*center, scale=scale, aspect=_draw_aspect(crops, rng), of_area=True)


def _draw_aspect(crops: CropRange, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(crops.min_aspect), math.log(crops.max_aspect)))
