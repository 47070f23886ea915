"""Pixels: from the frames of a view to a normalized clip.

Shapes: T frames, R pictures read for each of them, stack of them seen, C channels of a picture (3, of flow 2), H
height, W width of a picture, S side of the crop that the network sees.
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
from kinema.data.flow.codes import HIGHEST
from kinema.data.views import View
from kinema.spec import FRAME_CHANNELS, ClipSpec

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
    resampled, so such pixels are kept exactly. Differences of frames are taken last, of values in [0, 1]: they lie in
    [-1, 1].

    Args:
        frames: Frames or flow of the view, in its order, those of a stack side by side, uint8 [T*R, H, W, C].
        view: Gives the box and the mirror.
        spec: Gives modality, stack, size, the filter, mean and standard deviation.
        change: What is done in training to the pictures that the network would see, uint8 [T*R, C, S, S].

    Returns:
        The clip [T, stack*C, S, S].

    Raises:
        ValueError: If the frames are not uint8 [T*R, H, W, C].
    """
    channels = FRAME_CHANNELS[spec.modality]
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != channels:
        raise ValueError(
            f"frames must be uint8 [T, H, W, {channels}], got {frames.dtype} {list(frames.shape)}; "
            "they are what a video's frames() returns"
        )
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)  # [T*R, C, H, W]
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
        )  # [T*R, C, S, S]
    if view.mirrored:
        scaled = F.horizontal_flip(scaled)
    if spec.modality == "flow":
        scaled = _turned_flow(scaled, view)
    if change is not None:
        scaled = change(scaled)
    values = F.to_dtype(scaled.contiguous(), torch.float32, scale=True).unflatten(0, (-1, spec.num_read))
    if spec.modality == "rgbdiff":
        values = values.diff(dim=1)  # [T, stack, C, S, S]
    values = F.normalize(values, mean=list(spec.mean), std=list(spec.std), inplace=True)
    return values.flatten(1, 2)  # [T, stack*C, S, S]


def _turned_flow(codes: Tensor, view: View) -> Tensor:
    """Lets codes of flow say what a mirrored or reversed picture does, [T*R, 2, S, S].

    What moved right moves left in a mirrored picture: of x, 255 minus the code, as TSN does it; rest becomes 127.
    Played backwards, both components are so inverted; flow that is computed of reversed frames may differ a little.
    """
    x, y = codes.unbind(dim=1)
    return torch.stack(
        [HIGHEST - x if view.mirrored != view.backwards else x, HIGHEST - y if view.backwards else y], dim=1
    )
