"""All numbers of a run in one strict tree: filled from YAML and flags, kept beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from kinema.engine.recipe.augment import AugmentRecipe
from kinema.engine.recipe.clip import ClipRecipe
from kinema.engine.recipe.data import DataRecipe
from kinema.engine.recipe.model import ModelRecipe
from kinema.engine.recipe.optimizer import OptimizerRecipe
from kinema.engine.recipe.trainer import TrainerRecipe
from kinema.wording import check


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All numbers of a run."""

    seed: int = 0
    """Seed of the split, the initial weights, the order of the videos and the views."""
    out: str = "runs/train"
    """Folder for weights, checkpoints, logs and the full recipe."""
    data: DataRecipe = field(default_factory=DataRecipe)
    clip: ClipRecipe = field(default_factory=ClipRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    trainer: TrainerRecipe = field(default_factory=TrainerRecipe)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check(0 <= self.seed < 2**32, "seed", "lie in [0, 2**32)", self.seed, "0 is the default")
        check(bool(self.out), "out", "name a folder", self.out, "runs/train is the default")
        if self.trainer.batch_size != "auto":
            self.augment.check_batch(self.trainer.batch_size)
        side, rule = self.data.cache_short_side, f"be at least clip.crop ({self.clip.crop})"
        check(side is None or side >= self.clip.crop, "data.cache_short_side", rule, side, "twice the crop is ample")
        balanced, repeats = self.data.balance == "sampling", self.augment.repeats
        rule, advice = "be 1 where data.balance is sampling", "balance with loss, or repeat no clips"
        check(not balanced or repeats == 1, "augment.repeats", rule, repeats, advice)
