"""TEA: motion weights channels (ME), and the splits of a Res2Net block get convs over time (MTA).

TEA: Temporal Excitation and Aggregation for Action Recognition, CVPR 2020, https://arxiv.org/abs/2004.01398

Shapes: N clips, T frames, C channels, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_and_like, step_through
from kinema.layers.depthwise import ConvOverTime, shift_taps
from kinema.layers.feature_motion import ChannelMotion


class MotionExcitation(TemporalLayer):
    """ME before a module, which it keeps as `net`: net(x + x y), y = sigmoid(BN(ChannelMotion(x))) - 1/2.

    The paper has it in a Res2Net only, behind the first conv, batch norm and ReLU of a block (see `tea_block`). Our
    reading for other networks: before the first k x k conv of a block, which is the same place in a bottleneck. Our
    reading of a causal form, which the paper does not have: motion is the difference with the frame before.

    Args:
        net: The module in front of which channels are weighted.
        num_frames: Frames T of a clip.
        reduction: How many times fewer channels motion is measured on.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If net does not say how many channels it takes, or reduction is below 1.
    """

    def __init__(self, net: nn.Module, *, num_frames: int, reduction: int = 16, causal: bool = False) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        self.net = net
        channels, weight = channels_and_like(net, site="spatial")
        self.excite = MotionGate(channels, reduction=reduction).to(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Weights channels, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        y: Tensor = self.net(self.excite(x, num_frames=self.num_frames, causal=self.causal))
        return y

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        before, inner = (None, None) if state is None else state
        y, before = self.excite.step(x, before)
        y, inner = step_through(self.net, y, inner)
        return y, (before, inner)

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"


class MotionExcitedNorm(MotionExcitation):
    """ME behind a batch norm, `net`, that a ReLU follows: the norm, a ReLU of its own, then ME.

    ME weights by positive numbers, so that the ReLU that follows changes nothing any more.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes, then weights channels.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            Frames [N*T, C, H, W], none below zero.
        """
        return self.excite(self.net(x).relu(), num_frames=self.num_frames, causal=self.causal)

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        before, inner = (None, None) if state is None else state
        y, inner = step_through(self.net, x, inner)
        y, before = self.excite.step(y.relu(), before)
        return y, (before, inner)


class MotionGate(nn.Module):
    """Weights channels by how they move: x + x (sigmoid(BN(m)) - 1/2), where `ChannelMotion` gives m.

    Args:
        channels: Channels C.
        reduction: How many times fewer channels motion is measured on.

    Raises:
        ValueError: If reduction is below 1.
    """

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        self.motion = ChannelMotion(channels, reduction=reduction)
        self.norm = nn.BatchNorm1d(channels)
        for part in (self.motion.reduce, self.motion.transform, self.motion.expand):  # as in the official code
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, *, num_frames: int, causal: bool) -> Tensor:
        """Weights the frames of whole clips.

        Args:
            x: Frames [N*T, C, H, W].
            num_frames: Frames T of a clip.
            causal: Whether motion at a frame is the difference with the one before, instead of the one after.

        Returns:
            Frames [N*T, C, H, W].
        """
        return self._weighted(x, self.motion(x, num_frames=num_frames, causal=causal))

    def step(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights one more frame [N, C, H, W], as the causal `forward` does whole clips.

        Returns:
            The frame [N, C, H, W], and what the next call takes as `before`.
        """
        motion, before = self.motion.step(x, before)
        return self._weighted(x, motion), before

    def _weighted(self, x: Tensor, motion: Tensor) -> Tensor:
        return x * (self.norm(motion).sigmoid() + 0.5).to(x.dtype)[..., None, None]


class SplitOverTime(TemporalLayer):
    """One conv of MTA: a depthwise conv over three frames of the last channels that come in, then `net`.

    Causal, it sees t-2, t-1, t: our reading, as the paper has no causal form.

    Args:
        net: The module that takes the frames then.
        taps: Weights at the start, of the last D of the channels that come in [D, 3].
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.
    """

    def __init__(self, net: nn.Module, taps: Tensor, *, num_frames: int, causal: bool) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        self.net = net
        self.temporal = ConvOverTime(taps.to(channels_and_like(net, site="spatial")[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Convolves over time, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        rest, last = self._split(x)
        last = self.temporal(last, num_frames=self.num_frames, causal=self.causal)
        y: Tensor = self.net(_joined(rest, last))
        return y

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        past, inner = (None, None) if state is None else state
        rest, last = self._split(x)
        last, past = self.temporal.step(last, past)
        y, inner = step_through(self.net, _joined(rest, last), inner)
        return y, (past, inner)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rest = x.shape[1] - len(self.temporal.taps)
        return x[:, :rest], x[:, rest:]

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"


def tea_block(
    norm: nn.Module,
    activation: nn.Module,
    *convs: nn.Module,
    num_frames: int,
    reduction: int = 16,
    causal: bool = False,
) -> tuple[nn.Module, ...]:
    """Makes the TEA block of a block that splits its channels, as Res2Net's does.

    ME stands behind the norm. Before the conv of each split stands a conv over time that starts as the identity. The
    last split, which has no conv, gets one that starts as a shift, half of it ahead and half of it back (causal: at the
    present and back). It stands where the splits meet again; if the last split is pooled on its way there, that gives
    the same, as averages of pixels and weights of frames may change places.

    Args:
        norm: The batch norm behind the block's first conv.
        activation: What follows the norm; the channels are split behind it.
        *convs: The conv of each split but the last, and the conv that takes all splits.
        num_frames: Frames T of a clip.
        reduction: How many times fewer channels ME measures motion on.
        causal: Whether no output at a frame may depend on a later frame.

    Returns:
        What then stands in the place of each of these modules.

    Raises:
        ValueError: If the activation is no ReLU, or there is no split without a conv.
    """
    if not isinstance(activation, nn.ReLU):
        raise ValueError(
            f"activation must be an nn.ReLU between ME and the norm, got {type(activation).__name__}; "
            "take site='spatial', which has ME only"
        )
    *splits, join = convs
    last = _channels(join) - sum(map(_channels, splits))
    if last < 1:
        raise ValueError(
            f"convs must leave a last split without one, got {len(splits)} for all {_channels(join)} channels; "
            "take site='spatial', which has ME only"
        )
    half = last // 2
    shift = shift_taps(last, ahead=slice(half), back=slice(half, 2 * half), causal=causal)
    stay = (shift_taps(_channels(split), ahead=slice(0), back=slice(0), causal=causal) for split in splits)
    return (
        MotionExcitedNorm(norm, num_frames=num_frames, reduction=reduction, causal=causal),
        activation,
        *(
            SplitOverTime(split, taps, num_frames=num_frames, causal=causal)
            for split, taps in zip(splits, stay, strict=True)
        ),
        SplitOverTime(join, shift, num_frames=num_frames, causal=causal),
    )


def _joined(rest: Tensor, last: Tensor) -> Tensor:
    return torch.cat([rest, last], dim=1) if rest.shape[1] else last


def _channels(net: nn.Module) -> int:
    return channels_and_like(net, site="spatial")[0]
