"""Which convs have a hybrid, and which of its basic kernels are temporal: the arrangements of STH's figures 2 and 3.

Shapes: Ci input and Co output channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class KernelType:
    """One type of hybrid kernel: how many output channels have it, and which input channels it sees in which way."""

    outputs: int
    temporal: tuple[int, ...]
    spatial: tuple[int, ...]


def temporal_mask(out_channels: int, in_channels: int, *, fraction: float) -> Tensor:
    """Tells which basic kernels of the hybrid arrangement are temporal (figure 2).

    Args:
        out_channels: Output channels Co.
        in_channels: Input channels Ci.
        fraction: Share p of temporal kernels.

    Returns:
        True where output channel o sees input channel i through time [Co, Ci].

    Raises:
        ValueError: If fraction is outside (0, 1/2], or leaves a type without a channel.
    """
    if not 0.0 < fraction <= 0.5:
        raise ValueError(f"fraction must lie above 0 and at most at 1/2, got {fraction}; 1/4 is the paper's")
    num_types = math.ceil(1.0 / fraction - 1e-6)
    if fraction * in_channels < 1.0 or out_channels < num_types:
        raise ValueError(
            f"fraction must give each kernel type an input and an output channel, got {fraction} for {in_channels} "
            f"and {out_channels} channels; take a larger fraction"
        )
    outputs = _edges(out_channels, share=1.0 / num_types, count=num_types)
    inputs = _edges(in_channels, share=fraction, count=num_types)
    mask = torch.zeros(out_channels, in_channels, dtype=torch.bool, device="cpu")
    for kind in range(num_types):
        columns = [channel % in_channels for channel in range(inputs[kind], inputs[kind + 1])]
        mask[outputs[kind] : outputs[kind + 1], columns] = True
    return mask


def _edges(channels: int, *, share: float, count: int) -> list[int]:
    """Returns where each of the slices begins and the last one ends."""
    return [math.floor(kind * share * channels + 0.5) for kind in range(count + 1)]


def kernel_types(mask: Tensor) -> list[KernelType]:
    """Groups the rows of a mask [Co, Ci] that are equal, in order."""
    rows = [tuple(row) for row in mask.tolist()]
    return [
        KernelType(
            outputs=len(list(equal)),
            temporal=tuple(channel for channel, here in enumerate(row) if here),
            spatial=tuple(channel for channel, here in enumerate(row) if not here),
        )
        for row, equal in groupby(rows)
    ]


def checked_conv(conv: nn.Module) -> nn.Conv2d:
    """Returns conv if a hybrid of it is defined.

    Raises:
        ValueError: If it is no plain Conv2d, or has groups or a padding other than zeros.
    """
    if type(conv) is not nn.Conv2d:
        raise ValueError(f"conv must be an nn.Conv2d, got {type(conv).__name__}; choose another site")
    if conv.groups != 1:
        raise ValueError(f"conv must have groups=1, got {conv.groups}; grouped convs have no hybrid yet")
    if conv.padding_mode != "zeros":
        raise ValueError(f"conv must be padded with zeros, got padding_mode {conv.padding_mode!r}; choose another site")
    return conv


def padding_of(conv: nn.Conv2d) -> tuple[int, ...]:
    """Returns the padding in numbers, which torch also gives as a word.

    Raises:
        ValueError: If the word asks for a different padding on two sides.
    """
    if not isinstance(conv.padding, str):
        return conv.padding
    total = [dilation * (size - 1) for dilation, size in zip(conv.dilation, conv.kernel_size, strict=True)]
    if conv.padding == "valid":
        return tuple(0 for _ in total)
    if any(number % 2 for number in total):
        raise ValueError(
            f"conv must have an odd kernel when padded 'same', got {conv.kernel_size}; choose another site"
        )
    return tuple(number // 2 for number in total)
