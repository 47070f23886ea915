"""How long a run is, and on what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.wording import check

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "64-true"]
Accelerator = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, kw_only=True)
class TrainerRecipe:
    """How long, and on what."""

    epochs: int | None = None
    """Times that every training video is seen; null: as many as `min_steps` asks for, 10 at least."""
    min_steps: int | None = None
    """Optimization steps that a run has at least where `epochs` is null: little data is seen more often. Null: 300 from
    learned weights, 900 from random ones."""
    batch_size: int = 8
    """Clips of one step of the loader."""
    accumulate: int = 1
    """Batches whose gradients are added up before the weights move."""
    clip_norm: float | None = 5.0
    """Largest norm of the gradient; null: no limit."""
    precision: Precision | Literal["auto"] = "auto"
    """Arithmetic of training; `auto`: bfloat16 where the device computes in it, else 32 bits. Evaluation always runs in
    the weights' own precision."""
    accelerator: Accelerator = "auto"
    """Device: `auto` takes a GPU where there is one."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("min_steps", "batch_size", "accumulate"):
            number = getattr(self, name)
            check(
                number is None or number >= 1,
                f"trainer.{name}",
                "be at least 1",
                number,
                "leave it out for the default",
            )
        epochs, norm = self.epochs, self.clip_norm
        check(epochs is None or epochs >= 1, "trainer.epochs", "be at least 1", epochs, "null picks by the data's size")
        check(norm is None or norm > 0, "trainer.clip_norm", "be positive", norm, "null takes the limit away")
