"""Convolutions as their definitions say, number by number, for tests that hold layers against them."""

from __future__ import annotations

from itertools import product

import numpy as np
from torch import Tensor, nn


def conv_by_loops(x: np.ndarray, weight: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """Convolves frames [B, C, H, W] with a weight [C', C / groups, kH, kW], all else being as in conv."""
    (stride_h, stride_w), (pad_h, pad_w), (step_h, step_w) = conv.stride, conv.padding, conv.dilation
    outputs, inputs, size_h, size_w = weight.shape
    batch, _, height, width = x.shape
    out_h = (height + 2 * pad_h - step_h * (size_h - 1) - 1) // stride_h + 1
    out_w = (width + 2 * pad_w - step_w * (size_w - 1) - 1) // stride_w + 1
    y = np.zeros((batch, outputs, out_h, out_w))
    for o, i, j in product(range(outputs), range(out_h), range(out_w)):
        first = o // (outputs // conv.groups) * inputs  # first channel of its group
        for c, a, b in product(range(inputs), range(size_h), range(size_w)):
            row, column = i * stride_h - pad_h + a * step_h, j * stride_w - pad_w + b * step_w
            if 0 <= row < height and 0 <= column < width:
                y[:, o, i, j] += weight[o, c, a, b] * x[:, first + c, row, column]
        y[:, o, i, j] += 0.0 if conv.bias is None else conv.bias[o].item()
    return y


def taps_by_loops(x: np.ndarray, taps: np.ndarray, *, axis: int, causal: bool = False) -> np.ndarray:
    """Weights each channel's neighbours along an axis of x [N, T, C, H, W] by taps [C, K]."""
    y = np.zeros_like(x)
    size = taps.shape[1]
    x, y_moved = np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0)
    channels = {1: 2, 3: 3, 4: 3}[axis]  # where the channels are now
    for place, k in product(range(len(x)), range(size)):
        source = place + k - (size - 1 if causal else size // 2)
        if 0 <= source < len(x):
            shape = [-1 if position == channels else 1 for position in range(1, 5)]
            y_moved[place] += x[source] * taps[:, k].reshape(shape)
    return y


def array(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor."""
    return tensor.detach().double().numpy()
