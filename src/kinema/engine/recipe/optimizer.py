"""How the weights move."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from kinema.wording import check


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """How the weights move."""

    name: Literal["adamw", "sgd"] = "adamw"
    """Optimizer: `adamw` or `sgd`."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of `sgd`; first beta of `adamw`."""
    weight_decay: float = 0.05
    """Weight decay; biases and batch norm have none."""
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    """Learning rate after the warm-up: `cosine` down to 0, `constant`, or `steps` down at the milestones."""
    warmup_epochs: float | None = None
    """Epochs in which the rate climbs to its peak; null: a twentieth of all."""
    milestones: list[float] = field(default_factory=list)
    """Epochs at which the schedule `steps` multiplies the rate by `gamma`."""
    gamma: float = 0.1
    """Factor of the schedule `steps`."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        rate = self.learning_rate
        check(0 < rate < math.inf, "optimizer.learning_rate", "be positive", rate, "1e-3 suits adamw, 1e-2 sgd")
        check(0 <= self.momentum < 1, "optimizer.momentum", "lie in [0, 1)", self.momentum, "0.9 is usual")
        check(self.weight_decay >= 0, "optimizer.weight_decay", "be 0 or more", self.weight_decay, "0.05 suits adamw")
        warmup = self.warmup_epochs
        check(warmup is None or warmup >= 0, "optimizer.warmup_epochs", "be 0 or more", warmup, "null takes 5 %")
        check(0 < self.gamma <= 1, "optimizer.gamma", "lie in (0, 1]", self.gamma, "0.1 is usual")
        check(
            self.schedule != "steps" or bool(self.milestones),
            "optimizer.milestones",
            "name at least one epoch for the schedule 'steps'",
            self.milestones,
            "for 50 epochs, [20, 40] is usual",
        )
        idle = self.schedule != "steps" and bool(self.milestones)
        check(not idle, "optimizer.milestones", "be left out unless schedule is 'steps'", self.milestones, "drop them")
