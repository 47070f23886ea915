"""What the names and shapes of a checkpoint say of its network: backbone, temporal layers and where they stand.

Shapes: T frames, C channels, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from kinema.models.foreign.layouts import STAGES, Layout, mobilenet_names

RESNETS: dict[tuple[bool, tuple[int, ...], tuple[int, int]], str] = {
    (False, (2, 2, 2, 2), (64, 64)): "resnet18",
    (False, (3, 4, 6, 3), (64, 64)): "resnet34",
    (True, (3, 4, 6, 3), (64, 64)): "resnet50",
    (True, (3, 4, 23, 3), (64, 64)): "resnet101",
    (True, (3, 8, 36, 3), (64, 64)): "resnet152",
    (True, (3, 4, 6, 3), (128, 128)): "wide_resnet50_2",
    (True, (3, 4, 23, 3), (128, 128)): "wide_resnet101_2",
    (True, (3, 4, 6, 3), (128, 4)): "resnext50_32x4d",
    (True, (3, 4, 23, 3), (256, 8)): "resnext101_32x8d",
}
"""Whether blocks have three convs, blocks of each stage, shape of the first block's second conv -> timm's name."""
MOBILENETS: dict[int, str] = {32: "mobilenetv2_100", 48: "mobilenetv2_140"}
"""Channels of the stem -> timm's name."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is known of a network from its tensors."""

    backbone: str
    """timm's name."""
    in_channels: int
    shifted: tuple[str, ...] = ()
    """Our paths of what a shift stands before."""
    nonlocals: tuple[str, ...] = ()
    """Our paths of the blocks that a Non-local layer stands around."""
    pooled_attention: bool = True
    """Whether the Non-local layers pool g and phi."""
    adaptive: tuple[str, ...] = ()
    """Our paths of the convs before which TAM stands."""
    temporal_pool: bool = False
    num_frames: int | None = None
    """T, where shapes depend on it."""

    @property
    def temporal(self) -> tuple[str, ...]:
        """Names of the temporal layers."""
        layers = {"tsm": self.shifted, "nonlocal": self.nonlocals, "tam": self.adaptive}
        return tuple(name for name, places in layers.items() if places) or ("none",)


@dataclass
class _Blocks:
    """The blocks of a ResNet, as its names come by."""

    depths: dict[int, int] = field(default_factory=dict)
    shifted: dict[str, None] = field(default_factory=dict)
    nonlocals: dict[str, None] = field(default_factory=dict)
    adaptive: dict[str, None] = field(default_factory=dict)
    bottleneck: bool = False
    pool: bool = False
    pooled_attention: bool = False


def find_resnet(tensors: Mapping[str, Tensor]) -> Findings:
    """Reads a ResNet off its names.

    Args:
        tensors: The trunk's, by the file's names without the layout's prefix.

    Returns:
        What is known.

    Raises:
        ValueError: If timm has no ResNet with such blocks.
    """
    blocks = _Blocks()
    for name in tensors:
        match = re.match(r"layer(\d)\.(net\.)?(\d+)\.(.*)", name)
        if match:
            _note(blocks, int(match[1]), int(match[3]), match[4])
            blocks.pool |= match[2] is not None
    stem = _shape(tensors, r"conv1\.(conv\.)?weight", dims=4)
    width = _shape(tensors, r"layer1\.0\.((block|net)\.)*conv2\.(conv\.)?weight", dims=4)
    depths = tuple(blocks.depths[stage] for stage in sorted(blocks.depths))
    backbone = RESNETS.get((blocks.bottleneck, depths, (width[0], width[1])))
    if backbone is None:
        raise ValueError(
            f"the network must be a ResNet that timm has, got stages of {list(depths)} "
            f"{'bottlenecks' if blocks.bottleneck else 'basic blocks'} with a second conv of shape {list(width)}; "
            f"known are {', '.join(RESNETS.values())}"
        )
    means = [tensor for name, tensor in tensors.items() if re.search(r"\.(tam\.G|self_conv\.conv_f)\.0\.weight$", name)]
    return Findings(
        backbone=backbone,
        in_channels=stem[1],
        shifted=()
        if blocks.adaptive
        else tuple(sorted(blocks.shifted, key=_in_order)),  # TANet's blocks are in a `net`
        nonlocals=tuple(sorted(blocks.nonlocals, key=_in_order)),
        pooled_attention=blocks.pooled_attention,
        adaptive=tuple(sorted(blocks.adaptive, key=_in_order)),
        temporal_pool=blocks.pool,
        num_frames=means[0].shape[-1] if means else None,
    )


def find_mobilenet(layout: Layout, tensors: Mapping[str, Tensor]) -> Findings:
    """Reads a MobileNetV2 off its names.

    Args:
        layout: How the names are made.
        tensors: The trunk's, by the file's names without the layout's prefix.

    Returns:
        What is known.

    Raises:
        ValueError: If timm has no MobileNetV2 of its width.
    """
    every = [f"blocks.{stage}.{index}.conv_pw" for stage, depth in enumerate(STAGES) for index in range(depth)][1:]
    names = mobilenet_names(layout.family, every)
    shifted = tuple(path for path in every if f"{names[f'{path}.net']}.weight" in tensors)
    stem = _shape(tensors, re.escape(f"{names['conv_stem']}.weight"), dims=4)
    if stem[0] not in MOBILENETS:
        raise ValueError(
            f"the network must be a MobileNetV2 that timm has, got one with {stem[0]} channels behind its stem; known "
            f"are {', '.join(f'{name} ({width})' for width, name in MOBILENETS.items())}"
        )
    return Findings(backbone=MOBILENETS[stem[0]], in_channels=stem[1], shifted=shifted)


def _note(blocks: _Blocks, stage: int, index: int, inner: str) -> None:
    """Takes down what one name of a block says."""
    path = f"layer{stage}.{index}"
    blocks.depths[stage] = max(blocks.depths.get(stage, 0), index + 1)
    blocks.bottleneck |= re.search(r"(^|\.)conv3\.", inner) is not None
    if inner.startswith(("tam.", "self_conv.")):
        blocks.adaptive[f"{path}.conv2"] = None
    elif inner.startswith(("nl.", "non_local_block.")):
        blocks.nonlocals[path] = None
        blocks.pooled_attention |= re.match(r"\w+\.g\.0\.", inner) is not None
    elif re.match(r"(block\.)?conv1\.(conv\.)?net\.", inner):
        blocks.shifted[f"{path}.conv1"] = None
    elif inner.startswith("net."):
        blocks.shifted[path] = None


def _in_order(path: str) -> list[int]:
    """Sorts paths as the blocks stand in the network."""
    return [int(number) for number in re.findall(r"\d+", path)]


def _shape(tensors: Mapping[str, Tensor], pattern: str, *, dims: int) -> tuple[int, ...]:
    """Finds a tensor that every network of the family has.

    Raises:
        ValueError: If it is missing, or is of a 3D network.
    """
    found = next(((name, tensor) for name, tensor in tensors.items() if re.fullmatch(pattern, name)), None)
    if found is None:
        raise ValueError(
            "the network must have the first convs of a ResNet or MobileNetV2, got none of their names; the file is of "
            "another network, or was cut"
        )
    name, tensor = found
    if tensor.ndim != dims:
        kind = "a 3D network" if tensor.ndim == dims + 1 else f"a tensor of {tensor.ndim} axes"
        raise ValueError(
            f"{name} must have the {dims} axes of a conv in a 2D network, got {kind}; take a TSN, TSM or TANet"
        )
    return tuple(tensor.shape)
