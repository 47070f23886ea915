"""Pictures of clips: the frames that a network saw, in a row."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor

from kinema.spec import ClipSpec


def clip_frames(clip: Tensor, *, spec: ClipSpec) -> np.ndarray:
    """Undoes the normalization: [T, C, H, W] float becomes [T, H, W, 3] uint8.

    Args:
        clip: One normalized clip [T, C, H, W] of RGB frames; where neighbours are stacked, the sampled ones are shown.
        spec: What the clip was made by.
    """
    sampled = clip.unflatten(1, (spec.stack, -1))[:, spec.stack // 2]  # [T, 3, H, W]
    mean = clip.new_tensor(spec.mean)[:, None, None]
    std = clip.new_tensor(spec.std)[:, None, None]
    frames = ((sampled * std + mean) * 255.0).round().clamp(0.0, 255.0)
    return frames.byte().permute(0, 2, 3, 1).cpu().numpy()


def film_strip(frames: np.ndarray, *, height: int = 96, gap: int = 3) -> str:
    """Lays frames side by side and returns the picture as a data URI.

    Args:
        frames: [T, H, W, 3] uint8.
        height: Height in pixels that taller frames are scaled down to.
        gap: Transparent pixels between frames.
    """
    pictures = [_shrink(Image.fromarray(frame), height=height) for frame in frames]
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    strip = Image.new("RGBA", (width, pictures[0].height))
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + gap
    buffer = io.BytesIO()
    strip.save(buffer, format="WEBP", quality=88, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _shrink(picture: Image.Image, *, height: int) -> Image.Image:
    if picture.height <= height:
        return picture
    return picture.resize((max(1, round(picture.width * height / picture.height)), height), Image.Resampling.LANCZOS)
