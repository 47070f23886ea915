"""Videos that may show several classes: each class is a question of its own, yes or no.

Shapes: N videos or clips, K classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_average_precision


def multi_label_loss(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy, the mean over clips and classes.

    Args:
        logits: Of each class [N, K].
        targets: Whether a clip shows it, 1 or 0, or between where clips are mixed [N, K].
        smoothing: By how much a target moves from 0 and 1 towards 1/2.
        weights: How much a class that is shown weighs [K]; one that is not shown weighs 1.

    Returns:
        The loss [].
    """
    soft = targets.float() * (1 - smoothing) + smoothing / 2
    pos_weight = None if weights is None else weights.float()
    return F.binary_cross_entropy_with_logits(logits.float(), soft, pos_weight=pos_weight)


def average_precisions(probabilities: Tensor, targets: Tensor) -> tuple[float | None, ...]:
    """How well each class ranks the videos: the mean of the precision at each of its videos.

    Args:
        probabilities: Of each class [N, K].
        targets: Whether a video shows it [N, K].

    Returns:
        The average precision of each class; none for one that no video shows.
    """
    return tuple(
        binary_average_precision(scores, shown.long()).item() if shown.any() else None
        for scores, shown in zip(probabilities.T, targets.T, strict=True)
    )


def mean_known(values: tuple[float | None, ...]) -> float:
    """Mean of those that are known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known)
