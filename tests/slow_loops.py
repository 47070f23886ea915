"""Convolutions as their definitions say, one product at a time."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor, nn


def conv3d_slowly(x: Tensor, weight: Tensor, conv: nn.Conv2d, *, causal: bool) -> Tensor:
    """Convolves clips [N, T, Ci, H, W] with [Co, Ci / g, kT, kH, kW], in space as conv does, in time with stride 1."""
    out_channels, width, num_taps, size_h, size_w = weight.shape
    (step_h, step_w), (pad_h, pad_w), (dil_h, dil_w) = conv.stride, conv.padding, conv.dilation
    n_clips, n_frames, _, height, width_in = x.shape
    out_h = (height + 2 * pad_h - dil_h * (size_h - 1) - 1) // step_h + 1
    out_w = (width_in + 2 * pad_w - dil_w * (size_w - 1) - 1) // step_w + 1
    first = 1 - num_taps if causal else -(num_taps // 2)
    clips, kernels = x.movedim(0, -1).numpy(), weight.tolist()  # [T, Ci, H, W, N]
    y = np.zeros((n_clips, n_frames, out_channels, out_h, out_w))
    for o, i, k, a, b in product(range(out_channels), range(width), range(num_taps), range(size_h), range(size_w)):
        channel = o // (out_channels // conv.groups) * width + i
        for t, row, column in product(range(n_frames), range(out_h), range(out_w)):
            place = (t + first + k, row * step_h - pad_h + a * dil_h, column * step_w - pad_w + b * dil_w)
            if all(0 <= at < length for at, length in zip(place, (n_frames, height, width_in), strict=True)):
                y[:, t, o, row, column] += kernels[o][i][k][a][b] * clips[place[0], channel, place[1], place[2]]
    return torch.from_numpy(y)


def conv2d_slowly(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Convolves each frame of clips [N, T, Ci, H, W], bias included."""
    y = conv3d_slowly(x, conv.weight.detach().unsqueeze(2), conv, causal=False)
    return y if conv.bias is None else y + conv.bias.detach().view(-1, 1, 1)


def normalized_slowly(x: Tensor, norm: nn.BatchNorm2d | nn.BatchNorm1d, *, axis: int) -> Tensor:
    """Runs a batch norm in evaluation over the channels at one axis."""
    shape = [-1 if number == axis else 1 for number in range(x.ndim)]
    mean, var, weight, bias = (
        tensor.detach().view(shape) for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (var + norm.eps).sqrt() * weight + bias
