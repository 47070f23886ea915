"""How other projects name the tensors of their networks: a literal table, from our names to theirs.

Shapes: T frames, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from kinema.wording import listed

Renames = tuple[tuple[str, str], ...]
"""Pattern in our name and what to put in its place, applied from the first to the last."""

MMCV: Renames = (
    (r"(^|\.)conv(\d)\.", r"\1conv\2.conv."),
    (r"(^|\.)bn(\d)\.", r"\1conv\2.bn."),
    (r"\.downsample\.0\.", ".downsample.conv."),
    (r"\.downsample\.1\.", ".downsample.bn."),
)
"""mmcv's ConvModule holds a conv and its batch norm."""
TAM: Renames = ((r"\.conv2\.net\.", ".conv2."), (r"\.conv2\.([GL])\.", r".tam.\1."))
"""TAM stands beside the block that it is in, with us before the block's conv."""
NONLOCAL: Renames = (
    (r"^(layer\d\.\d+)\.net\.", r"\1.block."),
    (r"^(layer\d\.\d+)\.theta\.", r"\1.nl.theta."),
    (r"^(layer\d\.\d+)\.(phi|g)\.", r"\1.nl.\2.{pooled}"),
    (r"^(layer\d\.\d+)\.out\.", r"\1.nl.W.0."),
    (r"^(layer\d\.\d+)\.norm\.", r"\1.nl.W.1."),
)
"""TSM's Non-local wrapper; `{pooled}` is `0.` where g and phi are max-pooled."""
MMCV_NONLOCAL: Renames = (
    (r"^(layer\d\.\d+)\.net\.", r"\1.block."),
    (r"^(layer\d\.\d+)\.theta\.", r"\1.non_local_block.theta.conv."),
    (r"^(layer\d\.\d+)\.(phi|g)\.", r"\1.non_local_block.\2.{pooled}conv."),
    (r"^(layer\d\.\d+)\.out\.", r"\1.non_local_block.conv_out.conv."),
    (r"^(layer\d\.\d+)\.norm\.", r"\1.non_local_block.conv_out.bn."),
)
"""mmcv's."""
POOL: Renames = ((r"^layer2\.(\d)", r"layer2.net.\1"),)
"""The temporal pool of both stands around the second stage."""

FlowScale = tuple[float, float]
FLOW_TSM: FlowScale = (0.5, (0.229 + 0.224 + 0.225) / 3)
"""Mean and standard deviation of flow, in [0, 1], in TSM's official code."""
FLOW_MMACTION: FlowScale = (128 / 255, 128 / 255)
"""In mmaction2."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one project names the tensors of one family of networks."""

    name: str
    """What the project and the family are called."""
    mark: str
    """A file is in this layout if one of its names matches."""
    trunk: str
    """What the names of the 2D network begin with."""
    heads: tuple[str, ...]
    """Where the classifier may be, the likeliest first."""
    family: Literal["resnet", "flat", "nested", "mmcv"] = "resnet"
    """A ResNet, or one of the three ways to name the parts of a MobileNetV2."""
    renames: Renames = ()
    """For the 2D network, its temporal layers and the blocks that these are in."""
    nonlocal_renames: Renames = NONLOCAL
    """For Non-local blocks, where there are some; before the others."""
    flow: FlowScale = FLOW_TSM
    """How the project normalizes flow."""


OFFICIAL = ("new_fc", "base_model.fc", "base_model.classifier")
MMACTION = ("cls_head.fc_cls",)

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="TANet, official code",
        mark=r"^base_model\.layer\d\.\d+\.tam\.",
        trunk="base_model.",
        heads=OFFICIAL,
        renames=(*TAM, (r"^(layer\d\.\d+)\.(?!tam\.)", r"\1.net.")),
    ),
    Layout(
        name="TANet, official code with its first names",
        mark=r"^base_model\.layer\d\.\d+\.self_conv\.",
        trunk="base_model.",
        heads=OFFICIAL,
        renames=(
            *TAM,
            (r"^(layer\d\.\d+)\.(?!tam\.)", r"\1.net."),
            (r"\.tam\.G\.", ".self_conv.conv_f."),
            (r"\.tam\.L\.", ".self_conv.conv_g."),
        ),
    ),
    Layout(
        name="ResNet, official code of TSM",
        mark=r"^base_model\.layer1\.0\.",
        trunk="base_model.",
        heads=OFFICIAL,
    ),
    Layout(
        name="MobileNetV2, official code of TSM",
        mark=r"^base_model\.features\.1\.conv\.3\.",
        trunk="base_model.",
        heads=OFFICIAL,
        family="flat",
    ),
    Layout(
        name="TANet, mmaction2",
        mark=r"^backbone\.layer\d\.\d+\.tam\.",
        trunk="backbone.",
        heads=MMACTION,
        renames=(*TAM, (r"^(layer\d\.\d+)\.(?!tam\.)", r"\1.block."), *MMCV),
        flow=FLOW_MMACTION,
    ),
    Layout(
        name="ResNet, mmaction2",
        mark=r"^backbone\.layer1\.0\.(net\.|block\.)?conv1\.conv\.",
        trunk="backbone.",
        heads=MMACTION,
        renames=MMCV,
        nonlocal_renames=MMCV_NONLOCAL,
        flow=FLOW_MMACTION,
    ),
    Layout(
        name="MobileNetV2, mmaction2",
        mark=r"^backbone\.layer1\.0\.conv\.0\.conv\.",
        trunk="backbone.",
        heads=MMACTION,
        family="mmcv",
        flow=FLOW_MMACTION,
    ),
    Layout(
        name="ResNet of torchvision, mmaction2",
        mark=r"^backbone\.layer1\.0\.conv1\.weight$",
        trunk="backbone.",
        heads=MMACTION,
        flow=FLOW_MMACTION,
    ),
    Layout(
        name="MobileNetV2 of torchvision, mmaction2",
        mark=r"^backbone\.features\.1\.conv\.0\.0\.",
        trunk="backbone.",
        heads=MMACTION,
        family="nested",
        flow=FLOW_MMACTION,
    ),
    Layout(
        name="ResNet, names of torchvision",
        mark=r"^layer1\.0\.(net\.|block\.)?conv1\.",
        trunk="",
        heads=("fc", "new_fc"),
    ),
    Layout(
        name="MobileNetV2, names of torchvision",
        mark=r"^features\.1\.conv\.0\.0\.",
        trunk="",
        heads=("classifier.1", "classifier"),
        family="nested",
    ),
    Layout(
        name="MobileNetV2, names of TSM's online demo",
        mark=r"^features\.1\.conv\.3\.",
        trunk="",
        heads=("classifier", "new_fc"),
        family="flat",
    ),
)
"""The layouts that are known; of several that match, the first is meant."""

REFUSED: tuple[tuple[str, str], ...] = (
    (r"(^|\.)(inception_3a_|conv1_7x7_s2)", "a BNInception, a network that timm does not have"),
    (r"(^|\.)consensus\.(classifier|fc_fusion)", "a relation head (TRN)"),
    (r"\.net1\.|\.net2\.", "a TIN"),
    (r"\.action_p\d", "an ACTION-Net"),
    (r"(^|\.)resnext_layer1\.|(^|\.)conv1_5\.", "a TDN"),
    (r"(slow|fast)_path\.", "a SlowFast network"),
    (r"^neck\.", "a network with a neck between trunk and head, as TPN"),
    (r"\.(attn|qkv|attention)\.|patch_embed", "a transformer"),
)
"""Names of other networks -> what they are."""


def find_layout(names: Collection[str]) -> Layout:
    """Finds the layout of a file by its tensors' names, without a `module.` in front.

    Raises:
        ValueError: If it is none of the known ones.
    """
    for pattern, what in REFUSED:
        if any(re.search(pattern, name) for name in names):
            raise ValueError(f"the network must be of a known layout, got {what}; {_advice()}")
    for layout in LAYOUTS:
        if any(re.search(layout.mark, name) for name in names):
            return layout
    raise ValueError(f"the network must be of a known layout, got tensors like {listed(sorted(names), 3)}; {_advice()}")


def _advice() -> str:
    return f"known are {listed([layout.name for layout in LAYOUTS], 99)}"


FLAT_PARTS = {"conv_pw": "0", "bn1": "1", "conv_dw": "3", "bn2": "4", "conv_pwl": "6", "bn3": "7"}
NESTED_PARTS = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "2", "bn3": "3"}
MMCV_PARTS = {
    "conv_pw": "0.conv",
    "bn1": "0.bn",
    "conv_dw": "1.conv",
    "bn2": "1.bn",
    "conv_pwl": "2.conv",
    "bn3": "2.bn",
}
PARTS = {
    "flat": (FLAT_PARTS, {"conv_dw": "0", "bn1": "1", "conv_pw": "3", "bn2": "4"}),
    "nested": (NESTED_PARTS, {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}),
    "mmcv": (MMCV_PARTS, {"conv_dw": "0.conv", "bn1": "0.bn", "conv_pw": "1.conv", "bn2": "1.bn"}),
}
"""Way to name the parts of a MobileNetV2 -> timm's names and the file's, in a block and in the very first block."""
STAGES = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of the stages of a MobileNetV2."""


def mobilenet_names(family: str, shifted: Collection[str]) -> dict[str, str]:
    """Lists the modules of a MobileNetV2.

    Args:
        family: How the file names the parts: `flat`, `nested` or `mmcv`.
        shifted: Our paths of the convs that have a shift.

    Returns:
        Our dotted path of a module with parameters -> the file's.
    """
    parts, first = PARTS[family]
    ends = ("conv1.conv", "conv1.bn", "conv2.conv", "conv2.bn")
    if family != "mmcv":
        ends = ("features.0.0", "features.0.1", f"features.{sum(STAGES) + 1}.0", f"features.{sum(STAGES) + 1}.1")
    names = dict(zip(("conv_stem", "bn1", "conv_head", "bn2"), ends, strict=True))
    number = 0
    for stage, depth in enumerate(STAGES):
        for index in range(depth):
            number += 1
            block = f"layer{stage + 1}.{index}.conv" if family == "mmcv" else f"features.{number}.conv"
            ours = f"blocks.{stage}.{index}"
            for part, theirs in (parts if number > 1 else first).items():
                names[f"{ours}.{part}"] = f"{block}.{theirs}"
            if f"{ours}.conv_pw" in shifted:
                names |= _shifted_names(ours, block, parts)
    return names


def _shifted_names(ours: str, block: str, parts: dict[str, str]) -> dict[str, str]:
    """Names of a block's first conv behind a shift, which may stand around the conv or around its norm too."""
    conv, inner = parts["conv_pw"].partition(".")[0], parts["conv_pw"].partition(".")[2]
    names = {f"{ours}.conv_pw.net": f"{block}.{conv}.net" + (f".{inner}" if inner else "")}
    if inner:
        names[f"{ours}.bn1"] = f"{block}.{conv}.net.{parts['bn1'].partition('.')[2]}"
    return names
