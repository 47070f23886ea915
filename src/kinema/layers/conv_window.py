"""Where the kernel of a 2D conv lands: its output positions, their centres, and the pixels that each tap visits.

Shapes: B frames, C channels, H x W pixels (H' x W' after the stride), kH x kW taps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class ConvWindow:
    """Kernel size, stride, padding and dilation of a conv, each for height and width."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(cls, conv: nn.Conv2d) -> ConvWindow:
        """Reads a conv's window.

        Raises:
            ValueError: If its padding is a word that asks for a different padding on two sides.
        """
        return cls(kernel_size=conv.kernel_size, stride=conv.stride, padding=_padding_of(conv), dilation=conv.dilation)

    @property
    def centre(self) -> tuple[int, int]:
        """Index of the kernel's middle tap, in height and width."""
        return self.kernel_size[0] // 2, self.kernel_size[1] // 2

    @property
    def centres_are_pixels(self) -> bool:
        """Whether every centre lies inside frames of any size: the padding is half the kernel at most."""
        return all(margin <= 0 for axis in (0, 1) for margin in self._margins(axis))

    def output_size(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Returns H' and W' for frames of H x W."""
        height, width = (
            (length + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
            for length, taps, stride, padding, dilation in zip(
                size, self.kernel_size, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return height, width

    def dilated(self, rate: int) -> ConvWindow:
        """Spreads the taps `rate` times as far, with as much more padding as keeps H' and W'.

        Raises:
            ValueError: If the padding would have to be different on two sides.
        """
        more = [(rate - 1) * own * (taps - 1) for own, taps in zip(self.dilation, self.kernel_size, strict=True)]
        if any(number % 2 for number in more):
            raise ValueError(
                f"conv must have an odd kernel when its spatial kernels are dilated, got {self.kernel_size}; "
                "dilate the temporal ones only"
            )
        return replace(
            self,
            dilation=tuple(rate * own for own in self.dilation),
            padding=tuple(own + number // 2 for own, number in zip(self.padding, more, strict=True)),
        )

    def conv(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        """Convolves x [B, C, H, W] with weight [C', C / groups, kH, kW]."""
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=groups)

    def centres(self, x: Tensor) -> Tensor:
        """Takes the pixels under the kernel's centre at each output position: [B, C, H, W] -> [B, C, H', W']."""
        height, width = self.output_size(x.shape[-2:])
        (top, bottom), (left, right) = self._margins(0), self._margins(1)
        if not self.centres_are_pixels:
            x = F.pad(x, [max(margin, 0) for margin in (left, right, top, bottom)])
        x = x[..., max(-top, 0) :: self.stride[0], max(-left, 0) :: self.stride[1]]
        return x[..., :height, :width]

    def visits(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Tells which rows and columns of frames [B, C, H, W] each tap visits, as ones among zeros.

        Returns:
            [kH, H] and [kW, W], on the device and in the dtype of `like`.
        """
        tables = []
        for axis, length in enumerate(like.shape[-2:]):
            steps = torch.arange(self.output_size(like.shape[-2:])[axis], device=like.device)
            taps = torch.arange(self.kernel_size[axis], device=like.device)
            visited = steps * self.stride[axis] - self.padding[axis] + taps[:, None] * self.dilation[axis]
            pixels = torch.arange(length, device=like.device)
            tables.append((visited[:, :, None] == pixels).any(dim=1).to(like.dtype))
        return tables[0], tables[1]

    def _margins(self, axis: int) -> tuple[int, int]:
        padding = self.padding[axis]
        return centre_margins(self.kernel_size[axis], self.dilation[axis], before=padding, after=padding)


def centre_margins(taps: int, dilation: int, *, before: int, after: int) -> tuple[int, int]:
    """Tells what an axis needs at its ends, so that the kernel's centre visits just its pixels.

    Args:
        taps: Of the kernel, along the axis.
        dilation: Of the kernel, along the axis.
        before: Padding before the axis.
        after: Padding after the axis.

    Returns:
        What to add before and after; negative where pixels are never under the centre.
    """
    middle = dilation * (taps // 2)
    return before - middle, after + middle - dilation * (taps - 1)


def _padding_of(conv: nn.Conv2d) -> tuple[int, ...]:
    """Returns the padding in numbers, which torch also gives as a word."""
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


def checked_conv(conv: nn.Module) -> nn.Conv2d:
    """Returns a conv whose arithmetic a layer can do itself.

    Raises:
        ValueError: If it is no plain Conv2d, or has a padding other than zeros.
    """
    if type(conv) is not nn.Conv2d:
        same = type(conv).__name__ == "Conv2dSame"
        advice = "take the network without tf_ in its name" if same else "choose another site"
        raise ValueError(f"conv must be an nn.Conv2d, got {type(conv).__name__}; {advice}")
    if conv.padding_mode != "zeros":
        raise ValueError(f"conv must be padded with zeros, got padding_mode {conv.padding_mode!r}; choose another site")
    return conv


def kept_conv(conv: nn.Module) -> nn.Conv2d:
    """Returns a conv that a layer keeps and runs, of whatever subclass.

    Raises:
        ValueError: If it is no Conv2d.
    """
    if not isinstance(conv, nn.Conv2d):
        raise ValueError(f"conv must be an nn.Conv2d, got {type(conv).__name__}; choose another site")
    return conv
