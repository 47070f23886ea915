"""The numbers of the demo; imports nothing heavy, since the command line reads it for its help."""

from __future__ import annotations

from dataclasses import dataclass, fields
from shlex import quote
from typing import Literal

from kinema.data.motion.dataset import MotionConfig
from kinema.engine.recipe import (
    AugmentRecipe,
    ClipRecipe,
    DataRecipe,
    ModelRecipe,
    OptimizerRecipe,
    Precision,
    Recipe,
    TrainerRecipe,
)

NETWORKS = {"none": "TSN", "tsm": "TSM", "sth": "STH"}
"""Temporal layer -> the network's name in the literature; the first is blind to order."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What the demo makes, trains and writes.

    Raises:
        ValueError: If a number is out of its range.
    """

    out: str = "runs/demo"
    """Folder for the dataset, the three runs, the report and the results."""
    seed: int = 0
    """Seed of the dataset, the initial weights, the order of the clips and their views."""
    num_train: int = 1024
    """Training clips, a multiple of 8."""
    num_val: int = 256
    """Validation clips, a multiple of 8; half of them are the other half, played in reverse."""
    frame_size: int = 64
    """Height and width of the frames in the files, in pixels."""
    crop: int = 32
    """Side, in pixels, that the frames are scaled to for the networks."""
    num_frames: int = 8
    """Frames T of a clip that a network sees; at least 3."""
    backbone: str = "test_resnet"
    """The 2D network, by its timm name; it starts from random weights."""
    epochs: int = 8
    """Times that every training clip is seen."""
    batch_size: int = 16
    """Clips of one training step."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW."""
    precision: Precision | Literal["auto"] = "auto"
    """Arithmetic of training; `auto`: bfloat16 where the processor computes in it, else 32 bits."""

    def __post_init__(self) -> None:
        """Checks what nothing else would check before the work begins."""
        if self.num_frames < 3:
            raise ValueError(
                f"num_frames must be at least 3, got {self.num_frames}; fewer cannot be shuffled: 8 is the default"
            )

    @property
    def command(self) -> str:
        """The command line that gives this configuration."""
        changed = [
            f"--{field.name} {quote(str(getattr(self, field.name)))}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return " ".join(["kinema demo", *changed])

    def motion(self) -> MotionConfig:
        """Returns what the dataset is made of."""
        return MotionConfig(num_train=self.num_train, num_val=self.num_val, frame_size=self.frame_size, seed=self.seed)

    def recipe(self, temporal: str) -> Recipe:
        """Returns the recipe of one network.

        Args:
            temporal: Its temporal layer; all else is equal.
        """
        return Recipe(
            seed=self.seed,
            out=f"{self.out}/{temporal}",
            data=DataRecipe(root=f"{self.out}/data"),
            clip=ClipRecipe(num_frames=self.num_frames, resize=self.crop, crop=self.crop),
            augment=AugmentRecipe(min_scale=1, min_aspect=1, max_aspect=1, mirror=0),
            model=ModelRecipe(backbone=self.backbone, temporal=temporal, pretrained=False),
            optimizer=OptimizerRecipe(name="adamw", learning_rate=self.learning_rate),
            trainer=TrainerRecipe(epochs=self.epochs, batch_size=self.batch_size, precision=self.precision),
        )
