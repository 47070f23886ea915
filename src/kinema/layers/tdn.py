"""TDN's long-term module: differences of features excite the features, then each channel has its own conv over time.

TDN: Temporal Difference Networks for Efficient Action Recognition, CVPR 2021, https://arxiv.org/abs/2012.10071

Shapes: N clips, T frames, C channels, H x W pixels, D = C / reduction.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_and_like, step_through
from kinema.layers.depthwise import ConvOverTime, shift_taps
from kinema.layers.feature_motion import hidden_channels
from kinema.layers.folding import fold_time, unfold_time

DIVISIONS = 8
"""One in this many channels starts as a shift each way."""


class TemporalDifference(TemporalLayer):
    """Stands before a block's k x k conv, which it keeps as `net`: y = net(k * (x + x gate)).

    The gate is `DifferenceGate`'s; k is a depthwise conv over frames t-1, t, t+1 that starts as TSM's shift: the first
    eighth of the channels takes the frame after, the next eighth the frame before. The paper's short-term module works
    on a network's stem: `short_term=True`.

    Our reading of a causal form, which the paper does not have: the gate comes from the difference with the frame
    before alone, k weights frames t-2, t-1, t, and the channels that would look ahead start at the present.

    Args:
        net: The conv in front of which features are excited.
        num_frames: Frames T of a clip.
        reduction: How many times fewer channels the gate works on.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If net does not say how many channels it takes, or reduction is below 1.
    """

    def __init__(self, net: nn.Module, *, num_frames: int, reduction: int = 16, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        channels, weight = channels_and_like(net, site="spatial")
        fold = channels // DIVISIONS
        taps = shift_taps(channels, ahead=slice(fold), back=slice(fold, 2 * fold), causal=causal)
        self.net = net
        self.gate = DifferenceGate(channels, reduction=reduction, causal=causal).to(weight)
        self.temporal = ConvOverTime(taps.to(weight))

    def forward(self, x: Tensor) -> Tensor:
        """Excites, convolves over time, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        excited = x + x * self.gate(x, num_frames=self.num_frames)
        y: Tensor = self.net(self.temporal(excited, num_frames=self.num_frames, causal=self.causal))
        return y

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        past, before, inner = (None, None, None) if state is None else state
        gate, before = self.gate.step(x, before)
        moved, past = self.temporal.step(x + x * gate, past)
        y, inner = step_through(self.net, moved, inner)
        return y, (past, before, inner)

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"


class DifferenceGate(nn.Module):
    """The paper's multi-scale excitation, as its official code has it; numbers in (-1/2, 1/2) for every value of x.

    With F = norm(1 x 1 conv of x) of D channels and K, a depthwise 3 x 3 conv, differences at frame t are
    K * F_{t+1} - F_t (zero at the last frame) and K * F_{t-1} - F_t (zero at the first). Each is averaged with a 3 x 3
    conv of itself and with one of its halves in resolution, brought back by repeating pixels; a 1 x 1 conv back to C
    channels and the sigmoid, less a half, follow, each conv but K with a batch norm behind it. The gate is the mean of
    the two directions.

    Our reading: a side of one pixel, which has no half, stays as it is.

    Args:
        channels: C.
        reduction: How many times fewer channels F has.
        causal: Whether the difference with the frame before is the only one.

    Raises:
        ValueError: If reduction is below 1.
    """

    def __init__(self, channels: int, *, reduction: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        width = hidden_channels(channels, reduction)
        self.reduce = _normed_conv(channels, width, size=1)
        self.transform = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width, bias=False)
        self.fine = _normed_conv(width, width, size=3)
        self.coarse = _normed_conv(width, width, size=3)
        self.expand = _normed_conv(width, channels, size=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as in the official code
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, *, num_frames: int) -> Tensor:
        """Weighs every value.

        Args:
            x: Frames [N*T, C, H, W].
            num_frames: Frames T of a clip.

        Returns:
            Weights [N*T, C, H, W].
        """
        features = self.reduce(x)  # [N*T, D, H, W]
        now, moved = unfold_time(features, num_frames), unfold_time(self.transform(features), num_frames)
        zero = torch.zeros_like(now[:, :1])
        before = self._weigh(fold_time(torch.cat([zero, moved[:, :-1] - now[:, 1:]], dim=1)))
        if self.causal:
            return before
        after = self._weigh(fold_time(torch.cat([moved[:, 1:] - now[:, :-1], zero], dim=1)))
        return (before + after) / 2

    def step(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weighs one more frame [N, C, H, W].

        Returns:
            The weights [N, C, H, W], and what the next step compares its frame with [N, D, H, W].
        """
        features = self.reduce(x)
        difference = torch.zeros_like(features) if before is None else before - features
        return self._weigh(difference), self.transform(features)

    def _weigh(self, difference: Tensor) -> Tensor:
        """Turns differences [N*T, D, H, W] of one direction into weights [N*T, C, H, W]."""
        size = difference.shape[-2:]
        half = F.avg_pool2d(difference, [min(2, side) for side in size])
        scales = difference + self.fine(difference) + F.interpolate(self.coarse(half), size=size)
        return torch.sigmoid(self.expand(scales / 3)) - 0.5


def _normed_conv(in_channels: int, out_channels: int, *, size: int) -> nn.Sequential:
    """Makes a conv that keeps height and width, and the batch norm behind it."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=size, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))
