"""Writes down where temporal layers can stand in a 2D network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from kinema.models.backbones import create_backbone
from kinema.models.sites import SITE_NAMES, Block, find_blocks, find_candidates, shape_in_words
from kinema.models.video_networks import VIDEO_NETWORKS
from kinema.report.text_table import aligned
from kinema.wording import listed


@dataclass(frozen=True, kw_only=True)
class NetworkSites:
    """What is known of the sites of a network."""

    backbone: str
    blocks: tuple[Block, ...]
    candidates: dict[str, str]
    """Path -> shape of each k x k conv that stands in no known block."""
    shapes: dict[str, str] = field(default_factory=dict)
    """Path -> shape of each conv that stands at a site."""

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        blocks = [{"path": block.path, "family": block.family, **block.sites} for block in self.blocks]
        return {
            "backbone": self.backbone,
            "blocks": blocks,
            "shapes": self.shapes,
            "candidates": [{"path": path, "shape": shape} for path, shape in self.candidates.items()],
        }

    def __str__(self) -> str:
        """Lays it out for reading."""
        if self.backbone in VIDEO_NETWORKS:
            return (
                f"{self.backbone}: a whole video network, which joins frames in its own layers and has no sites; train "
                "it with --model.temporal none"
            )
        return "\n".join(self._known() if self.blocks else self._unknown())

    def _known(self) -> list[str]:
        counts = {name: sum(len(block.sites[name]) for block in self.blocks) for name in SITE_NAMES}
        families = ", ".join(sorted({block.family for block in self.blocks}))
        rows = [("block", "site", "module", "shape")]
        for block in self.blocks:
            shown = block.path
            for name in ("entry", "spatial", "exit"):
                for (path,) in block.sites[name]:
                    norm = next((norm for conv, norm in block.sites["spatial_bn"] if conv == path), None)
                    place = f"{path}, {norm}" if name == "spatial" and norm else path
                    rows.append((shown, name + ("_bn" if place != path else ""), place, self.shapes.get(path, "")))
                    shown = ""
        return [
            f"{self.backbone}: {len(self.blocks)} blocks ({families}); sites: "
            + ", ".join(f"{count} {name}" for name, count in counts.items()),
            *aligned(rows, left=4),
            "`spatial_bn` is a spatial site too; `block` is the block itself.",
            *self._elsewhere(),
        ]

    def _elsewhere(self) -> list[str]:
        """Says which k x k convs stand in no known block."""
        paths = list(self.candidates)
        return [f"Elsewhere, as in stems: {len(paths)} k x k convs: {listed(paths, 6)}"] if paths else []

    def _unknown(self) -> list[str]:
        return [
            f"{self.backbone}: no block of a known kind; name the places yourself, as in sites=['PATH', ...], from",
            *aligned([("k x k conv", "shape"), *self.candidates.items()], left=2),
        ]


def describe_sites(backbone: str) -> NetworkSites:
    """Looks for sites in a network, which is built without numbers.

    Args:
        backbone: timm's name of the network, or that of a whole video network.

    Returns:
        Its blocks and sites, and the k x k convs that stand in no known block; a whole video network has neither.

    Raises:
        ValueError: If there is no such network.
    """
    with torch.device("meta"):
        network = create_backbone(backbone)
    blocks = tuple(find_blocks(network))
    inside = tuple(f"{one.path}." for one in blocks)
    at_spatial = {path for one in blocks for (path,) in one.sites["spatial"]}
    candidates = {
        path: shape_in_words(conv)
        for path, conv in find_candidates(network)
        if path not in at_spatial and not path.startswith(inside)
    }
    at_sites = [path for one in blocks for name in ("entry", "spatial") for (path,) in one.sites[name]]
    return NetworkSites(
        backbone=backbone,
        blocks=blocks,
        candidates=candidates,
        shapes={path: _shape(network, path) for path in at_sites},
    )


def _shape(network: nn.Module, path: str) -> str:
    conv = network.get_submodule(path)
    return shape_in_words(conv) if isinstance(conv, nn.Conv2d) else type(conv).__name__
