"""Means over the frames so far, for layers that average a clip and must not look ahead.

Shapes: N clips, T frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def past_means(values: Tensor, *, horizon: int) -> Tensor:
    """Averages each frame with those before it.

    Args:
        values: One or more values a frame [N, T, ...].
        horizon: Frames that are averaged at most, this one included.

    Returns:
        Means [N, T, ...], in 32 bits at least.
    """
    num_frames = values.shape[1]
    sums = values.cumsum(dim=1, dtype=torch.promote_types(values.dtype, torch.float32))
    if horizon < num_frames:
        sums = sums - F.pad(sums, (0, 0) * (sums.ndim - 2) + (horizon, -horizon))
    count = torch.arange(1, num_frames + 1, device=values.device).clamp(max=horizon)
    return sums / count.view(-1, *(1,) * (sums.ndim - 2))


def next_mean(value: Tensor, past: Tensor | None, *, horizon: int) -> tuple[Tensor, Tensor]:
    """Averages one more frame with those before it, as `past_means` does whole clips.

    Args:
        value: Of the next frame [N, ...].
        past: What the last call returned; None at the first frame.
        horizon: Frames that are averaged at most, this one included.

    Returns:
        The mean [N, ...], in 32 bits at least, and the values of the frames that the next one may still see.
    """
    value = value.to(torch.promote_types(value.dtype, torch.float32)).unsqueeze(1)
    values = value if past is None else torch.cat([past, value], dim=1)[:, -horizon:]
    return values.mean(dim=1), values


def check_horizon(horizon: int | None, *, causal: bool) -> None:
    """Refuses a horizon that cannot be.

    Raises:
        ValueError: If it is below 1, or the layer is not causal and averages whole clips.
    """
    if horizon is not None and (horizon < 1 or not causal):
        rule = "be at least 1" if causal else "be left out where causal=False, as whole clips are averaged"
        raise ValueError(f"horizon must {rule}, got {horizon}; left out, it is num_frames")
