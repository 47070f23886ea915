"""Convolutions as their definitions say, number by number, for tests that hold layers against them."""

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


def gates_slowly(x: Tensor, norm: nn.BatchNorm2d, kernels: Tensor, bias: Tensor, *, causal: bool) -> Tensor:
    """GSM's gates of clips [N, T, F, H, W], a plane for each half [N, T, 2, H, W]; kernels [2, F / 2, 3, 3, 3]."""
    frame = nn.Conv2d(x.shape[2], 2, 3, padding=1, groups=2)
    logits = conv3d_slowly(normalized_slowly(x, norm, axis=2).clamp(min=0), kernels.detach(), frame, causal=causal)
    return (logits + bias.detach().view(2, 1, 1)).tanh()


def conv_by_loops(x: np.ndarray, weight: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """Convolves frames [B, C, H, W] with a weight [C', C / groups, kH, kW], all else being as in conv."""
    kernels = torch.from_numpy(weight).unsqueeze(2)
    y = conv3d_slowly(torch.from_numpy(x).unsqueeze(0), kernels, conv, causal=False)[0].numpy()
    return y if conv.bias is None else y + array(conv.bias).reshape(-1, 1, 1)


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
