"""Optical flow in 8 bits: how far a pixel moves in a frame, as a code.

A code is round((v + bound) * 255 / (2 bound)) of a velocity v that is cut to [-bound, bound], as the field stores flow
since TSN (Wang et al. 2016, arXiv 1608.00859): rest is 128, half a step above the middle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIGHEST = 255


def encode_flow(flow: NDArray[np.floating], *, bound: float) -> NDArray[np.uint8]:
    """Turns velocities into codes.

    Args:
        flow: Pixels per frame, of any shape.
        bound: Velocity that is cut off, positive.

    Returns:
        Codes of the same shape; ties go to the even code.
    """
    cut = np.clip(flow.astype(np.float64), -bound, bound)
    return np.rint((cut + bound) * HIGHEST / (2.0 * bound)).astype(np.uint8)
