"""How far training strays from what a video shows: the part of a recipe that says what is drawn at random."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field

from kinema.data.crops import CropKind
from kinema.wording import check

_CROPS: dict[str, tuple[CropKind, ...]] = {
    "min_scale": ("box",),
    "max_scale": ("box",),
    "min_aspect": ("box", "resized"),
    "max_aspect": ("box", "resized"),
    "scales": ("multiscale",),
    "max_distortion": ("multiscale",),
    "min_area": ("resized",),
    "max_area": ("resized",),
}
"""Which kinds of crop a number is for."""


@dataclass(frozen=True, kw_only=True)
class AugmentRecipe:
    """How far training may stray from the centre of the frame and from its pixels."""

    crop: CropKind = "box"
    """Crop of a training view: `box`, a free box measured by the frame's short side; `multiscale`, TSN's, of a few
    sizes at 13 places; `resized`, the random resized crop, measured by the frame's area."""
    min_scale: float = 0.66
    """Smallest `box`, as a part of the frame's short side."""
    max_scale: float = 1.0
    """Largest `box`, as a part of the frame's short side."""
    min_aspect: float = 0.75
    """Smallest width over height of a `box` or `resized` crop."""
    max_aspect: float = 1.3333
    """Largest width over height of a `box` or `resized` crop."""
    scales: list[float] = field(default_factory=lambda: [1.0, 0.875, 0.75, 0.66])
    """Sides of `multiscale` crops, as parts of the frame's short side."""
    max_distortion: int = 1
    """How many places apart in `scales` width and height of a `multiscale` crop may be."""
    min_area: float = 0.08
    """Smallest `resized` crop, as a part of the frame's area."""
    max_area: float = 1.0
    """Largest `resized` crop, as a part of the frame's area."""
    mirror: float = 0.5
    """Chance of a horizontal flip, for classes that have a mirrored class; 0 turns flips off."""
    color_jitter: float = 0.0
    """Largest relative change of brightness, contrast and saturation; 0.4 is usual."""
    hue_jitter: float = 0.0
    """Largest change of hue, as a part of the colour circle; 0.1 is usual."""
    randaugment: int = 0
    """Changes that RandAugment makes one after another; 2 is usual. It never mirrors."""
    randaugment_magnitude: int = 9
    """How strong the changes of RandAugment are, from 0 to 30."""
    erasing: float = 0.0
    """Chance that a rectangle is painted over in the mean colour; 0.25 is usual."""
    mixup: float = 0.0
    """Alpha of MixUp, which mixes a clip of a batch with its neighbour; 0.8 is usual."""
    cutmix: float = 0.0
    """Alpha of CutMix, which puts a box of a clip into its neighbour; 1 is usual. With MixUp, a batch has one of the
    two."""
    mix_chance: float = 1.0
    """Chance that a batch is mixed, where `mixup` or `cutmix` is given."""
    label_smoothing: float = 0.0
    """Part of a label that is spread evenly over all classes; 0.1 is usual."""
    repeats: int = 1
    """Clips of each video in a batch, each with its own draw: an epoch has so many times more steps."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        self._check_crops()
        for name, low, high, advice in (
            ("mirror", 0, 1, "0.5 is usual, 0 turns flips off"),
            ("color_jitter", 0, 1, "0.4 is usual, 0 turns it off"),
            ("hue_jitter", 0, 0.5, "0.1 is usual, 0 turns it off"),
            ("randaugment", 0, 14, "2 is usual, 0 turns it off"),
            ("randaugment_magnitude", 0, 30, "9 is usual"),
            ("erasing", 0, 1, "0.25 is usual, 0 turns it off"),
            ("mixup", 0, 100, "0.8 is usual, 0 turns it off"),
            ("cutmix", 0, 100, "1 is usual, 0 turns it off"),
            ("mix_chance", 0, 1, "1 mixes every batch"),
        ):
            value = getattr(self, name)
            check(low <= value <= high, f"augment.{name}", f"lie in [{low}, {high}]", value, advice)
        self._check_used("randaugment_magnitude", self.randaugment > 0, "augment.randaugment is given")
        self._check_used("mix_chance", self.mixes, "augment.mixup or augment.cutmix is given")
        smoothing, repeats = self.label_smoothing, self.repeats
        check(0 <= smoothing < 1, "augment.label_smoothing", "lie in [0, 1)", smoothing, "0.1 is usual")
        check(repeats >= 1, "augment.repeats", "be at least 1", repeats, "1 turns repeats off")

    @property
    def mixes(self) -> bool:
        """Whether batches are mixed."""
        return bool(self.mixup or self.cutmix)

    def check_batch(self, batch_size: int) -> None:
        """Refuses a batch that repeats do not divide, or in which there is nothing to mix.

        Raises:
            ValueError: If it is one.
        """
        rule = f"divide trainer.batch_size ({batch_size})"
        check(batch_size % self.repeats == 0, "augment.repeats", rule, self.repeats, "1 turns repeats off")
        rule = f"be at least {2 * self.repeats} for augment.mixup and augment.cutmix"
        enough = not self.mixes or batch_size >= 2 * self.repeats
        check(enough, "trainer.batch_size", rule, batch_size, "a batch of one video has nothing to mix")

    def _check_used(self, name: str, used: bool, condition: str) -> None:
        """Refuses a value that nothing would use."""
        value = getattr(self, name)
        rule = f"be left out unless {condition}"
        check(used or value == _default(name), f"augment.{name}", rule, value, "drop it, or turn that on")

    def _check_crops(self) -> None:
        """Checks the numbers of crops."""
        for name, kinds in _CROPS.items():
            self._check_used(name, self.crop in kinds, f"augment.crop is {' or '.join(kinds)}")
        low, high, value = self.min_scale, self.max_scale, self.min_aspect
        check(0 < low <= high, "augment.min_scale", "lie in (0, max_scale]", low, "0.66")
        check(high <= 1, "augment.max_scale", "be at most 1", high, "1 is the whole short side")
        rule = f"lie between 0 and augment.max_aspect ({self.max_aspect})"
        check(0 < value <= self.max_aspect, "augment.min_aspect", rule, value, "0.75 with 1.3333 is usual")
        fits = bool(self.scales) and all(0 < scale <= 1 for scale in self.scales)
        check(fits, "augment.scales", "be some numbers in (0, 1]", self.scales, "1, 0.875, 0.75 and 0.66 are TSN's")
        check(self.max_distortion >= 0, "augment.max_distortion", "be 0 or more", self.max_distortion, "1 is TSN's")
        check(0 < self.min_area <= self.max_area, "augment.min_area", "lie in (0, max_area]", self.min_area, "0.08")
        check(self.max_area <= 1, "augment.max_area", "be at most 1", self.max_area, "1 is the whole frame")


def _default(name: str) -> object:
    """Returns what a field is where a recipe does not say."""
    declared = AugmentRecipe.__dataclass_fields__[name]
    return declared.default if declared.default_factory is MISSING else declared.default_factory()
