"""Classes of few videos beside classes of many: drawn more often, or weighed more in the loss.

Shapes: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.annotations import Sample
from kinema.data.dataset import label_sets_of, labels_of
from kinema.data.samplers import BalancedSampler
from kinema.wording import check


def count_classes(samples: Sequence[Sample], *, class_names: Sequence[str], multi_label: bool) -> NDArray[np.int64]:
    """Counts the videos of each class [K]; one of several classes counts for each of them."""
    if not multi_label:
        return np.bincount(labels_of(samples, class_names=class_names), minlength=len(class_names))
    labels = [label for labels in label_sets_of(samples, class_names=class_names) for label in labels]
    return np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(class_names))


def inverse_frequency(counts: NDArray[np.int64]) -> Tensor:
    """Weighs classes so that all of them weigh the same in sum, and a label 1 in the mean.

    Args:
        counts: Videos of each class [K].

    Returns:
        The weights [K]; 1 for a class without videos.
    """
    total, present = counts.sum(), (counts > 0).sum()
    weights = np.where(counts > 0, total / (present * np.maximum(counts, 1)), 1.0)
    return torch.from_numpy(weights.astype(np.float32))


def balanced_sampler(
    samples: Sequence[Sample], *, class_names: Sequence[str], multi_label: bool, seed: int
) -> BalancedSampler:
    """Returns an order in which all classes come equally often.

    Raises:
        ValueError: If a video may show several classes.
    """
    check(
        not multi_label,
        "data.balance",
        "be none or loss where a video may show several classes",
        "sampling",
        "to draw one of its classes more often draws the others more often too; weigh them with loss",
    )
    return BalancedSampler(labels_of(samples, class_names=class_names).tolist(), seed=seed)


def describe_balance(balance: Literal["none", "sampling", "loss"], counts: NDArray[np.int64]) -> str | None:
    """Says what makes up for classes of few videos; nothing where nothing does.

    Args:
        balance: As the recipe says.
        counts: Training videos of each class [K].
    """
    if balance == "none":
        return None
    some = counts[counts > 0]
    sizes = f"balance: classes have {some.min()} to {some.max()} training videos"
    if balance == "sampling":
        return f"{sizes}; each is drawn {counts.sum() / len(some):.4g} times an epoch"
    weights = inverse_frequency(some)
    return f"{sizes}; they weigh {weights.max():.3g} to {weights.min():.3g} in the loss"
