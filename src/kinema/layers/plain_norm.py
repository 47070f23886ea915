"""The batch norm of a site, without what its class does after normalizing.

Shapes: C channels.
"""

from __future__ import annotations

from torch import nn

Norm = nn.BatchNorm2d | nn.SyncBatchNorm


def plain_batch_norm(norm: nn.Module, *, channels: int) -> Norm:
    """Returns a plain batch norm with the parameters and statistics of one that may go on to an activation.

    Args:
        norm: An nn.BatchNorm2d or nn.SyncBatchNorm, or one of their kind such as timm's BatchNormAct2d.
        channels: Output channels of the conv before it.

    Returns:
        The norm itself if it is a plain one, else a plain one that holds the same tensors.

    Raises:
        ValueError: If it is no batch norm of 2D features, or one of other channels.
    """
    if not isinstance(norm, Norm):
        raise ValueError(f"norm must be an nn.BatchNorm2d, got {type(norm).__name__}; choose another site")
    if norm.num_features != channels:
        raise ValueError(
            f"norm must have the conv's {channels} channels, got {norm.num_features}; pair a conv with the batch norm "
            "behind it"
        )
    if type(norm) in (nn.BatchNorm2d, nn.SyncBatchNorm):
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


def zero_norm_like(norm: Norm) -> Norm:
    """Returns a batch norm of the same kind and size, whose output starts at zero."""
    new: Norm = type(norm)(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    nn.init.zeros_(new.weight)
    return new
