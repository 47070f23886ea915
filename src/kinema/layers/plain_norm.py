"""The batch norm of a site, without what its class does after normalizing.

Shapes: C channels.
"""

from __future__ import annotations

from torch import nn


def plain_batch_norm(norm: nn.Module) -> nn.BatchNorm2d:
    """Returns a plain batch norm with the parameters and statistics of one that may go on to an activation.

    Args:
        norm: An nn.BatchNorm2d, or one of its kind such as timm's BatchNormAct2d.

    Returns:
        The norm itself if it is a plain one, else a plain one that holds the same tensors.

    Raises:
        ValueError: If it is no batch norm of 2D features.
    """
    if not isinstance(norm, nn.BatchNorm2d):
        raise ValueError(f"norm must be an nn.BatchNorm2d, got {type(norm).__name__}; choose another site")
    if type(norm) is nn.BatchNorm2d:
        return norm
    plain = nn.BatchNorm2d(
        norm.num_features,
        eps=norm.eps,
        momentum=norm.momentum,
        affine=norm.affine,
        track_running_stats=norm.track_running_stats,
        device="meta",
    )
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(plain, name, getattr(norm, name))
    return plain.train(norm.training)
