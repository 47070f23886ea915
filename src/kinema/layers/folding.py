"""Clips outside, frames inside: the only two functions that convert between them.

Shapes: N clips, T frames.
"""

from __future__ import annotations

from torch import Tensor


def fold_time(x: Tensor) -> Tensor:
    """Lays the frames of all clips in the batch axis, the frames of one clip side by side.

    Args:
        x: Clips [N, T, ...].

    Returns:
        Frames [N*T, ...].
    """
    return x.flatten(0, 1)


def unfold_time(x: Tensor, num_frames: int) -> Tensor:
    """Undoes `fold_time`.

    Args:
        x: Frames [N*T, ...].
        num_frames: Frames T of a clip.

    Returns:
        Clips [N, T, ...].

    Raises:
        ValueError: If the batch is not a whole number of clips.
    """
    if x.shape[0] % num_frames != 0:
        raise ValueError(
            f"the batch of frames must be a multiple of num_frames {num_frames}, got {x.shape[0]}; "
            "fold clips of that many frames, or tell the model with model.set_num_frames"
        )
    return x.unflatten(0, (x.shape[0] // num_frames, num_frames))
