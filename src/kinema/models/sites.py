"""Where a temporal layer can stand: the blocks of a backbone, by class, and their parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from kinema.layers.contract import TemporalLayer

SiteName = Literal["entry", "spatial", "spatial_bn", "exit", "block"]
SITE_NAMES: tuple[str, ...] = get_args(SiteName)


@dataclass(frozen=True, kw_only=True)
class BlockParts:
    """The parts of one class of block, by attribute name."""

    family: str
    """What people call the networks with this block."""
    entry: str
    """The block's first conv."""
    spatial: tuple[tuple[str, str], ...]
    """Its k x k convs, each with its batch norm."""
    exit: str
    """The last batch norm of its residual branch."""


_BASIC = BlockParts(family="ResNet", entry="conv1", spatial=(("conv1", "bn1"), ("conv2", "bn2")), exit="bn2")
_BOTTLENECK = BlockParts(family="ResNet", entry="conv1", spatial=(("conv2", "bn2"),), exit="bn3")

BLOCKS: dict[str, BlockParts] = {
    "timm.models.resnet.BasicBlock": _BASIC,
    "timm.models.resnet.Bottleneck": _BOTTLENECK,
    "torchvision.models.resnet.BasicBlock": _BASIC,
    "torchvision.models.resnet.Bottleneck": _BOTTLENECK,
}
"""Qualified class name of a block -> its parts. Stems, classifiers and downsampling convs are in no block's parts."""


@dataclass(frozen=True)
class Site:
    """One place in a network."""

    paths: tuple[str, ...]
    """Dotted path of each module that stands there: the conv and its batch norm at `spatial_bn`, else one."""
    stage: str
    """Dotted path of the container that the block is in."""
    index: int
    """Number of the block in its stage, from 0."""


def find_sites(backbone: nn.Module, site: str) -> list[Site]:
    """Lists the places of one kind, in the order of the network.

    Args:
        backbone: A network, at any nesting.
        site: One of `entry`, `spatial`, `spatial_bn`, `exit`, `block`.

    Returns:
        The sites.

    Raises:
        ValueError: If the site's name is unknown, or no block of the backbone is.
    """
    if site not in SITE_NAMES:
        raise ValueError(f"site must be one of {', '.join(SITE_NAMES)}, got {site!r}; choose one of them")
    sites: list[Site] = []
    counts: dict[str, int] = {}
    for path, parts in find_blocks(backbone):
        stage = path.rpartition(".")[0]
        index = counts.setdefault(stage, 0)
        counts[stage] += 1
        sites += [Site(paths=paths, stage=stage, index=index) for paths in _block_paths(path, parts, site)]
    if not sites:
        families = sorted({parts.family for parts in BLOCKS.values()})
        raise ValueError(
            f"backbone must have blocks of a known kind, got a {type(backbone).__name__} without any; "
            f"known are those of {', '.join(families)} (timm's and torchvision's)"
        )
    return sites


def find_blocks(backbone: nn.Module) -> Iterator[tuple[str, BlockParts]]:
    """Yields path and parts of each known block, in the order of the network."""
    for path, module in backbone.named_modules():
        kind = type(module)
        parts = BLOCKS.get(f"{kind.__module__}.{kind.__qualname__}")
        if parts is not None:
            yield path, parts


def standing_at(backbone: nn.Module, path: str) -> tuple[str, nn.Module]:
    """Looks through wrappers: where a layer such as TSM stands before a conv, the conv is what a replacing layer gets.

    Returns:
        Path and module of the innermost one.
    """
    module = backbone.get_submodule(path)
    while isinstance(module, TemporalLayer) and isinstance(inner := getattr(module, "net", None), nn.Module):
        path, module = f"{path}.net", inner
    return path, module


def _block_paths(path: str, parts: BlockParts, site: str) -> list[tuple[str, ...]]:
    def inside(name: str) -> str:
        return f"{path}.{name}" if path else name

    if site == "entry":
        return [(inside(parts.entry),)]
    if site == "spatial":
        return [(inside(conv),) for conv, _ in parts.spatial]
    if site == "spatial_bn":
        return [(inside(conv), inside(norm)) for conv, norm in parts.spatial]
    if site == "exit":
        return [(inside(parts.exit),)]
    return [(path,)]
