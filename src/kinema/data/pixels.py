"""Changes of pixels in training, one draw for all frames of a clip: colour jitter, RandAugment, random erasing.

RandAugment: Cubuk et al. 2019, arXiv 1909.13719; random erasing: Zhong et al. 2017, arXiv 1708.04896; both, and colour
jitter, are torchvision's.

Shapes: T frames, stack neighbours at each of them, C channels of a frame, S side of the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from kinema.wording import check

RGB_CHANNELS = 3
MAX_MAGNITUDE = 30


@dataclass(frozen=True, kw_only=True)
class PixelAugmentation:
    """Which changes of pixels are drawn in training; by default none.

    Raises:
        ValueError: If a number is out of its range.
    """

    color_jitter: float = 0.0
    """Largest relative change of brightness, contrast and saturation."""
    hue_jitter: float = 0.0
    """Largest change of hue, as a part of the colour circle."""
    randaugment: int = 0
    """Changes that RandAugment makes one after another; 0 turns it off."""
    randaugment_magnitude: int = 9
    """How strong these are, from 0 to 30."""
    erasing: float = 0.0
    """Probability of painting a rectangle over in the mean colour."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check(0 <= self.color_jitter <= 1, "color_jitter", "lie in [0, 1]", self.color_jitter, "0.4 is usual")
        check(0 <= self.hue_jitter <= 0.5, "hue_jitter", "lie in [0, 0.5]", self.hue_jitter, "0.1 is usual")
        check(self.randaugment >= 0, "randaugment", "be 0 or more", self.randaugment, "2 is usual, 0 turns it off")
        magnitude = self.randaugment_magnitude
        rule = f"lie in [0, {MAX_MAGNITUDE}]"
        check(0 <= magnitude <= MAX_MAGNITUDE, "randaugment_magnitude", rule, magnitude, "9 is usual")
        check(0 <= self.erasing <= 1, "erasing", "lie in [0, 1]", self.erasing, "0.25 is usual, 0 turns it off")

    @property
    def changes_colors(self) -> bool:
        """Whether a change is one of colours, which frames of other than 3 channels do not have."""
        return bool(self.color_jitter or self.hue_jitter or self.randaugment)

    @property
    def is_on(self) -> bool:
        """Whether anything is changed."""
        return self.changes_colors or bool(self.erasing)


@dataclass(frozen=True, kw_only=True)
class PixelChange:
    """One draw: the same changes for all frames it is called with, whoever calls it and whenever."""

    augmentation: PixelAugmentation
    """What is drawn from."""
    seed: int
    """The only source of randomness."""
    mean: tuple[float, ...]
    """Mean of each channel, of values in [0, 1]: the colour of what is erased or comes in from outside the frame."""

    def __call__(self, frames: Tensor) -> Tensor:
        """Changes frames; torch's own random state is as before afterwards.

        RandAugment turns, shears and shifts pictures but never mirrors them: left stays left, and the label with it.

        Args:
            frames: Frames of a clip, uint8 [T*stack, C, S, S].

        Returns:
            The changed frames, uint8 [T*stack, C, S, S].

        Raises:
            ValueError: If colours are to be changed in frames of other than 3 channels.
        """
        check_channels(self.augmentation, frames.shape[1])
        color = [round(255.0 * value) for value in self.mean]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            for transform in _transforms(self.augmentation, color):
                frames = transform(frames)
        return frames


def check_channels(augmentation: PixelAugmentation, num_channels: int) -> None:
    """Refuses changes of colours for frames that have none.

    Raises:
        ValueError: If the frames have other than 3 channels and colours are to be changed.
    """
    check(
        num_channels == RGB_CHANNELS or not augmentation.changes_colors,
        "color_jitter, hue_jitter and randaugment",
        f"be 0 for frames of other than {RGB_CHANNELS} channels",
        num_channels,
        "erasing works with any frames",
    )


def _transforms(augmentation: PixelAugmentation, color: Sequence[int]) -> list[v2.Transform]:
    """Returns torchvision's transforms, in the order in which they are made."""
    transforms: list[v2.Transform] = []
    if augmentation.randaugment:
        transforms.append(
            v2.RandAugment(
                num_ops=augmentation.randaugment,
                magnitude=augmentation.randaugment_magnitude,
                interpolation=InterpolationMode.BILINEAR,
                fill=list(color),
            )
        )
    if augmentation.color_jitter or augmentation.hue_jitter:
        strength = augmentation.color_jitter
        transforms.append(
            v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength, hue=augmentation.hue_jitter)
        )
    if augmentation.erasing:
        transforms.append(v2.RandomErasing(p=augmentation.erasing, value=list(color)))
    return transforms
