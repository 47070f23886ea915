"""A 3D conv on folded frames: one 2D conv gives what every tap adds to which frame, and shifted sums put it there.

Shapes: N clips, T frames, Ci input and Co output channels in g groups, H x W pixels (H' x W' after the stride),
kT x kH x kW taps.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.shift import shift_time


class FoldedConv3d(nn.Module):
    """A conv over time and space with stride 1 in time; it starts and ends with as many frames as it was given.

    It has the parameters and the multiply-adds of a Conv3d, needs no other memory layout than a 2D network has, and
    exports with any batch. Its `weight` has four dimensions [Co, Ci / g, kT*kH, kW], as a 2D network's weights have, so
    that the whole network can be laid out channels last.

    Args:
        weight: Its kernels at the start [Co, Ci / g, kT, kH, kW].
        bias: Its biases at the start [Co].
        stride: Of height and width.
        padding: Of height and width, or a word that torch knows; time is padded with zeros.
        dilation: Of height and width.
        groups: Conv groups g.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: tuple[int, ...] = (1, 1),
        padding: str | tuple[int, ...] = (0, 0),
        dilation: tuple[int, ...] = (1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.weight, self.num_taps = nn.Parameter(weight.flatten(2, 3)), weight.shape[2]
        self.bias = None if bias is None else nn.Parameter(bias)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    @classmethod
    def like(cls, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> FoldedConv3d:
        """Makes one that goes over the pixels as a 2D conv does; it learns where that one learns.

        Args:
            conv: The 2D conv.
            weight: Kernels at the start [Co, Ci / g, kT, kH, kW].
            bias: Biases at the start [Co].

        Returns:
            The 3D conv.
        """
        new = cls(weight, bias, stride=conv.stride, padding=conv.padding, dilation=conv.dilation, groups=conv.groups)
        new.weight.requires_grad_(conv.weight.requires_grad)
        if new.bias is not None and conv.bias is not None:
            new.bias.requires_grad_(conv.bias.requires_grad)
        return new

    @property
    def kernels(self) -> Tensor:
        """The weight as a Conv3d has it [Co, Ci / g, kT, kH, kW]."""
        return self.weight.unflatten(2, (self.num_taps, -1))

    def forward(self, x: Tensor, *, num_frames: int, causal: bool) -> Tensor:
        """Convolves.

        Args:
            x: Frames [N*T, Ci, H, W].
            num_frames: Frames T of a clip.
            causal: Whether the last tap is the frame itself; otherwise the middle one is.

        Returns:
            Frames [N*T, Co, H', W'].
        """
        offsets = tap_offsets(self.num_taps, causal=causal)
        taps = zip((unfold_time(tap, num_frames) for tap in self._taps(x)), offsets, strict=True)
        shifted = [shift_time(tap, offset) for tap, offset in taps if abs(offset) < num_frames]  # [N, T, Co, H', W']
        return self._with_bias(fold_time(reduce(add, shifted)))

    def step(self, x: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Runs one more frame, as the causal `forward` does on a whole clip.

        Args:
            x: The next frame of each clip [N, Ci, H, W].
            state: What the frames so far add to this frame and to later ones [N, Co, H', W']; None at the first one.

        Returns:
            The output for this frame [N, Co, H', W'], and the next state.
        """
        *earlier, now = self._taps(x)
        added = [torch.zeros_like(now) for _ in earlier] if state is None else list(state)
        if not added:
            return self._with_bias(now), ()
        later = [*added[1:], torch.zeros_like(now)]
        return self._with_bias(now + added[0]), tuple(map(add, later, reversed(earlier)))

    def extra_repr(self) -> str:
        """Names the conv's numbers."""
        return f"weight={list(self.kernels.shape)}, stride={self.stride}, padding={self.padding}, groups={self.groups}"

    def _taps(self, x: Tensor) -> list[Tensor]:
        """Convolves each frame with every tap's kernel: [B, Ci, H, W] -> kT times [B, Co, H', W']."""
        taps, groups = self.num_taps, self.groups
        grouped = self.kernels.unflatten(0, (groups, -1)).movedim(3, 1)  # [g, kT, Co / g, Ci / g, kH, kW]
        y = F.conv2d(x, grouped.flatten(0, 2), None, self.stride, self.padding, self.dilation, groups)
        return [tap.flatten(1, 2) for tap in y.unflatten(1, (groups, taps, -1)).unbind(2)]

    def _with_bias(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)


def tap_offsets(num_taps: int, *, causal: bool) -> range:
    """Returns which frame each tap sees, counted from the output's own frame."""
    first = 1 - num_taps if causal else -(num_taps // 2)
    return range(first, first + num_taps)


def inflated(conv: nn.Conv2d, num_taps: int, *, now: int) -> Tensor:
    """Puts the kernels of a 2D conv into one tap, and zeros into the others.

    Args:
        conv: The 2D conv.
        num_taps: Taps kT over time.
        now: The tap that gets them.

    Returns:
        Kernels of a 3D conv [Co, Ci / g, kT, kH, kW].
    """
    kernels = conv.weight.detach().unsqueeze(2)
    weight = torch.zeros_like(kernels).repeat(1, 1, num_taps, 1, 1)
    weight[:, :, [now]] = kernels
    return weight
