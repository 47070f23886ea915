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
    nesterov: bool = False
    """Whether the momentum of `sgd` looks ahead."""
    weight_decay: float = 0.05
    """Weight decay."""
    decay: Literal["weights", "all"] = "weights"
    """What decays: `weights`, without biases, norms, other vectors and what a network's authors except, or `all`."""
    bias_rate: float = 1.0
    """Learning rate of biases, as a multiple; 2 in TSN's recipe. Norms have a rate of 1."""
    head_rate: float = 1.0
    """Learning rate of the head, as a multiple; 5 in TSN's recipe, where its bias has `bias_rate` times that."""
    first_conv_rate: float = 1.0
    """Learning rate of the first conv, as a multiple; 5 for flow in TSN's recipe. Its bias as that of the head."""
    temporal_rate: float = 1.0
    """Learning rate of what temporal layers add to the backbone, as a multiple. What they keep or make of its weights
    moves like the backbone."""
    layer_decay: float = 1.0
    """Learning rate of a stage of the backbone as a multiple of that of the next one, and behind the last of that of
    the head: below 1, early stages move less. 0.75 is usual for fine-tuning. What temporal layers add is left out."""
    trainable: Literal["all", "temporal", "head"] = "all"
    """What is trained: `all`, the `temporal` layers and the head on a backbone that stays as it is with its batch
    norms, or the `head` alone (a linear probe)."""
    reference_batch: int | None = None
    """Clips of a step that `learning_rate` is meant for. Where a step has another number of clips, over all processes
    and accumulated batches, the rate is scaled in proportion, and printed. Null: the rate is taken as it is."""
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    """Learning rate after the warm-up: `cosine` down to 0, `constant`, or `steps` down at the milestones."""
    warmup_epochs: float | None = None
    """Epochs in which the rate climbs to its peak; null: a twentieth of all."""
    warmup_start: float = 0.01
    """Learning rate at which the warm-up begins, as a part of the peak."""
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
        check(
            not self.nesterov or self.name == "sgd",
            "optimizer.nesterov",
            "be left out unless name is 'sgd'",
            True,
            "drop it",
        )
        ahead = not self.nesterov or self.momentum > 0
        check(ahead, "optimizer.momentum", "be above 0 for nesterov", self.momentum, "0.9 is usual")
        for name in ("bias_rate", "head_rate", "first_conv_rate", "temporal_rate"):
            value = getattr(self, name)
            check(0 < value < math.inf, f"optimizer.{name}", "be positive", value, "1 leaves the rate as it is")
        check(0 < self.layer_decay <= 1, "optimizer.layer_decay", "lie in (0, 1]", self.layer_decay, "0.75 is usual")
        batch = self.reference_batch
        check(batch is None or batch >= 1, "optimizer.reference_batch", "be at least 1", batch, "64 is the papers'")
        self._check_schedule()

    def _check_schedule(self) -> None:
        """Checks the schedule of the rate."""
        start = self.warmup_start
        check(0 < start <= 1, "optimizer.warmup_start", "lie in (0, 1]", start, "0.01 is the default")
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
