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

from kinema.data.crops import Crop, CropRange, draw_crop, fixed_crops
from kinema.data.mirror import Mirrors, find_mirrors
from kinema.data.windows import ROUNDING, Window, check_length, window_indices
from kinema.spec import ClipSpec, Sampling
from kinema.wording import listed

if TYPE_CHECKING:
    import numpy as np

_LAST_OFFSET = math.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class View:
    """Where to look: T moments, one box for all of them, and whether the picture is mirrored.

    Raises:
        ValueError: If there is no offset, one lies outside [0, 1), or the place outside [0, 1].
    """

    offsets: tuple[float, ...]
    """Moments as parts of the video's length, or of the window's, in the order in which the network sees them."""
    crop: Crop
    """The box."""
    mirrored: bool = False
    """Whether left and right are exchanged."""
    backwards: bool = False
    """Whether of neighbouring frames that are stacked the last one stands first."""
    place: float = 0.5
    """Place of the window across the range in which it can move: 0 begins with the video, 1 ends with it. The window of
    `segments` is the whole video, which cannot move."""

    def __post_init__(self) -> None:
        """Checks the offsets and the place."""
        outside = [offset for offset in self.offsets if not 0.0 <= offset < 1.0]
        if outside or not self.offsets:
            raise ValueError(f"offsets must be some numbers in [0, 1), got {self.offsets}; 0.5 is the middle frame")
        if not 0.0 <= self.place <= 1.0:
            raise ValueError(f"place must lie between 0 and 1, got {self.place}; 0.5 is the middle")


@dataclass(frozen=True, kw_only=True)
class Augmentation(CropRange):
    """From which range views are drawn in training.

    Raises:
        ValueError: If a range is empty or a number lies outside of what it can mean.
    """

    mirror: float = 0.5
    """Probability of exchanging left and right, for classes that may be; the label follows."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        super().__post_init__()
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
    check_length(length)
    return [min(math.floor(offset * length + ROUNDING), length - 1) for offset in offsets]


def stacked_indices(
    view: View, length: int, *, stack: int, ahead: bool = False, window: Window | None = None
) -> list[int]:
    """Frames that a view needs, each with its neighbours; beyond its ends a video stands still.

    Neighbours that follow the sampled frame lie inside the video where it is long enough: as TSN does it for flow, the
    parts of a whole video are those of its frames that have so many behind them. A window moves over all frames.

    Args:
        view: Where to look.
        length: Number of frames of the video.
        stack: Frames that are read for each of the T; an odd number of them where the sampled one is in their middle.
        ahead: Whether the sampled frame is the first of them.
        window: What the view's offsets run over; none for the whole video.

    Returns:
        T * stack frame numbers, those of one stack side by side.

    Raises:
        ValueError: If the video has no frame.
    """
    steps = range(stack) if ahead else range(-(stack // 2), stack // 2 + 1)
    if window is not None:
        sampled = window_indices(view.offsets, length, place=view.place, window=window)
    else:
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


def window_offsets(num_frames: int) -> tuple[float, ...]:
    """Moments at equal distances from the start of a window on: frame t of T at t / T."""
    return tuple(frame / num_frames for frame in range(num_frames))


def draw_view(spec: ClipSpec, augmentation: Augmentation, rng: np.random.Generator) -> View:
    """Draws a training view: a random frame of each segment or a window at a random place, a box, a mirror or none.

    Args:
        spec: Gives T and the sampling.
        augmentation: The kind of the box and the ranges.
        rng: The only source of randomness.

    Returns:
        The view; whether the label allows the mirror is for the caller to say.
    """
    if spec.sampling == "segments":
        offsets, place = segment_offsets(spec.num_frames, rng.random(spec.num_frames).tolist()), 0.5
    else:
        offsets, place = window_offsets(spec.num_frames), float(rng.random())
    center_x, center_y, coin = rng.random(3).tolist()
    crop = draw_crop(augmentation, (center_x, center_y), rng)
    return View(offsets, crop, mirrored=coin < augmentation.mirror, place=place)


def grid_views(spec: ClipSpec, *, num_clips: int = 1, num_crops: int = 1, mirrors: Mirrors | None = None) -> list[View]:
    """Spreads evaluation views over time and space.

    One clip is the centres of the segments; k clips stand at (j + 1/2) / k inside each. Where the spec looks through a
    window, one stands in the middle of the video, and k stand evenly from its start to its end, as TSM's.

    One crop is the middle square of side short * crop / resize; three crops are squares of the whole short side, at
    both ends and in the middle of the long one; five are squares of the first size in the corners and in the middle;
    ten are these and their mirror images (TSN). Every box is scaled to the spec's crop: papers that feed three crops at
    256 pixels ran their network at 256, which is another spec (resize and crop 256).

    A mirrored "turn left" shows a "turn right", so that its scores belong to other classes. The papers that print ten
    crops do so where no class has a side; for classes that have one, ten crops are refused.

    Args:
        spec: Gives T, the sampling, resize and crop.
        num_clips: Clips along time.
        num_crops: Crops in space: 1, 3, 5 or 10.
        mirrors: What a flip makes of each class; by default as the spec's class names tell.

    Returns:
        num_clips * num_crops views, the crops of a clip together.

    Raises:
        ValueError: If num_clips is below 1, there is no such number of crops, or it is 10 and a flip changes a class.
    """
    if num_clips < 1:
        raise ValueError(f"num_clips must be at least 1, got {num_clips}; 1, 2 and 10 are usual")
    if num_crops == 10:
        _check_no_sides(mirrors or find_mirrors(spec.class_names))
    crops = fixed_crops(5 if num_crops == 10 else num_crops, scale=spec.crop / spec.resize)
    flips = (False, True) if num_crops == 10 else (False,)
    return [
        replace(view, crop=crop, mirrored=mirrored)
        for view in _times(spec, num_clips, crop=crops[0])
        for mirrored in flips
        for crop in crops
    ]


def _times(spec: ClipSpec, num_clips: int, *, crop: Crop) -> list[View]:
    """Views through one box that are spread over time."""
    inside = [(2 * clip + 1) / (2 * num_clips) for clip in range(num_clips)]
    if spec.sampling == "segments":
        return [View(segment_offsets(spec.num_frames, [place] * spec.num_frames), crop) for place in inside]
    places = [clip / (num_clips - 1) for clip in range(num_clips)] if num_clips > 1 else [0.5]
    return [View(window_offsets(spec.num_frames), crop, place=place) for place in places]


def _check_no_sides(mirrors: Mirrors) -> None:
    """Refuses mirrored views for classes that a flip changes.

    Raises:
        ValueError: If there are such classes; it names them.
    """
    changed = [name for i, name in enumerate(mirrors.class_names) if mirrors.partners[i] != i]
    if changed:
        raise ValueError(
            f"num_crops must be 1, 3 or 5 where a mirror changes classes, got 10 and {listed(changed, 4)}; "
            "5 are the same corners and centre without their mirror images"
        )


def protocol_name(num_clips: int, num_crops: int, *, sampling: Sampling = "segments") -> str:
    """Name of an evaluation, as papers write it beside a number: `2 clips × 3 crops`, `10 dense clips × 3 crops`."""
    kind = {"segments": "", "dense": "dense ", "stride": "strided "}[sampling]
    clips = f"1 {kind}clip" if num_clips == 1 else f"{num_clips} {kind}clips"
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
