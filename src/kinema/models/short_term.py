"""TDN's short-term module: a network's stem and first stage also see the differences of neighbouring frames.

TDN: Temporal Difference Networks for Efficient Action Recognition, CVPR 2021, https://arxiv.org/abs/2012.10071

Shapes: N clips, T frames, 5 neighbours stacked at each of them, C channels of a frame, H x W pixels, D channels behind
the stem (D' behind the first stage) at H' x W' pixels.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models.temporal_pool import TemporalPool

STACKED_FRAMES = 5
"""Neighbours that stand in the channels of each of the T; the middle one is the sampled frame."""
STEMS = (("conv1", "bn1", "act1", "maxpool", "layer1"), ("conv1", "bn1", "relu", "maxpool", "layer1"))
"""How the ResNets of timm and of torchvision begin: the stem's four modules, and the first stage."""


class Fusion(nn.Module):
    """share x + (1 - share) d, with d brought to x's size by repeating pixels.

    The share is kept with the weights, so that a network that learned with one keeps it where its T changes.

    Args:
        share: Weight of the frames' own features, in [0, 1].
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share: Tensor
        self.register_buffer("share", torch.tensor(share))

    def forward(self, x: Tensor, differences: Tensor) -> Tensor:
        """Mixes features [N*T, D, H', W'] with those of differences, at any resolution."""
        return self.share * x + (1.0 - self.share) * F.interpolate(differences, size=x.shape[-2:])


class ShortTermStem(nn.Module):
    """Stands in the place of a stem's first conv; the stem's other modules are inside, and nothing in their places.

    The sampled frame goes through the ordinary stem, `net`. The 4 differences of neighbours, at half the resolution, go
    through `differences`, and are then added.

    Args:
        net: The stem of each frame.
        differences: The stem of differences, which takes 4 * C channels.
        fusion: Mixes what the two give.
        in_channels: C.
    """

    def __init__(self, net: nn.Module, differences: nn.Module, fusion: Fusion, *, in_channels: int) -> None:
        super().__init__()
        self.net, self.differences, self.fusion, self.in_channels = net, differences, fusion, in_channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Runs both stems.

        Args:
            x: Stacked frames [N*T, 5*C, H, W].

        Returns:
            Features [N*T, D, H', W'] and those of the differences [N*T, D, H'/2, W'/2].

        Raises:
            ValueError: If the frames are not stacked.
        """
        channels = self.in_channels
        if x.shape[1] != STACKED_FRAMES * channels:
            raise ValueError(
                f"frames must have {STACKED_FRAMES} x {channels} channels for short_term, got {x.shape[1]}; stack each "
                "with its two neighbours on either side, as ClipSpec(stack=5) does"
            )
        middle = STACKED_FRAMES // 2 * channels
        differences = x[:, channels:] - x[:, :-channels]  # [N*T, 4*C, H, W]
        differences = self.differences(F.avg_pool2d(differences, 2))
        return self.fusion(self.net(x[:, middle : middle + channels]), differences), differences

    def extra_repr(self) -> str:
        """Names the stem's numbers."""
        return f"in_channels={STACKED_FRAMES} x {self.in_channels}"


class DifferenceStage(nn.Module):
    """The copy of a first stage through which differences go, and their second mixing.

    Args:
        net: The copy.
        fusion: Mixes what it gives with the features of the frames.
    """

    def __init__(self, net: nn.Module, fusion: Fusion) -> None:
        super().__init__()
        self.net, self.fusion = net, fusion

    def forward(self, x: Tensor, differences: Tensor) -> Tensor:
        """Mixes [N*T, D', H', W'] with what the stage makes of the differences [N*T, D, H'/2, W'/2]."""
        mixed: Tensor = self.fusion(x, self.net(differences))
        return mixed


class ShortTermStage(nn.Sequential):
    """A first stage with a `DifferenceStage` behind its blocks, which keep their names."""

    def forward(self, streams: tuple[Tensor, Tensor]) -> Tensor:
        """Runs what `ShortTermStem` gives: [N*T, D, H', W'] and [N*T, D, H'/2, W'/2] -> [N*T, D', H', W']."""
        x, differences = streams
        for module in self:
            x = module(x, differences) if isinstance(module, DifferenceStage) else module(x)
        return x


class ShortTerm:
    """What the short-term module adds to a network; made before temporal layers stand in it, placed after.

    So the stream of differences is a copy of the 2D network, without them: the official code has none in a first stage,
    and where others put some is our reading. As there, its first conv takes, for each difference, the mean of the
    frame's kernels over their input channels, has no bias, and has a fresh batch norm behind it; the rest are copies.
    In a stem of several convs, of which the official code has none, the others are copies too (our reading).

    Args:
        backbone: A ResNet of timm or torchvision, which is left as it is.
        num_frames: Frames T of a clip: up to 8, features and differences are mixed half and half, above 3 to 1; the
            official code has 8 frames, and 16, and other numbers are our reading.

    Raises:
        ValueError: If the backbone is another one.
    """

    def __init__(self, backbone: nn.Module, *, num_frames: int) -> None:
        children = dict(backbone.named_children())
        self.names = next((names for names in STEMS if tuple(children)[: len(names)] == names), ())
        if not self.names or not isinstance(children["layer1"], nn.Sequential):
            raise ValueError(
                "backbone must be a ResNet of timm or torchvision for short_term, which begins with conv1, bn1, act1 "
                f"or relu, maxpool, layer1, got a {type(backbone).__name__}; leave short_term out, or take a ResNet"
            )
        self.share = 0.5 if num_frames <= 8 else 0.75
        self.stem = copy.deepcopy(_stem_of(backbone, self.names))
        first = next(module for module in self.stem.modules() if isinstance(module, nn.Conv2d))
        self.in_channels = first.in_channels
        _widen(first, (STACKED_FRAMES - 1) * first.in_channels)
        for module in self.stem.get_submodule("bn1").modules():
            if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm | nn.GroupNorm):
                module.reset_parameters()
        self.stage = copy.deepcopy(children["layer1"])

    def place(self, backbone: nn.Module) -> None:
        """Puts the module into the network that it was made for, in place."""
        like = next(self.stem.parameters())
        known = {*backbone.modules(), *self.stem.modules(), *self.stage.modules()}
        net = _stem_of(backbone, self.names)
        fusions = [Fusion(self.share).to(like) for _ in range(2)]
        stem = ShortTermStem(net, self.stem, fusions[0], in_channels=self.in_channels)
        children: list[tuple[str, Any]] = list(backbone.get_submodule("layer1").named_children())
        end = next((place for place, (_, one) in enumerate(children) if isinstance(one, TemporalPool)), len(children))
        children.insert(end, ("short_term", DifferenceStage(self.stage, fusions[1])))
        backbone.set_submodule("layer1", ShortTermStage(OrderedDict(children)))
        for name in self.names[1:-1]:
            backbone.set_submodule(name, nn.Identity())
        backbone.set_submodule("conv1", stem)
        for module in backbone.modules():
            if module not in known:
                module.training = backbone.training


def _stem_of(backbone: nn.Module, names: tuple[str, ...]) -> nn.Sequential:
    """Lines up a network's stem; the modules are the network's own."""
    stem = nn.Sequential(OrderedDict((name, backbone.get_submodule(name)) for name in names[:-1]))
    stem.training = backbone.training
    return stem


def _widen(conv: nn.Conv2d, in_channels: int) -> None:
    """Gives a conv more input channels, in place, each with the mean of its kernels over those that it had."""
    mean = conv.weight.detach().mean(dim=1, keepdim=True)
    conv.weight = nn.Parameter(mean.repeat(1, in_channels, 1, 1))
    conv.in_channels, conv.bias = in_channels, None
