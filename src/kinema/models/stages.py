"""The order of a backbone's parts, from its first conv over its stages to the head: where in it a parameter is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from timm.models._manipulate import group_with_matcher
from torch import nn

from kinema.models.backbones import create_backbone
from kinema.models.classifier import ModelConfig
from kinema.models.origins import BACKBONE
from kinema.models.video_networks import VideoNetwork, first_conv

RESNET_STAGES = {"stem": r"stem", "stages": r"layer(\d+)"}
VIDEO_STAGES: dict[str, dict[str, str]] = {
    "r3d_18": RESNET_STAGES,
    "mc3_18": RESNET_STAGES,
    "r2plus1d_18": RESNET_STAGES,
    "s3d": {  # between its pools
        "first": r"features\.0\.",
        "second": r"features\.[23]\.",
        "third": r"features\.[56]\.",
        "fourth": r"features\.(?:8|9|10|11|12)\.",
        "fifth": r"features\.(?:14|15)\.",
    },
    "swin3d_t": {  # each with the merging of patches before it
        "stem": r"patch_embed",
        "first": r"features\.0",
        "second": r"features\.[12]",
        "third": r"features\.[34]",
        "fourth": r"features\.[56]",
    },
    "mvit_v2_s": {  # of 1, 2, 11 and 2 blocks
        "stem": r"conv_proj|pos_encoding",
        "first": r"blocks\.0\.",
        "second": r"blocks\.[12]\.",
        "third": r"blocks\.(?:[3-9]|1[0-3])\.",
        "fourth": r"blocks\.(?:14|15)\.",
    },
}
"""Whole video network -> its stages in order, by how the names of their parameters begin; of 2D ones timm knows it."""
HEAD = "-"
"""Stands for the head, whose name matches no stage."""


def steps_to_head(config: ModelConfig, names: Collection[str]) -> dict[str, int]:
    """Counts for each parameter of a backbone the steps from its stage to the head.

    Args:
        config: What the model is built from.
        names: Names of parameters in a model without temporal layers, as `own_names` gives them.

    Returns:
        Name -> 1 for the last stage, 2 for the one before it, and so on; 0 for what stands behind all stages, such as a
        last norm, as in timm.

    Raises:
        ValueError: If the stages of the backbone are not known.
    """
    matcher = _stages(_empty(config))
    prefix = BACKBONE + ("net." if config.backbone in VIDEO_STAGES else "")
    levels: dict[str, int] = {}
    if matcher is not None:
        short = {name.removeprefix(prefix): name for name in names} | {HEAD: HEAD}
        found: Mapping[str, int] = group_with_matcher(((name, None) for name in short), matcher, reverse=True)
        levels = {short[name]: level for name, level in found.items()}
    if levels.get(HEAD, 0) < 2:
        raise ValueError(
            f"optimizer.layer_decay must be 1 with {config.backbone}, whose stages cannot be told; leave it out, or "
            "take another backbone"
        )
    return {name: levels[HEAD] - level for name, level in levels.items() if name != HEAD}


def first_convs(config: ModelConfig) -> tuple[str, ...]:
    """Names the conv that sees the frames, or several where a backbone has them side by side.

    Returns:
        Its path in a model without temporal layers; nothing where a backbone does not tell.
    """
    backbone = _empty(config)
    if isinstance(backbone, VideoNetwork):
        conv = first_conv(backbone.net)
        return tuple(BACKBONE + path for path, module in backbone.named_modules() if module is conv)
    paths = backbone.pretrained_cfg.get("first_conv") or ()  # type: ignore[operator, union-attr]
    return tuple(BACKBONE + path for path in ((paths,) if isinstance(paths, str) else paths))


def kept_from_decay(config: ModelConfig) -> set[str]:
    """Names the parameters that a 2D network's authors except from weight decay, such as the places of a ViT."""
    backbone = _empty(config)
    excepted = getattr(backbone, "no_weight_decay", set)
    return {BACKBONE + name for name in excepted()}


def _stages(backbone: nn.Module) -> Any:  # noqa: ANN401 (a dict of patterns or a function, which timm takes)
    if isinstance(backbone, VideoNetwork):
        return VIDEO_STAGES[backbone.name]
    matcher = getattr(backbone, "group_matcher", None)
    return None if matcher is None else matcher(coarse=True)


def _empty(config: ModelConfig) -> nn.Module:
    """Builds the backbone without numbers and without temporal layers."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return create_backbone(config.backbone, in_channels=config.frame_channels)
