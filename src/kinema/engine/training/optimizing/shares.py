"""A step of several processes: what the clips of each weigh in it, and what one does that has none.

Shapes: N clips, T frames, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kinema.engine.processes.ranks import add_up, gather, num_ranks
from kinema.engine.training.unreadable import ERRORS, UnreadableVideos
from kinema.models.classifier import VideoClassifier
from kinema.models.modes import evaluation_mode


def clips_of_step(batch: Mapping[str, Any], unreadable: UnreadableVideos | None) -> int:
    """Returns the clips that all processes have in a step, and notes the videos that none of them could read.

    Raises:
        VideoError: If too many videos cannot be read.
    """
    errors: dict[int, str] = batch.get(ERRORS, {})
    num_clips, num_errors = add_up([len(batch["clip"]) if "clip" in batch else 0, len(errors)])
    if unreadable is not None:
        parts = gather(errors) if num_errors else []
        unreadable.note({ERRORS: {index: reason for part in parts for index, reason in part.items()}})
    return num_clips


def share_of(num_own: int, num_clips: int) -> float:
    """What the mean loss of own clips is multiplied with, so that the mean over processes is that over all clips."""
    return num_own * num_ranks() / num_clips


def idle_loss(model: VideoClassifier) -> Tensor:
    """Loss without a gradient, for a process that has no clip in a step: the others wait for its backward pass.

    A clip of the mean colour runs through the network, in evaluation mode so that it leaves no statistics behind; only
    batch norm over all processes has to wait for it, and counts it.
    """
    config, weight = model.config, next(model.parameters())
    shape = (1, config.num_frames, config.in_channels, model.spec.crop, model.spec.crop)
    clip = torch.zeros(shape, device=weight.device, dtype=weight.dtype)
    if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        return model(clip).float().sum() * 0
    with evaluation_mode(model):
        return model(clip).float().sum() * 0
