"""One row of a dataset: a video or a part of one, its classes, and what is known of where it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What a dataset may call its splits, in any case, and what they are."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a longer video, from `start` to just before `end`."""

    start: float
    """Where it begins."""
    end: float
    """Where it ends."""
    unit: Literal["seconds", "frames"] = "seconds"
    """What the two are counted in, from the beginning of the video."""

    @property
    def mark(self) -> str:
        """What the name of a sample says of it, behind the name of the file: `#2.5-4s`, `#0-32f`."""
        return f"#{self.start:.10g}-{self.end:.10g}{self.unit[0]}"


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled video."""

    path: Path
    """The file, or the folder of numbered frames."""
    class_name: str
    """The class, by name; which index it gets is the spec's matter. Empty where the data does not say it, as in the
    lists of a test server."""
    split: str | None = None
    """`train`, `val` or `test`, where the data says so."""
    group: str | None = None
    """What must not be torn apart by a split: a person, a camera, a source video."""
    name: str = ""
    """The path as the dataset knows it: relative to the data root, with forward slashes; default: the path itself."""
    also: tuple[str, ...] = ()
    """Further classes, in data where a video may show several."""
    section: Section | None = None
    """The part of the video that is meant; none is all of it."""

    def __post_init__(self) -> None:
        """Names the sample after its path where no name was given."""
        if not self.name:
            object.__setattr__(self, "name", self.path.as_posix())

    @property
    def file_name(self) -> str:
        """Name of its file: its own, without the section."""
        return self.name if self.section is None else self.name.removesuffix(self.section.mark)

    @property
    def class_names(self) -> tuple[str, ...]:
        """All its classes; none where the data does not say them."""
        return (self.class_name, *self.also) if self.class_name else ()
