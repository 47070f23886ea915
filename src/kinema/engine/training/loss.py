"""The loss of a batch, and the mixing of batches that gives it soft targets.

MixUp: Zhang et al. 2017, arXiv 1710.09412; CutMix: Yun et al. 2019, arXiv 1905.04899; both are torchvision's.

Shapes: N clips, T frames, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.tv_tensors import Video

from kinema.engine.recipe import AugmentRecipe

_MIXING = 1
"""Sets the draws of a batch apart from those of the sample that has its number."""


def mix(
    clips: Tensor, targets: Tensor, *, augment: AugmentRecipe, num_classes: int, key: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Mixes each clip of a batch with its neighbour, as the recipe says, all of them in the same way.

    Args:
        clips: Clips [N, T, C, H, W].
        targets: Labels [N], or soft targets [N, K].
        augment: Says which mixing; with both MixUp and CutMix, a batch has one of them, with equal chance.
        num_classes: K.
        key: The only source of randomness: seed, epoch and number of the batch; torch's own state stays as it is.

    Returns:
        The clips, and soft targets [N, K]; both as they were where the batch is not mixed.
    """
    if not augment.mixes:
        return clips, targets
    rng = np.random.default_rng(np.random.SeedSequence(tuple(key), spawn_key=(_MIXING,)))
    drawn, choice = rng.random(2).tolist()
    if drawn >= augment.mix_chance:
        return clips, targets
    both = augment.mixup and augment.cutmix
    transform: v2.Transform
    if choice < 0.5 if both else augment.mixup:
        transform = v2.MixUp(alpha=augment.mixup, num_classes=num_classes)
    else:
        transform = v2.CutMix(alpha=augment.cutmix, num_classes=num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        mixed, soft = transform(Video(clips), targets)
    return mixed.as_subclass(Tensor), soft


def training_loss(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy.

    Args:
        logits: Logits [N, K].
        targets: Labels [N], or soft targets [N, K].
        smoothing: Part of a target that is spread evenly over all classes.
        weights: Of the classes [K]; each part of a target weighs as its class does. None: all weigh 1.

    Returns:
        The sum over the clips, divided by their number and not by their weights, a scalar: whatever else stands in a
        batch, a clip counts the same.
    """
    if weights is None:
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)
    loss = F.cross_entropy(logits.float(), targets, weight=weights.float(), label_smoothing=smoothing, reduction="sum")
    return loss / len(logits)


def dominant_labels(targets: Tensor) -> Tensor:
    """Labels [N] that have the largest part of targets, which are labels [N] or soft [N, K]."""
    return targets if targets.ndim == 1 else targets.argmax(dim=1)
