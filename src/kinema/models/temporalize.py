"""Puts temporal layers into a 2D network: find the sites, build from what stands there, replace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from torch import nn

from kinema.layers.contract import TemporalLayer
from kinema.models.placing import replacements_at
from kinema.models.sites import Site, find_sites, named_sites
from kinema.models.temporal_layers import TemporalKind, lookup
from kinema.models.temporal_pool import TemporalPool, add_temporal_pool, pooled_length, remove_temporal_pool

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
            (TSM's official code takes every second block in networks with a stage of 23 blocks or more; I3D's of a
            ResNet are a table).
        temporal_pool: Whether to halve T before the second stage, as TSM's official code can; the network then gives
            ceil(T / 2) frames for each clip.
        **options: Keyword arguments of the layers; each layer takes those that it knows.

    Returns:
        The same backbone.

    Raises:
        ValueError: If a name or an option is unknown, no block is known, a layer refuses what stands at its site,
            the backbone holds temporal layers already, or the pool is asked for in a causal network. The backbone is
            then as it was.
    """
    names = (temporal,) if isinstance(temporal, str) else tuple(temporal)
    kinds = [kind for kind in map(lookup, names) if kind is not None]
    _check_options(names, kinds, options)
    _check_untouched(backbone, names)
    chosen = [(kind, _chosen_sites(backbone, kind, site=site, sites=sites, every=every)) for kind in kinds]
    pooled: set[str] = set()
    if temporal_pool:
        pool = add_temporal_pool(backbone, num_frames=num_frames, causal=causal)
        pooled = _behind(backbone, pool)
    replaced: list[tuple[str, nn.Module]] = []
    try:
        for kind, places in chosen:
            built: dict[str, nn.Module] = {}
            for number, place in enumerate(places):
                frames = pooled_length(num_frames) if place.paths[0] in pooled else num_frames
                build = partial(kind.layer, num_frames=frames, causal=causal, **kind.deal(options, number))
                built |= replacements_at(backbone, place, build, wraps=kind.wraps)
            for path, module in built.items():
                replaced.append((path, backbone.get_submodule(path)))
                backbone.set_submodule(path, module)
    except ValueError:  # what the first layer has taken, the second may refuse: the backbone is left as it was
        for path, module in reversed(replaced):
            backbone.set_submodule(path, module)
        if temporal_pool:
            remove_temporal_pool(backbone)
        raise
    return backbone


def set_num_frames(model: nn.Module, num_frames: int) -> None:
    """Tells every part of a model, a temporalized backbone or a video network, that clips have T frames from now on.

    Args:
        model: The model, changed in place.
        num_frames: Frames T of a clip.

    Raises:
        ValueError: If a layer cannot change its T; nothing is then changed.
    """
    setters: list[tuple[Callable[[int], None], int]] = []
    for module in model.modules():
        setter = getattr(module, "set_num_frames", None)
        if not callable(setter):
            continue
        if isinstance(module, TemporalLayer):
            module.check_num_frames(num_frames)
        setters.append((setter, num_frames))
        if isinstance(module, TemporalPool):  # modules stand in the order of the network
            num_frames = pooled_length(num_frames)
    for setter, frames in setters:
        setter(frames)


def _chosen_sites(
    backbone: nn.Module,
    kind: TemporalKind,
    *,
    site: str | None,
    sites: Sequence[str | Sequence[str]] | None,
    every: int | None,
) -> list[Site]:
    if sites is not None:
        if site is not None or every is not None:
            raise ValueError(f"sites must stand alone, got site={site!r} and every={every} beside it; drop one or both")
        return named_sites(backbone, sites, count=2 if kind.takes_norm else 1)
    if site is not None and kind.takes_norm != (site == "spatial_bn"):
        name = getattr(kind.layer, "__name__", "the layer")
        rule, advice = ("be spatial_bn", "drop it") if kind.takes_norm else ("be a single module", "take 'spatial'")
        raise ValueError(f"site must {rule} for {name}, got {site!r}; {advice}")
    if every is not None and every < 1:
        raise ValueError(f"every must be at least 1, got {every}; 1 takes every block")
    found = find_sites(backbone, site or kind.site)
    if kind.last_of_block:
        found = list({(place.stage, place.index): place for place in found}.values())
    if every is None and kind.pattern is not None:
        return _patterned(found, kind.pattern)
    if every is None:
        deepest = max(place.index for place in found) + 1
        thin = kind.thin_from is not None and deepest >= kind.thin_from and site in (None, kind.site)
        every = 2 if thin else 1
    return [place for place in found if place.index % every == 0]


def _patterned(sites: list[Site], pattern: tuple[tuple[int, ...], ...]) -> list[Site]:
    stages = list(dict.fromkeys(found.stage for found in sites))
    rows = {stage: pattern[min(number, len(pattern) - 1)] for number, stage in enumerate(stages)}
    return [found for found in sites if rows[found.stage][found.index % len(rows[found.stage])]]


def _behind(backbone: nn.Module, pool: TemporalPool) -> set[str]:
    """Lists the modules that come after the pool, by their paths."""
    modules = list(backbone.named_modules())
    place = next(number for number, (_, module) in enumerate(modules) if module is pool)
    return {path for path, _ in modules[place + 1 :]}


def _check_options(names: tuple[str, ...], kinds: list[TemporalKind], options: dict[str, Any]) -> None:
    known = sorted({name for kind in kinds for name in kind.option_names})
    for option in options:
        if option not in known:
            raise ValueError(
                f"an option of {' and '.join(names)} must be one of {', '.join(known) or 'none at all'}, "
                f"got {option!r}; rename or drop it"
            )


def _check_untouched(backbone: nn.Module, names: tuple[str, ...]) -> None:
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise ValueError(f"temporal must name each layer once, got {doubled[0]!r} more than once; drop one")
    for path, module in backbone.named_modules():
        if isinstance(module, TemporalLayer | TemporalPool):
            raise ValueError(
                f"backbone must be a 2D network, got one with {type(module).__name__} at {path}; "
                "name several layers in one list, as in ['tsm', 'sth']"
            )
