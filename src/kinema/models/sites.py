"""Where a temporal layer can stand: the sites of a backbone, found in its blocks or named by path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from kinema.layers.contract import TemporalLayer
from kinema.models.blocks import BLOCKS, FAMILIES, FLAT_NETWORKS, BlockParts
from kinema.wording import nearest

SiteName = Literal["entry", "spatial", "spatial_bn", "exit", "block"]
SITE_NAMES: tuple[str, ...] = get_args(SiteName)
NAMED_CANDIDATES = 12
"""How many convs the error about an unknown network names."""
WHY_ABSENT = {
    "entry": "none of them has a first conv of a residual branch",
    "spatial": "none of them has a k x k conv",
    "spatial_bn": "no k x k conv of theirs has a batch norm right behind it",
    "exit": "none of them has a residual branch",
    "block": "they do not take frames [N, C, H, W] as one tensor",
}


@dataclass(frozen=True)
class Site:
    """One place in a network."""

    paths: tuple[str, ...]
    """Dotted path of each module that stands there: the conv and its batch norm at `spatial_bn`, else one."""
    stage: str
    """Dotted path of the container that the block is in."""
    index: int
    """Number of the block in its stage, from 0."""
    is_split: bool = False
    """Whether these are the modules between which the block splits its channels."""


@dataclass(frozen=True)
class Block:
    """One known block of a network, its parts by their whole paths."""

    path: str
    family: str
    stage: str
    """Dotted path of the container that the block is in."""
    index: int
    """Number of the block in its stage, from 0."""
    sites: dict[str, list[tuple[str, ...]]]
    """Name of a site -> the paths of the modules at each one; `split`: those between which it splits its channels."""


def find_sites(backbone: nn.Module, site: str) -> list[Site]:
    """Lists the places of one kind, in the order of the network.

    Args:
        backbone: A network, at any nesting.
        site: One of `entry`, `spatial`, `spatial_bn`, `exit`, `block`.

    Returns:
        The sites.

    Raises:
        ValueError: If the site's name is unknown, no block of the backbone is, or none has that site.
    """
    if site not in SITE_NAMES:
        raise ValueError(f"site must be one of {', '.join(SITE_NAMES)}, got {site!r}; choose one of them")
    blocks = find_blocks(backbone)
    if not blocks:
        raise ValueError(
            f"backbone must have blocks of a known kind, got a {type(backbone).__name__} without any (known are those "
            f"of {', '.join(FAMILIES)}); name the places yourself, as in sites=[...], from "
            f"{_candidates_in_words(backbone)}"
        )
    sites = [Site(paths, block.stage, block.index) for block in blocks for paths in block.sites[site]]
    if not sites:
        there = [name for name in SITE_NAMES if any(block.sites[name] for block in blocks)]
        raise ValueError(
            f"site must be one that the blocks of {type(backbone).__name__} have ({', '.join(there)}), got {site!r}: "
            f"{WHY_ABSENT[site]}; choose another site or another layer"
        )
    return sites


def split_sites(backbone: nn.Module) -> dict[tuple[str, int], Site]:
    """Finds the blocks that split their channels, as Res2Net's do.

    Returns:
        Stage and index of each -> the modules of its split, as one site.
    """
    return {
        (block.stage, block.index): Site(paths, block.stage, block.index, is_split=True)
        for block in find_blocks(backbone)
        for paths in block.sites["split"]
    }


def named_sites(backbone: nn.Module, sites: Sequence[str | Sequence[str]], *, count: int) -> list[Site]:
    """Turns paths that a caller gives into sites.

    Args:
        backbone: A network.
        sites: A dotted path for each site; where a layer is built from a conv and its norm, the paths of both.
        count: How many modules stand at a site: 1, or 2 for a conv and its norm. Of pairs, a layer at one takes the
            first.

    Returns:
        The sites, all of one stage.

    Raises:
        ValueError: If a path leads nowhere, or the number of paths is wrong; the sentence names the path.
    """
    known = [path for path, _ in backbone.named_modules() if path]
    found: list[Site] = []
    for index, given in enumerate(sites):
        paths = (given,) if isinstance(given, str) else tuple(given)
        if count == 1 and len(paths) == 2:  # a pair for another layer: this one takes the conv
            paths = paths[:1]
        if len(paths) != count:
            wanted = "one path each" if count == 1 else "the paths of a conv and of its batch norm, as a pair"
            raise ValueError(f"sites must hold {wanted}, got {given!r}; look the paths up with named_modules()")
        for path in paths:
            if path not in known:
                raise ValueError(
                    f"sites must be paths of modules in the backbone, got {path!r}; {nearest(path, known)}"
                )
        found.append(Site(paths, "", index))
    return found


def find_blocks(backbone: nn.Module) -> list[Block]:
    """Lists the known blocks, in the order of the network."""
    blocks: list[Block] = []
    counts: dict[str, int] = {}
    for path, module, parts in _known(backbone):
        sites = _block_sites(path, module, parts)
        if not sites["spatial"]:  # a 1 x 1 conv in a block class that has k x k ones elsewhere
            continue
        flat = parts.list_of_blocks
        shown, stage = (sites["entry"][0][0], path) if flat else (path, path.rpartition(".")[0])
        index = counts.get(stage, 0)
        counts[stage] = index + 1
        blocks.append(Block(shown, parts.family, stage, index, sites))
    return blocks


def find_candidates(backbone: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """Lists the k x k convs of a network, with their paths: where layers could stand if its blocks are not known."""
    return [
        (path, module)
        for path, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1
    ]


def shape_in_words(conv: nn.Conv2d) -> str:
    """Says channels, kernel, stride and groups of a conv in a few words."""
    words = f"{conv.in_channels} -> {conv.out_channels}, {conv.kernel_size[0]} x {conv.kernel_size[1]}"
    words += f", stride {max(conv.stride)}" if max(conv.stride) > 1 else ""
    return words + (f", groups {conv.groups}" if conv.groups > 1 else "")


def standing_at(backbone: nn.Module, path: str) -> tuple[str, nn.Module]:
    """Looks through wrappers: where a layer such as TSM stands before a conv, the conv is what a replacing layer gets.

    Returns:
        Path and module of the innermost one.
    """
    module = backbone.get_submodule(path)
    while isinstance(module, TemporalLayer) and isinstance(inner := getattr(module, "net", None), nn.Module):
        path, module = f"{path}.net", inner
    return path, module


def _known(backbone: nn.Module) -> Iterator[tuple[str, nn.Module, BlockParts]]:
    """Yields path, module and parts of each known block; in a flat list of layers, path and module of the list."""
    for path, module in backbone.named_modules():
        name = f"{type(module).__module__}.{type(module).__qualname__}"
        if name in BLOCKS:
            yield path, module, _fitting(path, module, BLOCKS[name])
        if name in FLAT_NETWORKS:
            family, inner = FLAT_NETWORKS[name]
            layers = module.get_submodule(inner)
            yield from ((f"{path}.{inner}".lstrip("."), layers, parts) for parts in _flat_blocks(family, layers))


def _flat_blocks(family: str, layers: nn.Module) -> Iterator[BlockParts]:
    """Makes a block of every conv of a flat list but the first."""
    names = [name for name, _ in layers.named_children()]
    convs = [name for name in names if isinstance(standing_at(layers, name)[1], nn.Conv2d | TemporalLayer)]
    for conv in convs[1:]:
        behind = names[names.index(conv) + 1]
        norm = behind if isinstance(standing_at(layers, behind)[1], nn.BatchNorm2d) else None
        yield BlockParts(
            family=family,
            entry=(conv,),
            spatial=((conv, norm),),
            exit=norm or conv,
            block=False,
            list_of_blocks=True,
        )


def _fitting(path: str, module: nn.Module, kinds: tuple[BlockParts, ...]) -> BlockParts:
    """Takes the first kind whose parts are all in the block."""
    inside = {name for name, _ in module.named_modules(remove_duplicate=False)}
    for parts in kinds:
        names = [*parts.entry, *(name for pair in parts.spatial for name in pair), parts.exit, *parts.split]
        if all(name is None or name.removesuffix(".*") in inside for name in names):
            return parts
    raise ValueError(
        f"{path} must have the parts of a {type(module).__name__}, got {', '.join(sorted(inside - {''}))}; "
        "name the places yourself, as in sites=[...]"
    )


def _block_sites(path: str, module: nn.Module, parts: BlockParts) -> dict[str, list[tuple[str, ...]]]:
    def whole(name: str) -> str:
        return f"{path}.{name}" if path else name

    def each(name: str) -> list[str]:
        if not name.endswith(".*"):
            return [whole(name)]
        return [whole(f"{name[:-2]}.{child}") for child, _ in module.get_submodule(name[:-2]).named_children()]

    def pointwise(name: str) -> bool:
        conv = None if name.endswith(".*") else module.get_submodule(name)
        return isinstance(conv, nn.Conv2d) and max(conv.kernel_size) == 1

    has_entry = parts.residual is None or bool(getattr(module, parts.residual))
    spatial = [(conv, norm) for conv, norm in parts.spatial if not pointwise(conv)]
    normed = [(conv, norm) for conv, norm in spatial if norm is not None]
    return {
        "entry": [(whole(name),) for name in parts.entry if has_entry],
        "spatial": [(one,) for conv, _ in spatial for one in each(conv)],
        "spatial_bn": [pair for conv, norm in normed for pair in zip(each(conv), each(norm), strict=True)],
        "exit": [(whole(parts.exit),)] if parts.exit else [],
        "block": [(path,)] if parts.block else [],
        "split": [tuple(one for name in parts.split for one in each(name))] if parts.split else [],
    }


def _candidates_in_words(backbone: nn.Module) -> str:
    """Names the k x k convs of a network that could be sites."""
    candidates = find_candidates(backbone)
    if not candidates:
        return "its modules: it has no k x k Conv2d"
    shown = "; ".join(f"{path} ({shape_in_words(conv)})" for path, conv in candidates[:NAMED_CANDIDATES])
    rest = len(candidates) - NAMED_CANDIDATES
    return f"its k x k convs: {shown}" + (f"; and {rest} more" if rest > 0 else "")
