"""The share that each batch has in the step of several: as if they were one large batch."""

from __future__ import annotations


def share_of_step(batch_idx: int, *, num_clips: int, batch_size: int, accumulate: int) -> float:
    """Returns the factor of a batch's mean loss that makes the gradient of a step the mean over all its clips.

    Lightning divides each batch's loss by `accumulate` and adds the gradients up. Where an epoch's last step has fewer
    batches, or its last batch has fewer clips, that would be no mean: the step would be too short, and the clips of a
    small batch would count more than others.

    Args:
        batch_idx: Number of the batch in the epoch.
        num_clips: Clips of an epoch.
        batch_size: Clips of a full batch, over all processes.
        accumulate: Batches of a full step.

    Returns:
        1 in a full step, else `accumulate` times the batch's part of the step's clips.
    """
    first = batch_idx - batch_idx % accumulate
    in_step = min(num_clips - first * batch_size, accumulate * batch_size)
    in_batch = min(num_clips - batch_idx * batch_size, batch_size)
    return accumulate * in_batch / in_step
