"""Which basic kernels of a conv are temporal: the arrangements of STH's figures 2 and 3, and of grouped convs.

Shapes: Ci input and Co output channels, in M conv groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

import torch
from torch import Tensor

ArrangementName = Literal["hybrid", "merge"]


@dataclass(frozen=True)
class Piece:
    """A smaller conv, all of whose kernels are of one kind."""

    outputs: tuple[int, ...]
    """Output channels that it makes."""
    inputs: tuple[int, ...]
    """Input channels that it sees."""
    groups: int
    """Its own conv groups."""
    rows: slice
    """Its kernels among those of one unit, output channel by output channel."""
    units: int
    """How many times the same rows come again among all kernels of the kind."""

    def cut(self, kernels: Tensor) -> Tensor:
        """Views its kernels in many sets of those of a conv without groups [..., kernels]: [..., outputs, inputs]."""
        return kernels[..., self.rows].unflatten(-1, (len(self.outputs), len(self.inputs)))

    def weight(self, kernels: Tensor) -> Tensor:
        """Cuts its weight out of all kernels of its kind [kernels, ...]: [outputs, inputs / groups, ...]."""
        own = kernels.unflatten(0, (self.units, -1))[:, self.rows]
        return own.reshape(len(self.outputs), len(self.inputs) // self.groups, *kernels.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """Who is temporal in a conv, as a table and as smaller convs."""

    mask: Tensor
    """True where output channel o sees its group's input channel i through time [Co, Ci / M]."""
    temporal: tuple[Piece, ...]
    """The smaller convs through time, which together are O_T."""
    spatial: tuple[Piece, ...]
    """The smaller convs through space, which together are O_S."""

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """Where temporal and spatial kernels stand among all [kernels of the kind]."""
        temporal = self.mask.flatten()
        return temporal.nonzero()[:, 0], (~temporal).nonzero()[:, 0]


def arrange(
    *, in_channels: int, out_channels: int, groups: int = 1, fraction: float, arrangement: str = "hybrid"
) -> Arrangement:
    """Decides which basic kernels of a conv are temporal.

    The paper names MobileNet, but does not say how convs with groups are mixed. Our reading: each conv group is mixed
    inside itself, as a conv of its own; in a depthwise conv, whose groups have one input channel, whole channels are
    temporal, spread evenly over all channels ("hybrid") or the first ones ("merge").

    Args:
        in_channels: Input channels of the conv.
        out_channels: Output channels of the conv.
        groups: Its conv groups.
        fraction: Share p of temporal kernels.
        arrangement: `hybrid` (figure 3a) or `merge` (figure 3b).

    Returns:
        The arrangement.

    Raises:
        ValueError: If the arrangement is unknown, or fraction is outside (0, 1/2] or leaves a type without a channel.
    """
    if arrangement not in get_args(ArrangementName):
        raise ValueError(f"arrangement must be hybrid or merge, got {arrangement!r}; hybrid is the paper's default")
    if not 0.0 < fraction <= 0.5:
        raise ValueError(f"fraction must lie above 0 and at most at 1/2, got {fraction}; 1/4 is the paper's")
    if in_channels == groups and groups > 1:
        return _depthwise(in_channels, out_channels // groups, fraction, spread=arrangement == "hybrid")
    mask = temporal_mask(out_channels // groups, in_channels // groups, fraction=fraction, arrangement=arrangement)
    return Arrangement(mask=mask.repeat(groups, 1), temporal=_pieces(mask, groups), spatial=_pieces(~mask, groups))


def temporal_mask(out_channels: int, in_channels: int, *, fraction: float, arrangement: str = "hybrid") -> Tensor:
    """Tells which basic kernels of one conv group are temporal (figure 2).

    Args:
        out_channels: Output channels of the group.
        in_channels: Input channels of the group.
        fraction: Share p of temporal kernels.
        arrangement: `hybrid` or `merge`.

    Returns:
        True where output channel o sees input channel i through time [out_channels, in_channels].

    Raises:
        ValueError: If fraction leaves a type without a channel.
    """
    num_types = math.ceil(1.0 / fraction - 1e-6) if arrangement == "hybrid" else 1
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


def run_pieces(
    pieces: Sequence[Piece],
    conv: Callable[[Tensor, Tensor, int], Tensor],
    x: Tensor,
    kernels: Tensor,
    *,
    out_channels: int,
) -> Tensor:
    """Runs each piece on its own channels and lays what they make in the order of the output channels.

    Args:
        pieces: The pieces of one kind.
        conv: Takes input, weight and conv groups.
        x: Input [B, Ci, ...].
        kernels: All kernels of the kind [kernels, ...].
        out_channels: Output channels Co.

    Returns:
        Output [B', Co, ...], zero where no piece makes any.
    """
    made = [
        conv(x.index_select(1, torch.tensor(piece.inputs, device=x.device)), piece.weight(kernels), piece.groups)
        for piece in pieces
    ]
    y = torch.cat(made, dim=1)
    order = [channel for piece in pieces for channel in piece.outputs]
    if order == list(range(out_channels)):
        return y
    zeros = y.new_zeros(y.shape[0], out_channels, *y.shape[2:])
    return zeros.index_copy(1, torch.tensor(order, device=y.device), y)


def _edges(channels: int, *, share: float, count: int) -> list[int]:
    """Returns where each of the slices begins and the last one ends."""
    return [math.floor(kind * share * channels + 0.5) for kind in range(count + 1)]


def _pieces(mask: Tensor, groups: int) -> tuple[Piece, ...]:
    """Makes one piece of each run of equal rows of a group's mask [outputs, inputs], over all groups."""
    num_outputs, num_inputs = mask.shape
    pieces: list[Piece] = []
    output = row = 0
    for seen, equal in groupby([tuple(line.nonzero()[:, 0].tolist()) for line in mask]):
        count = len(list(equal))
        pieces.append(
            Piece(
                outputs=tuple(group * num_outputs + output + o for group in range(groups) for o in range(count)),
                inputs=tuple(group * num_inputs + channel for group in range(groups) for channel in seen),
                groups=groups,
                rows=slice(row, row + count * len(seen)),
                units=groups,
            )
        )
        output, row = output + count, row + count * len(seen)
    return tuple(pieces)


def _depthwise(channels: int, multiplier: int, fraction: float, *, spread: bool) -> Arrangement:
    """Arranges a conv whose groups have one input channel and `multiplier` output channels each."""
    count = math.floor(fraction * channels + 0.5)
    if count == 0:
        raise ValueError(
            f"fraction must give a depthwise conv a temporal channel, got {fraction} of {channels}; "
            "take a larger fraction"
        )
    chosen = torch.zeros(channels, dtype=torch.bool, device="cpu")
    chosen[[math.floor(number / fraction + 1e-6) if spread else number for number in range(count)]] = True

    def piece(here: Tensor) -> tuple[Piece, ...]:
        inputs = tuple(here.nonzero()[:, 0].tolist())
        outputs = tuple(channel * multiplier + copy for channel in inputs for copy in range(multiplier))
        return (Piece(outputs=outputs, inputs=inputs, groups=len(inputs), rows=slice(len(outputs)), units=1),)

    mask = chosen.repeat_interleave(multiplier)[:, None]  # [Co, 1]
    return Arrangement(mask=mask, temporal=piece(chosen), spatial=piece(~chosen))
