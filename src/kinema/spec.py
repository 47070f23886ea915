"""How a video becomes a clip: the numbers that travel with the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from math import inf, isfinite
from typing import Any, Literal, get_args

Sampling = Literal["segments", "dense", "stride"]
Interpolation = Literal["bilinear", "bicubic"]
Modality = Literal["rgb", "flow", "rgbdiff"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

FRAME_CHANNELS: dict[Modality, int] = {"rgb": 3, "flow": 2, "rgbdiff": 3}
"""Channels of one picture of each modality; those of flow are x and y."""
DEFAULT_STACK: dict[Modality, int] = {"rgb": 1, "flow": 5, "rgbdiff": 5}
"""Pictures that are stacked where nothing else is said; five fields and five differences are TSN's."""

DENSE_FRAMES = 64
"""Frames of the window that `dense` sampling looks at, as TSM."""


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """Everything that turns a video into one network input; dataset, predictor and exporter are built from it.

    Raises:
        ValueError: If a number is out of its range.
    """

    num_frames: int = 8
    """Frames T of a clip."""
    modality: Modality = "rgb"
    """What the network sees: frames (`rgb`), fields of optical flow (`flow`), or differences of each frame to the one
    before it (`rgbdiff`)."""
    stack: int = 1
    """Neighbours in the video that are stacked in the channels of each of the T. Of frames, the sampled one is in their
    middle; an odd number, of which 1 is the sampled frame alone; TDN's short-term module takes 5. Fields of flow and
    differences follow the sampled frame; TSN takes 5 of either."""
    sampling: Sampling = "segments"
    """How frames spread over a video: `segments` cuts it into T equal parts and takes one frame from each (TSN);
    `dense` takes each (64 // T)-th frame of a window of 64 (TSM); `stride` takes frames at a fixed distance."""
    stride: int | None = None
    """Frames of the video from one frame of a clip to the next, for `stride`."""
    stride_seconds: float | None = None
    """Seconds from one frame of a clip to the next, for `stride`, in place of a number of frames: videos of 12 and of
    30 frames per second are then looked at alike."""
    resize: int = 256
    """Short side, in pixels, that a frame is scaled to before the crop."""
    crop: int = 224
    """Side, in pixels, of the square that the network sees."""
    interpolation: Interpolation = "bilinear"
    """Filter of the scaling (always antialiased)."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of each channel of a frame, of values in [0, 1]."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation of each channel of a frame, of values in [0, 1]."""
    span_seconds: float | None = None
    """Median length of what a clip spanned in training, the whole video or a window in it; a window over a long video
    or a stream has this length."""
    spacing_seconds: float | None = None
    """Median time between neighbouring frames of a clip in training."""
    class_names: tuple[str, ...] = ()
    """Class names in the order of the logits."""
    multi_label: bool = False
    """Whether a video may show several classes: the probability of each is then that of a sigmoid."""

    def __post_init__(self) -> None:
        """Checks the ranges and turns lists (from YAML or JSON) into tuples."""
        for name, what in (("mean", "numbers"), ("std", "numbers"), ("class_names", "names")):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ValueError(f"{name} must be a sequence of {what}, got {value!r}; make it a tuple")
            object.__setattr__(self, name, tuple(value))
        for name in ("num_frames", "resize", "crop"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}; 8 and 224 are usual")
        for name, kind in (("sampling", Sampling), ("interpolation", Interpolation), ("modality", Modality)):
            if (value := getattr(self, name)) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}; take one of them")
        is_rgb = self.modality == "rgb"
        if type(self.stack) is not int or self.stack < 1 or (is_rgb and self.stack % 2 == 0):
            kind_of, who = ("an odd", "TDN") if is_rgb else ("a", "TSN")
            raise ValueError(f"stack must be {kind_of} whole number of at least 1, got {self.stack!r}; {who} takes 5")
        if not is_rgb and len(self.mean) != FRAME_CHANNELS[self.modality]:
            raise ValueError(
                f"mean must have {FRAME_CHANNELS[self.modality]} values for modality {self.modality!r}, got "
                f"{self.mean}; a model that is created with this modality brings them"
            )
        check_sampling(self.sampling, self.stride, self.stride_seconds, num_frames=self.num_frames)
        if type(self.multi_label) is not bool:
            raise ValueError(f"multi_label must be true or false, got {self.multi_label!r}; false is one class a video")
        if not 1 <= self.crop <= self.resize:
            raise ValueError(
                f"crop must lie between 1 and resize, got crop {self.crop} and resize {self.resize}; "
                "224 and 256 are usual"
            )
        finite = all(map(isfinite, (*self.mean, *self.std)))
        if len(self.mean) != len(self.std) or not finite or min(self.std, default=0.0) <= 0.0:
            raise ValueError(
                "mean and std must have one finite value per channel and std be positive, "
                f"got {self.mean} and {self.std}; ImageNet's are the default"
            )
        if len(set(self.class_names)) != len(self.class_names):
            doubled = sorted({name for name in self.class_names if self.class_names.count(name) > 1})
            raise ValueError(f"class_names must be distinct, got {doubled} more than once; rename or merge them")

    @property
    def num_read(self) -> int:
        """Pictures of the video that are read for each of the T: one more than there are differences."""
        return self.stack + 1 if self.modality == "rgbdiff" else self.stack

    def to_json(self) -> str:
        """Returns the spec as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ClipSpec:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If a key is none of the spec's fields.
        """
        values: dict[str, Any] = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a clip spec must be a JSON object, got {text[:40]!r}; the file is no kinema model")
        unknown = sorted(values.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(
                f"a clip spec must have only known fields, got {unknown}; the file is from a newer kinema: upgrade"
            )
        return cls(**values)


def check_sampling(
    sampling: Sampling, stride: int | None, stride_seconds: float | None, *, num_frames: int, prefix: str = ""
) -> None:
    """Refuses numbers that do not say how frames are sampled.

    Args:
        sampling: How frames spread over a video.
        stride: Frames from one frame of a clip to the next.
        stride_seconds: The same in seconds.
        num_frames: T.
        prefix: What stands before the names of the fields where they are those of a recipe.

    Raises:
        ValueError: If `stride` has no distance or two, another sampling has one, or `dense` has more frames than it
            looks at.
    """
    given = {"stride": stride, "stride_seconds": stride_seconds}
    named = [name for name, value in given.items() if value is not None]
    if sampling != "stride" and named:
        raise ValueError(
            f"{prefix}{named[0]} must be left out unless {prefix}sampling is 'stride', got {given[named[0]]}; drop it, "
            "or sample by stride"
        )
    if sampling == "stride" and len(named) != 1:
        raise ValueError(
            f"{prefix}stride must be given where {prefix}sampling is 'stride', in frames or else as "
            f"{prefix}stride_seconds, got {stride} and {stride_seconds}; 8 frames, or 0.25 seconds, are usual"
        )
    if stride is not None and (type(stride) is not int or stride < 1):
        raise ValueError(f"{prefix}stride must be a whole number of at least 1, got {stride!r}; 8 is usual")
    if stride_seconds is not None and not 0 < stride_seconds < inf:
        raise ValueError(f"{prefix}stride_seconds must be positive, got {stride_seconds}; 0.25 is usual")
    if sampling == "dense" and num_frames > DENSE_FRAMES:
        raise ValueError(
            f"{prefix}num_frames must be at most {DENSE_FRAMES}, the window of {prefix}sampling 'dense', got "
            f"{num_frames}; sample by segments or by stride"
        )
