"""How a video becomes a clip: the part of a recipe that the spec is made from."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.spec import Modality, Sampling, check_sampling
from kinema.wording import check


@dataclass(frozen=True, kw_only=True)
class ClipRecipe:
    """How a video becomes a clip; mean, standard deviation and interpolation come with the backbone."""

    num_frames: int = 8
    """Frames T of a clip."""
    sampling: Sampling = "segments"
    """How they spread over a video: `segments`, one from each of T equal parts of it (TSN); `dense`, each (64 // T)-th
    of a window of 64 frames (TSM); `stride`, at a fixed distance."""
    stride: int | None = None
    """Frames of the video from one frame of a clip to the next, for the sampling `stride`."""
    stride_seconds: float | None = None
    """Seconds from one frame of a clip to the next, for the sampling `stride`, in place of a number of frames: videos
    of 12 and of 30 frames per second are then looked at alike."""
    resize: int = 128
    """Short side, in pixels, that a frame is scaled to before the crop."""
    crop: int = 112
    """Side, in pixels, of the square that the network sees."""
    modality: Modality = "rgb"
    """What the network sees: frames (`rgb`), optical flow that `kinema data flow` has extracted (`flow`), or
    differences of neighbouring frames (`rgbdiff`)."""
    stack: int | None = None
    """Fields of flow, or differences, that each of the T is made of; null: 5, as TSN. Frames are not stacked."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check(
            self.stack is None or (self.modality != "rgb" and self.stack >= 1),
            "clip.stack",
            "be at least 1, and left out for modality 'rgb'",
            self.stack,
            "null takes 5 for flow and rgbdiff",
        )
        check(self.num_frames >= 1, "clip.num_frames", "be at least 1", self.num_frames, "8 and 16 are usual")
        check_sampling(self.sampling, self.stride, self.stride_seconds, num_frames=self.num_frames, prefix="clip.")
        check(
            1 <= self.crop <= self.resize,
            "clip.crop",
            f"lie between 1 and clip.resize ({self.resize})",
            self.crop,
            "112 with 128 and 224 with 256 are usual",
        )
