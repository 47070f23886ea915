"""One row of a dataset: a video, its class, and what is known of where it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What a dataset may call its splits, in any case, and what they are."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled video."""

    path: Path
    """The file, or the folder of numbered frames."""
    class_name: str
    """The class, by name; which index it gets is the spec's matter."""
    split: str | None = None
    """`train`, `val` or `test`, where the data says so."""
    group: str | None = None
    """What must not be torn apart by a split: a person, a camera, a source video."""
    name: str = ""
    """The path as the dataset knows it: relative to the data root, with forward slashes; default: the path itself."""

    def __post_init__(self) -> None:
        """Gives a sample that stands alone its path as its name."""
        if not self.name:
            object.__setattr__(self, "name", self.path.as_posix())
