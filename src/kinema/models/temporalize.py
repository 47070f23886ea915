"""Puts temporal layers into a 2D network: find the sites, build from what stands there, replace."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.sth import STHConv
from kinema.layers.tsm import TemporalShift
from kinema.models.placing import replacements_at
from kinema.models.sites import Site, find_sites, named_sites

Backbone = TypeVar("Backbone", bound=nn.Module)


@dataclass(frozen=True)
class TemporalKind:
    """A layer and where it stands unless told otherwise."""

    layer: Callable[..., TemporalLayer]
    """Builds it from what stands at a site."""
    site: str
    """Where it stands unless told otherwise; one with `spatial_bn` is built from two modules, a conv and its norm."""
    wraps: bool = False
    """Whether it stands around what was there (and is then outermost), or replaces it."""
    thin_from: int | None = None
    """With a stage of this many blocks, every second block of the network is left alone."""


TEMPORAL_LAYERS: dict[str, TemporalKind | None] = {
    "none": None,
    "tsm": TemporalKind(TemporalShift, site="entry", wraps=True, thin_from=23),
    "sth": TemporalKind(STHConv, site="spatial"),
}
"""Name -> layer; `none` is TSN, frames that meet only in the average of their logits."""


def temporalize(
    backbone: Backbone,
    temporal: str | Sequence[str],
    *,
    num_frames: int,
    causal: bool = False,
    site: str | None = None,
    sites: Sequence[str | Sequence[str]] | None = None,
    every: int | None = None,
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
            (TSM's official code takes every second block in networks with a stage of 23 blocks or more).
        **options: Keyword arguments of the layers; each layer takes those that it knows.

    Returns:
        The same backbone.

    Raises:
        ValueError: If a name or an option is unknown, no block is known, a layer refuses what stands at its site, or
            the backbone holds temporal layers already.
    """
    names = (temporal,) if isinstance(temporal, str) else tuple(temporal)
    kinds = [kind for kind in map(_lookup, names) if kind is not None]
    _check_options(names, kinds, options)
    _check_untouched(backbone, names)
    for kind in kinds:
        known = {name: value for name, value in options.items() if name in _option_names(kind)}
        build = partial(kind.layer, num_frames=num_frames, causal=causal, **known)
        chosen = _chosen_sites(backbone, kind, site=site, sites=sites, every=every)
        built = [replacements_at(backbone, place, build, wraps=kind.wraps) for place in chosen]
        for path, module in [pair for replacements in built for pair in replacements.items()]:
            backbone.set_submodule(path, module)
    return backbone


def set_num_frames(model: nn.Module, num_frames: int) -> None:
    """Tells every part of a model, a temporalized backbone or a video network, that clips have T frames from now on.

    Args:
        model: The model, changed in place.
        num_frames: Frames T of a clip.

    Raises:
        ValueError: If a layer cannot change its T.
    """
    for module in model.modules():
        setter = getattr(module, "set_num_frames", None)
        if callable(setter):
            setter(num_frames)


def _lookup(name: str) -> TemporalKind | None:
    if name not in TEMPORAL_LAYERS:
        near = difflib.get_close_matches(name, TEMPORAL_LAYERS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"temporal must be one of {', '.join(TEMPORAL_LAYERS)}, got {name!r}; the nearest name is {near!r}"
        )
    return TEMPORAL_LAYERS[name]


def _chosen_sites(
    backbone: nn.Module,
    kind: TemporalKind,
    *,
    site: str | None,
    sites: Sequence[str | Sequence[str]] | None,
    every: int | None,
) -> list[Site]:
    takes_norm = kind.site == "spatial_bn"
    if sites is not None:
        if site is not None or every is not None:
            raise ValueError(f"sites must stand alone, got site={site!r} and every={every} beside it; drop one or both")
        return named_sites(backbone, sites, count=2 if takes_norm else 1)
    if site is not None and takes_norm != (site == "spatial_bn"):
        name = getattr(kind.layer, "__name__", "the layer")
        rule, advice = ("be spatial_bn", "drop it") if takes_norm else ("be a single module", "take 'spatial'")
        raise ValueError(f"site must {rule} for {name}, got {site!r}; {advice}")
    found = find_sites(backbone, site or kind.site)
    if every is None:
        deepest = max(place.index for place in found) + 1
        every = 2 if kind.thin_from is not None and deepest >= kind.thin_from else 1
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}; 1 takes every block")
    return [place for place in found if place.index % every == 0]


def option_names(name: str) -> list[str]:
    """Lists the options of a temporal layer: its keyword arguments, apart from those that every layer has.

    Args:
        name: A name in `TEMPORAL_LAYERS`.

    Returns:
        Their names.

    Raises:
        ValueError: If the name is unknown.
    """
    kind = _lookup(name)
    return [] if kind is None else _option_names(kind)


def _option_names(kind: TemporalKind) -> list[str]:
    parameters = inspect.signature(kind.layer).parameters.values()
    keywords = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return [name for name in keywords if name not in ("num_frames", "causal")]


def _check_options(names: tuple[str, ...], kinds: list[TemporalKind], options: dict[str, Any]) -> None:
    known = sorted({name for kind in kinds for name in _option_names(kind)})
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
        if isinstance(module, TemporalLayer):
            raise ValueError(
                f"backbone must be a 2D network, got one with {type(module).__name__} at {path}; "
                "name several layers in one list, as in ['tsm', 'sth']"
            )
