"""Puts temporal layers into a 2D network: find the sites, build from what stands there, replace."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from torch import nn

from kinema.layers.contract import TemporalLayer
from kinema.models.placing import replacements_at
from kinema.models.short_term import ShortTerm, ShortTermStem
from kinema.models.sites import Site, find_sites, named_sites, split_sites
from kinema.models.temporal_layers import TemporalKind, lookup
from kinema.models.temporal_pool import TemporalPool, add_temporal_pool, pooled_length, remove_temporal_pool
from kinema.models.video_networks import VideoNetwork
from kinema.wording import nearest

OWN_OPTIONS = {"site", "sites", "every", "temporal_pool", "short_term"}
"""Options that are no layer's."""

Backbone = TypeVar("Backbone", bound=nn.Module)


def temporalize(
    backbone: Backbone,
    temporal: str | Sequence[str],
    *,
    num_frames: int,
    causal: bool = False,
    site: str | None = None,
    sites: Sequence[str | Sequence[str]] | None = None,
    every: int | None = None,
    temporal_pool: bool = False,
    short_term: bool = False,
    **options: Any,  # noqa: ANN401 (the layers' own, checked against their signatures)
) -> Backbone:
    """Turns a 2D network into one that sees time, in place; weights of the 2D network carry over.

    Args:
        backbone: A network with blocks that `BLOCKS` knows, at any nesting, or any other with `sites`; it then takes
            folded frames [N*T, C, H, W].
        temporal: Names in `TEMPORAL_LAYERS`; several are applied left to right.
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.
        site: Where in a block the layers stand, instead of each layer's own default.
        sites: The modules by dotted path at which the layers stand, instead of those found in known blocks; for a layer
            that is built from a conv and its batch norm, pairs of paths.
        every: Every how many-th block of a stage, from its first one, gets a layer; instead of each layer's own rule
            (TSM's takes every second block in networks with a stage of 23 or more; I3D's of a ResNet are a table).
        temporal_pool: Whether to halve T before the second stage, as TSM's official code can; the network then gives
            ceil(T / 2) frames for each clip.
        short_term: Whether stem and first stage of a ResNet also see the differences of neighbouring frames, as TDN's
            short-term module does; the network then takes 5 frames stacked in the channels of each of the T.
        **options: Keyword arguments of the layers; each layer takes those that it knows.

    Returns:
        The same backbone.

    Raises:
        ValueError: If a name or an option is unknown, no block is known, a layer refuses its site, or the backbone has
            temporal layers, is a whole video network, or has no place for pool or short-term module; it is as it was.
    """
    names = (temporal,) if isinstance(temporal, str) else tuple(temporal)
    kinds = [kind for kind in map(lookup, names) if kind is not None]
    placed = any(value is not None for value in (site, sites, every))
    _check_options(names, kinds, options, placed=placed)
    _check_untouched(backbone, names)
    chosen = [(kind, _chosen_sites(backbone, kind, site=site, sites=sites, every=every)) for kind in kinds]
    chosen.sort(key=lambda one: (site or one[0].site) == "block")  # what stands around a block moves its inner paths
    short = ShortTerm(backbone, num_frames=num_frames) if short_term else None
    pool = add_temporal_pool(backbone, num_frames=num_frames, causal=causal) if temporal_pool else None
    lengths = _lengths(backbone, num_frames, pool)
    before: list[tuple[str, nn.Module]] = []
    try:
        for kind, places in chosen:
            before += _replace(backbone, _built(backbone, kind, places, lengths, causal=causal, options=options))
    except BaseException:  # what the first layer has taken, the second may refuse
        _replace(backbone, dict(reversed(before)))
        remove_temporal_pool(backbone)
        raise
    if short is not None:
        short.place(backbone)
    return backbone


def _built(
    backbone: nn.Module,
    kind: TemporalKind,
    places: list[Site],
    lengths: dict[str, int],
    *,
    causal: bool,
    options: dict[str, Any],
) -> dict[str, nn.Module]:
    """Builds the layers of one kind, each for the frames that come to its place; returns what is to stand where."""
    built: dict[str, nn.Module] = {}
    for number, place in enumerate(places):
        make = kind.in_splits if place.is_split and kind.in_splits else kind.layer
        frames = lengths[place.paths[0]]
        build = partial(make, num_frames=frames, causal=causal, **kind.deal(options, number))
        built |= replacements_at(backbone, place, build, wraps=kind.wraps)
    return built


def _replace(backbone: nn.Module, modules: dict[str, nn.Module]) -> list[tuple[str, nn.Module]]:
    """Puts modules at their paths; returns what stood there."""
    before = [(path, backbone.get_submodule(path)) for path in modules]
    for path, module in modules.items():
        backbone.set_submodule(path, module)
    return before


def set_num_frames(backbone: nn.Module, num_frames: int) -> None:
    """Tells every temporal layer of a backbone that clips have T frames from now on; a `VideoClassifier` has a method.

    Args:
        backbone: The temporalized backbone, changed in place.
        num_frames: Frames T of a clip.

    Raises:
        ValueError: If a layer cannot change its T; nothing is then changed.
    """
    changes: list[tuple[TemporalLayer | TemporalPool | VideoNetwork, int]] = []
    for module in backbone.modules():
        if isinstance(module, TemporalLayer | VideoNetwork):
            module.check_num_frames(num_frames)
            changes.append((module, num_frames))
        elif isinstance(module, TemporalPool):  # modules stand in the order of the network
            changes.append((module, num_frames))
            num_frames = pooled_length(num_frames)
    for module, frames in changes:
        module.set_num_frames(frames)


def _chosen_sites(
    backbone: nn.Module,
    kind: TemporalKind,
    *,
    site: str | None,
    sites: Sequence[str | Sequence[str]] | None,
    every: int | None,
) -> list[Site]:
    if sites is not None:
        if isinstance(sites, str) or not sites:
            raise ValueError(f"sites must be a list of dotted paths, got {sites!r}; for one, write ['PATH']")
        if site is not None or every is not None:
            raise ValueError(f"sites must stand alone, got site={site!r} and every={every} beside it; drop one or both")
        return named_sites(backbone, sites, count=2 if kind.takes_norm else 1)
    if site is not None and kind.takes_norm != (site == "spatial_bn"):
        name = getattr(kind.layer, "__name__", "the layer")
        rule, advice = ("be spatial_bn", "drop it") if kind.takes_norm else ("be a single module", "take 'spatial'")
        raise ValueError(f"site must {rule} for {name}, got {site!r}; {advice}")
    if every is not None and not (isinstance(every, int) and every >= 1):
        raise ValueError(f"every must be a whole number of at least 1, got {every!r}; 1 takes every block")
    found = find_sites(backbone, site or kind.site)
    if kind.of_block != "every":
        in_order = found if kind.of_block == "last" else found[::-1]
        chosen = {(place.stage, place.index): place for place in in_order}.values()
        found = [place for place in found if place in chosen]
    if kind.in_splits is not None and site is None:
        splits = split_sites(backbone)
        found = [splits.get((place.stage, place.index), place) for place in found]
    if every is None and kind.ends_stage is not None:
        return _ending(found, kind.ends_stage)
    if every is None and kind.pattern is not None:
        return _patterned(found, kind.pattern)
    if every is None:
        deepest = max(place.index for place in found) + 1
        thin = kind.thin_from is not None and deepest >= kind.thin_from and site in (None, kind.site)
        every = 2 if thin else 1
    return [place for place in found if place.index % every == 0]


def _patterned(sites: list[Site], pattern: tuple[tuple[int, ...], ...]) -> list[Site]:
    stages = _stages(sites)
    rows = {stage: pattern[min(number, len(pattern) - 1)] for number, stage in enumerate(stages)}
    return [found for found in sites if rows[found.stage][found.index % len(rows[found.stage])]] or sites


def _ending(sites: list[Site], number: int) -> list[Site]:
    stages = _stages(sites)
    return [found for found in sites if found.stage == stages[min(number, len(stages) - 1)]][-1:]


def _stages(sites: list[Site]) -> list[str]:
    return list(dict.fromkeys(found.stage for found in sites))


def _lengths(backbone: nn.Module, num_frames: int, pool: TemporalPool | None) -> dict[str, int]:
    """Returns how many frames of a clip come to each module, by its path."""
    lengths: dict[str, int] = {}
    for path, module in backbone.named_modules():
        lengths[path] = num_frames
        if module is pool:
            num_frames = pooled_length(num_frames)
    return lengths


def _check_options(names: tuple[str, ...], kinds: list[TemporalKind], options: dict[str, Any], *, placed: bool) -> None:
    if not names:
        raise ValueError("temporal must name a layer, got none; 'none' is TSN, whose frames meet in their logits only")
    if not kinds and placed:
        raise ValueError(
            "site, sites and every must be left out where temporal is 'none', got one of them; drop it, or name a layer"
        )
    known = {name for kind in kinds for name in kind.option_names} | OWN_OPTIONS
    for option in options:
        if option not in known:
            whose = " and ".join(names)
            raise ValueError(f"options must be those of {whose}, got {option!r}; {nearest(option, known)}")
    for kind in kinds:
        kind.check_types(options)


def _check_untouched(backbone: nn.Module, names: tuple[str, ...]) -> None:
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise ValueError(f"temporal must name each layer once, got {doubled[0]!r} more than once; drop one")
    for path, module in backbone.named_modules():
        if isinstance(module, VideoNetwork):
            raise ValueError(
                f"backbone must be a 2D network, got {module.name}, which is a whole video network; take it as it is, "
                "from create_model"
            )
        if isinstance(module, TemporalLayer | TemporalPool | ShortTermStem):
            raise ValueError(
                f"backbone must be a 2D network, got one with {type(module).__name__} at {path}; "
                "name several layers in one list, as in ['tsm', 'sth']"
            )
