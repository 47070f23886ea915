"""Pixels: from the frames of a view to a normalized clip.

Shapes: T frames, stack neighbours at each of them, C channels of a frame (3), H height, W width of a frame, S side of
the crop that the network sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from kinema.data.crops import crop_box
from kinema.data.views import View
from kinema.spec import ClipSpec

_INTERPOLATIONS = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def make_clip(
    frames: np.ndarray[Any, np.dtype[np.uint8]],
    view: View,
    spec: ClipSpec,
    *,
    change: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Crops, scales, mirrors, changes pixels and normalizes; every frame is treated alike.

    Scaling is done on uint8 with antialiasing. A box that is the whole frame and already of the right size is not
    resampled, so such pixels are kept exactly.

    Args:
        frames: Frames of the view, in its order, those of a stack side by side, RGB [T*stack, H, W, 3].
        view: Gives the box and the mirror.
        spec: Gives the stack, the size, the filter, mean and standard deviation.
        change: What is done in training to the frames that the network would see, uint8 [T*stack, 3, S, S].

    Returns:
        The clip [T, stack*3, S, S].

    Raises:
        ValueError: If the frames are not uint8 [T*stack, H, W, 3].
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(
            f"frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}; "
            "they are what a video's frames() returns"
        )
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)  # [T*stack, 3, H, W]
    height, width = pixels.shape[-2:]
    top, left, box_height, box_width = crop_box(view.crop, height=height, width=width)
    if (box_height, box_width) == (height, width) == (spec.crop, spec.crop):
        scaled = pixels
    else:
        scaled = F.resized_crop(
            pixels,
            top=top,
            left=left,
            height=box_height,
            width=box_width,
            size=[spec.crop, spec.crop],
            interpolation=_INTERPOLATIONS[spec.interpolation],
            antialias=True,
        )  # [T*stack, 3, S, S]
    if view.mirrored:
        scaled = F.horizontal_flip(scaled)
    if change is not None:
        scaled = change(scaled)
    values = F.to_dtype(scaled.contiguous(), torch.float32, scale=True)
    values = F.normalize(values, mean=list(spec.mean), std=list(spec.std), inplace=True)
    return values.unflatten(0, (-1, spec.stack)).flatten(1, 2)  # [T, stack*3, S, S]
