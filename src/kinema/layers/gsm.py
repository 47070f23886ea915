"""GSM, the gate-shift module: a learned gate decides which part of each feature moves to a neighbouring frame.

Gate-Shift Networks for Video Action Recognition, CVPR 2020, https://arxiv.org/abs/1912.00381

Shapes: N clips, T frames, C channels, F channels that are gated, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_into, step_through
from kinema.layers.folded_conv3d import FoldedConv3d
from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.shift import Move, shift_clip

NUM_HALVES = 2
"""Groups of channels with a gate each: one looks ahead, one back."""


class GateShift(TemporalLayer):
    """Stands before the last batch norm of a branch, which it keeps as `net`.

    With a gate g in (-1, 1) for each half of the channels, frame and pixel, y = g x moves and r = x - y stays:
    out = shift(y) + r, where the first half takes y from the next frame and the second from the one before; zero
    outside the clip. Then the channels of each half are interleaved, the first quarter of C with the second and the
    third with the fourth. Gates start at zero: a fresh layer only orders the channels anew.

    Our reading: where C is no multiple of four, which the official code cannot have, the last channels stay as they
    are. The causal form, which the paper does not have: gates come from frames t-2, t-1, t, and both halves take y from
    the frame before.

    Args:
        net: The batch norm, or another module that says how many channels it takes.
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If net does not say how many channels it takes, or takes less than four.
    """

    def __init__(self, net: nn.Module, *, num_frames: int, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        channels = gated_channels(net, fraction=1.0)
        self.net = net
        self.gate = Gate(channels, causal=causal).to(next(net.parameters(), torch.empty(0)))
        for parameter in self.gate.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Gates and shifts, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        gated, kept = self.gate(x, num_frames=self.num_frames)
        moved = shift_halves(gated, num_frames=self.num_frames, causal=self.causal)
        y: Tensor = self.net(replace_first(x, interleave(moved + kept)))
        return y

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        of_gate, before, inner = (None, None, None) if state is None else state
        gated, kept, of_gate = self.gate.step(x, of_gate)
        moved = torch.zeros_like(gated) if before is None else before
        y, inner = step_through(self.net, replace_first(x, interleave(moved + kept)), inner)
        return y, (of_gate, gated, inner)

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"


class Gate(nn.Module):
    """Splits features into what moves and what stays: g = tanh(conv(ReLU(BN(x)))), one g for each half of F channels.

    The conv spans three frames and 3 x 3 pixels, each half from its own channels.

    Args:
        channels: F, a multiple of four.
        causal: Whether it sees frames t-2, t-1, t instead of t-1, t, t+1.
    """

    def __init__(self, channels: int, *, causal: bool) -> None:
        super().__init__()
        self.channels, self.causal = channels, causal
        conv = nn.Conv3d(channels, NUM_HALVES, kernel_size=3, groups=NUM_HALVES)  # as torch draws its weights
        self.norm = nn.BatchNorm2d(channels)  # over all frames and pixels, as BatchNorm3d of clips
        self.conv = FoldedConv3d(conv.weight.detach(), conv.bias, padding=(1, 1), groups=NUM_HALVES)

    def forward(self, x: Tensor, *, num_frames: int) -> tuple[Tensor, Tensor]:
        """Splits the first F channels.

        Args:
            x: Frames [N*T, C, H, W].
            num_frames: Frames T of a clip.

        Returns:
            y, which is to move, and r = x - y, which stays [N*T, F, H, W] each.
        """
        x = x[:, : self.channels]
        return _split(x, self.conv(F.relu(self.norm(x)), num_frames=num_frames, causal=self.causal))

    def step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Tensor, Any]:  # noqa: ANN401
        """Splits one more frame [N, C, H, W], as the causal `forward` does whole clips.

        Returns:
            y and r [N, F, H, W], and the next state.
        """
        x = x[:, : self.channels]
        logits, state = self.conv.step(F.relu(self.norm(x)), state)
        return *_split(x, logits), state


def _split(x: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Weights each half of x [B, F, H, W] by its gate's logits [B, 2, H, W]; what is left is the rest of x."""
    gates = torch.tanh(logits).to(x.dtype).unsqueeze(2)  # [B, 2, 1, H, W]
    gated = (x.unflatten(1, (NUM_HALVES, -1)) * gates).flatten(1, 2)
    return gated, x - gated


def shift_halves(x: Tensor, *, num_frames: int, causal: bool) -> Tensor:
    """Gives the first half of the channels the next frame and the second the one before; causal, both the one before.

    Args:
        x: Frames [N*T, F, H, W].
        num_frames: Frames T of a clip.
        causal: Whether neither may look ahead.

    Returns:
        Frames [N*T, F, H, W]; what has no neighbour is zero.
    """
    half = x.shape[1] // NUM_HALVES
    moves = [Move(half, time=-1 if causal else 1), Move(half, time=-1)]
    return fold_time(shift_clip(unfold_time(x, num_frames), moves))


def interleave(x: Tensor) -> Tensor:
    """Orders the channels of each half anew, a b c d e f as a d b e c f, and keeps the memory layout.

    Args:
        x: Features [B, F, H, W], F a multiple of four.

    Returns:
        Features [B, F, H, W].
    """
    channels_last = not torch.compiler.is_compiling() and x.is_contiguous(memory_format=torch.channels_last)
    axis = 3 if channels_last else 1
    quarters = x.movedim(1, axis).unflatten(axis, (NUM_HALVES, 2, -1))
    return quarters.transpose(axis + 1, axis + 2).flatten(axis, axis + 2).movedim(axis, 1)


def replace_first(x: Tensor, first: Tensor) -> Tensor:
    """Puts features [B, F, H, W] in place of the first F channels of x [B, C, H, W]."""
    channels = first.shape[1]
    return first if channels == x.shape[1] else torch.cat([first, x[:, channels:]], dim=1)


def gated_channels(net: nn.Module, *, fraction: float) -> int:
    """Returns how many of the channels that a module takes are gated, a multiple of four.

    It is a fraction of them, rounded up where there are so many, else down.

    Raises:
        ValueError: If the module does not say how many channels it takes, or takes less than four.
    """
    channels = channels_into(net)
    if channels is None:
        raise ValueError(f"net must be a conv or a batch norm, got {type(net).__name__}; take another site")
    if channels < 4:
        raise ValueError(f"net must take at least 4 channels, two for each half, got {channels}; take another site")
    return min(max(-(int(channels * fraction) // -4), 1), channels // 4) * 4
