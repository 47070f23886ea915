"""Which videos a run is on: the part of a recipe that says where the data lies and what format it is in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kinema.wording import check


@dataclass(frozen=True, kw_only=True)
class DataPlace:
    """Where the videos lie."""

    root: str = ""
    """Folder of the videos, or its annotation file; what format it is in is found out and said (docs/formats.md)."""
    annotations: str | None = None
    """Annotation file, or folder of several, where it is not in the root."""
    format: str = "auto"
    """Format of the annotations; `auto` finds it out."""
    class_list: str | None = None
    """File with the names of the classes, for lists that only number them."""
    fold: int = 1
    """Which of several splits is meant, where the data has them: UCF101 and HMDB51 have 1, 2 and 3."""
    quarantine: str | None = None
    """List of videos to leave out, as `kinema data check --quarantine` writes it."""
    index_cache: bool = False
    """Whether the index of each file (which packet holds which frame, 3 kB) is kept in the user's cache folder, so that
    the file opens at once the next time."""
    num_workers: int | None = None
    """Processes that decode videos; null: one per core, at most 8. The numbers of a run do not depend on it."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check(self.fold >= 1, "data.fold", "be at least 1", self.fold, "1 is the first split")
        workers = self.num_workers
        check(workers is None or workers >= 0, "data.num_workers", "be 0 or more", workers, "null picks by the cores")


@dataclass(frozen=True, kw_only=True)
class DataRecipe(DataPlace):
    """Which videos, and which of them are held out."""

    val_fraction: float = 0.2
    """Part of each class that is held out where the data has no split of its own."""
    group_pattern: str | None = None
    """Regular expression; files for whose names its group (or the whole match) is the same stay on one side of the
    split: same person, camera or source video. Alternatives with names, `(?P<hall>...)|(?P<yard>...)`, are one group
    each."""
    mirrors: dict[str, str | None] = field(default_factory=dict)
    """Overrides of what a horizontal flip makes of a class, as `class: mirrored class`; a class given as its own
    mirror keeps its label, one given as null is never flipped."""
    balance: Literal["none", "sampling", "loss"] = "none"
    """What makes up for classes of few videos: `sampling`, their videos are drawn more often, so that each class comes
    equally often; `loss`, they weigh more in the loss; `none`."""
    cache: Literal["none", "ram", "disk"] = "none"
    """Where frames are kept once decoded, so that later epochs need not decode: in memory (`ram`), half of what is free
    at most, or in a folder (`disk`). Clips are the same as without."""
    cache_folder: str | None = None
    """Folder of the cache on disk; null: in the user's cache folder."""
    cache_short_side: int | None = None
    """Short side, in pixels, to which larger frames are scaled before they are kept: less memory, and clips differ a
    little, for they are scaled twice. Null: frames are kept as large as they are."""
    max_unreadable: float = 0.01
    """Part of the training videos that may be missing or unreadable; above it training stops and says so."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        super().__post_init__()
        check(0 <= self.val_fraction < 1, "data.val_fraction", "lie in [0, 1)", self.val_fraction, "0.2 is usual")
        folder, on_disk = self.cache_folder, self.cache == "disk"
        check(
            on_disk or folder is None, "data.cache_folder", "be left out unless data.cache is disk", folder, "drop it"
        )
        side = self.cache_short_side
        rule = "be positive, and left out unless data.cache is ram or disk"
        check(side is None or (side > 0 and self.cache != "none"), "data.cache_short_side", rule, side, "drop it")
        share = self.max_unreadable
        check(0 <= share <= 1, "data.max_unreadable", "lie in [0, 1]", share, "0.01 is the default, 0 allows none")
