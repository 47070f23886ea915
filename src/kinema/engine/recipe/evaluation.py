"""What is scored, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kinema.engine.recipe.data import DataPlace
from kinema.engine.recipe.trainer import Accelerator
from kinema.wording import check


@dataclass(frozen=True, kw_only=True)
class EvaluationViews:
    """Where to look in each video."""

    num_clips: int = 1
    """Clips along time; their logits are averaged."""
    num_crops: int = 1
    """Crops in space of each clip: 1 is the centre, 3 stand along the long side, 5 in the corners and the centre; 10
    are these and their mirror images, for classes that no mirror changes."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """What is scored, and how."""

    split: Literal["auto", "train", "val", "test", "all"] = "auto"
    """Part of the data; `auto` takes the data's own `val`; or what training held out of this very data; or the data's
    `test`; or all of it."""
    batch_size: int = 8
    """Videos that are loaded at once."""
    accelerator: Accelerator = "auto"
    """Device: `auto` takes a GPU where there is one."""
    data: DataPlace = field(default_factory=DataPlace)
    views: EvaluationViews = field(default_factory=EvaluationViews)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check(self.batch_size >= 1, "batch_size", "be at least 1", self.batch_size, "8 is the default")
        check(
            bool(self.data.root), "data.root", "name the folder of the videos", self.data.root, "add --data.root FOLDER"
        )
