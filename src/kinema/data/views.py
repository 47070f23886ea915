"""Views: where in time and space to look at a video; pure arithmetic, no pixels.

Segments are those of TSN (Wang et al. 2016, arXiv 1608.00859): a video is cut into T equal parts and one frame is taken
from each.

Shapes: T frames of a view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kinema.spec import ClipSpec

if TYPE_CHECKING:
    import numpy as np

# An offset such as 1/49 is rounded when it is stored, so that 49 * (1/49) may fall just below 1. The products that
# must hit an integer are m * length / D with D = 2 * T * num_clips; they are either integers or at least 1/D away from
# one, and the rounding is below 1e-7 for any length under 1e8, so this much more never reaches a wrong frame.
_ROUNDING = 1e-6
_LAST_OFFSET = math.nextafter(1.0, 0.0)


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

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("center_x", "center_y"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}; 0.5 is the middle")
        for name in ("scale", "aspect"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}; 1 is a square of the short side")


@dataclass(frozen=True)
class View:
    """Where to look: T moments, one box for all of them, and whether the picture is mirrored.

    Raises:
        ValueError: If there is no offset or one lies outside [0, 1).
    """

    offsets: tuple[float, ...]
    """Moments as parts of the video's length, in the order in which the network sees them."""
    crop: Crop
    """The box."""
    mirrored: bool = False
    """Whether left and right are exchanged."""
    backwards: bool = False
    """Whether of neighbouring frames that are stacked the last one stands first."""

    def __post_init__(self) -> None:
        """Checks the offsets."""
        outside = [offset for offset in self.offsets if not 0.0 <= offset < 1.0]
        if outside or not self.offsets:
            raise ValueError(f"offsets must be some numbers in [0, 1), got {self.offsets}; 0.5 is the middle frame")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """From which range views are drawn in training.

    Raises:
        ValueError: If a range is empty or a number lies outside of what it can mean.
    """

    min_scale: float = 0.66
    """Smallest crop: square root of its area over the short side of the frame."""
    max_scale: float = 1.0
    """Largest crop, as above."""
    min_aspect: float = 0.75
    """Smallest width over height of a crop."""
    max_aspect: float = 4 / 3
    """Largest width over height of a crop."""
    mirror: float = 0.5
    """Probability of exchanging left and right, for classes that may be; the label follows."""

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
        if not 0.0 <= self.mirror <= 1.0:
            raise ValueError(f"mirror must be a probability, got {self.mirror}; 0 never mirrors, 0.5 is usual")


def frame_indices(offsets: Sequence[float], length: int) -> list[int]:
    """Frames that lie at the offsets; a video shorter than T is stretched by repeating frames evenly.

    Args:
        offsets: Moments in [0, 1).
        length: Number of frames of the video.

    Returns:
        floor(offset * length) for each offset.

    Raises:
        ValueError: If the video has no frame.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}; a video without frames has no view")
    return [min(math.floor(offset * length + _ROUNDING), length - 1) for offset in offsets]


def stacked_indices(view: View, length: int, *, stack: int, ahead: bool = False) -> list[int]:
    """Frames that a view needs, each with its neighbours; beyond its ends a video stands still.

    Neighbours that follow the sampled frame lie inside the video where it is long enough: as TSN does it for flow,
    frames are sampled from those that have so many behind them.

    Args:
        view: Where to look.
        length: Number of frames of the video.
        stack: Frames that are read for each of the T; an odd number of them where the sampled one is in their middle.
        ahead: Whether the sampled frame is the first of them.

    Returns:
        T * stack frame numbers, those of one stack side by side.

    Raises:
        ValueError: If the video has no frame.
    """
    steps = range(stack) if ahead else range(-(stack // 2), stack // 2 + 1)
    sampled = frame_indices(view.offsets, max(length - steps[-1], 1) if ahead and length else length)
    ordered = steps[:: -1 if view.backwards else 1]
    return [min(max(index + step, 0), length - 1) for index in sampled for step in ordered]


def segment_offsets(num_frames: int, jitter: Sequence[float] | None = None) -> tuple[float, ...]:
    """One moment in each of T equal parts.

    With the default, frame t of a video of n frames is floor((t + 1/2) * n / T): the centres, as TSM evaluates.

    Args:
        num_frames: T.
        jitter: Place inside each part, in [0, 1]; default: the middle.

    Returns:
        T offsets in [0, 1), ascending.

    Raises:
        ValueError: If there is not one jitter for each part or one lies outside [0, 1].
    """
    places = [0.5] * num_frames if jitter is None else list(jitter)
    if len(places) != num_frames or not all(0.0 <= place <= 1.0 for place in places):
        raise ValueError(f"jitter must be {num_frames} numbers in [0, 1], got {places}; leave it out for the centres")
    return tuple(min((part + place) / num_frames, _LAST_OFFSET) for part, place in enumerate(places))


def draw_view(spec: ClipSpec, augmentation: Augmentation, rng: np.random.Generator) -> View:
    """Draws a training view: a random frame of each segment, a random box, a coin for the mirror.

    Args:
        spec: Gives T.
        augmentation: The ranges; scale and centre are uniform, aspect is log-uniform.
        rng: The only source of randomness.

    Returns:
        The view; whether the label allows the mirror is for the caller to say.
    """
    jitter = rng.random(spec.num_frames).tolist()
    center_x, center_y, coin = rng.random(3).tolist()
    scale = rng.uniform(augmentation.min_scale, augmentation.max_scale)
    aspect = math.exp(rng.uniform(math.log(augmentation.min_aspect), math.log(augmentation.max_aspect)))
    crop = Crop(center_x=center_x, center_y=center_y, scale=scale, aspect=aspect)
    return View(segment_offsets(spec.num_frames, jitter), crop, mirrored=coin < augmentation.mirror)


def grid_views(spec: ClipSpec, *, num_clips: int = 1, num_crops: int = 1) -> list[View]:
    """Spreads evaluation views over time and space.

    One clip is the centres of the segments; k clips stand at (j + 1/2) / k inside each. One crop is the middle square
    of side short * crop / resize; three crops are squares of the whole short side, at both ends and in the middle of
    the long one. Every box is scaled to the spec's crop: papers that feed three crops at 256 pixels ran their network
    at 256, which is another spec (resize and crop 256).

    Args:
        spec: Gives T, resize and crop.
        num_clips: Clips along time.
        num_crops: Crops in space, 1 or 3.

    Returns:
        num_clips * num_crops views, the crops of a clip together.

    Raises:
        ValueError: If num_clips is below 1 or num_crops is neither 1 nor 3.
    """
    if num_clips < 1:
        raise ValueError(f"num_clips must be at least 1, got {num_clips}; 1, 2 and 10 are usual")
    if num_crops not in (1, 3):
        raise ValueError(
            f"num_crops must be 1 (centre) or 3 (along the long side), got {num_crops}; choose one of them"
        )
    if num_crops == 1:
        crops = [Crop(center_x=0.5, center_y=0.5, scale=spec.crop / spec.resize, aspect=1.0)]
    else:
        crops = [Crop(center_x=place, center_y=place, scale=1.0, aspect=1.0) for place in (0.0, 0.5, 1.0)]
    places = [(2 * clip + 1) / (2 * num_clips) for clip in range(num_clips)]
    times = [segment_offsets(spec.num_frames, [place] * spec.num_frames) for place in places]
    return [View(offsets, crop) for offsets in times for crop in crops]


def protocol_name(num_clips: int, num_crops: int) -> str:
    """Name of an evaluation, as papers write it beside a number: `2 clips × 3 crops`."""
    clips = "1 clip" if num_clips == 1 else f"{num_clips} clips"
    crops = "centre crop" if num_crops == 1 else f"{num_crops} crops"
    return f"{clips} × {crops}"  # noqa: RUF001 (the sign that papers use)


def reversed_view(view: View) -> View:
    """The same moments, last first: the clip as if played backwards."""
    return replace(view, offsets=view.offsets[::-1], backwards=not view.backwards)


def shuffled_view(view: View, rng: np.random.Generator) -> View:
    """The same moments in another order, which is never the view's own nor its reversal.

    Args:
        view: A view of at least 3 frames.
        rng: The only source of randomness.

    Returns:
        The shuffled view.

    Raises:
        ValueError: If the view has fewer than 3 frames: every order is then the view or its reversal.
    """
    num_frames = len(view.offsets)
    if num_frames < 3:
        raise ValueError(f"num_frames must be at least 3 to shuffle, got {num_frames}; use a spec with more frames")
    forward = list(range(num_frames))
    order = rng.permutation(num_frames).tolist()
    while order in (forward, forward[::-1]):
        order = rng.permutation(num_frames).tolist()
    return replace(view, offsets=tuple(view.offsets[place] for place in order))
