"""Puts temporal layers into a 2D network: find the sites, build from what stands there, replace."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.stam import STAMConv
from kinema.layers.sth import STHConv
from kinema.layers.stm import STMConv
from kinema.layers.stsm import SpatioTemporalShift
from kinema.layers.tsm import TemporalShift
from kinema.models.sites import find_sites, standing_at

Backbone = TypeVar("Backbone", bound=nn.Module)


@dataclass(frozen=True)
class TemporalKind:
    """A layer and where it stands unless told otherwise."""

    layer: Callable[..., TemporalLayer]
    """Builds it from what stands at a site."""
    site: str
    wraps: bool = False
    """Whether it stands around what was there (and is then outermost), or replaces it."""
    thin_from: int | None = None
    """With a stage of this many blocks, every second block of the network is left alone."""
    in_turn: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    """Option -> word -> the values that the word deals out in turn, from the network's first layer to its last."""
    starts_as_2d: bool = False
    """Whether a fresh one computes what the 2D network did, to the last bit, so that it sees no order until trained."""
    norm: bool = False
    """Whether it stands in place of a conv and its batch norm, at the site `spatial_bn`."""


TEMPORAL_LAYERS: dict[str, TemporalKind | None] = {
    "none": None,
    "tsm": TemporalKind(TemporalShift, site="entry", wraps=True, thin_from=23),
    "sth": TemporalKind(STHConv, site="spatial", in_turn={"dilation": {"alternating": (1, 2, 3)}}),
    "stm": TemporalKind(STMConv, site="spatial"),
    "stsm": TemporalKind(SpatioTemporalShift, site="entry", wraps=True),
    "stam": TemporalKind(STAMConv, site="spatial_bn", starts_as_2d=True, norm=True),
}
"""Name -> layer; `none` is TSN, frames that meet only in the average of their logits."""


def temporalize(
    backbone: Backbone,
    temporal: str | Sequence[str],
    *,
    num_frames: int,
    causal: bool = False,
    site: str | None = None,
    every: int | None = None,
    **options: Any,  # noqa: ANN401 (the layers' own, checked against their signatures)
) -> Backbone:
    """Turns a 2D network into one that sees time, in place; weights of the 2D network carry over.

    Args:
        backbone: A network with blocks that `BLOCKS` knows, at any nesting; it then takes folded frames [N*T, C, H, W].
        temporal: Names in `TEMPORAL_LAYERS`; several are applied left to right.
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.
        site: Where the layers stand, instead of each layer's own default.
        every: Every how many-th block of a stage, from its first one, gets a layer; instead of each layer's own rule
            (TSM's official code takes every second block in networks with a stage of 23 blocks or more).
        **options: Keyword arguments of the layers; each layer takes those that it knows.

    Returns:
        The same backbone.

    Raises:
        ValueError: If a name or an option is unknown, no block is known, or the backbone holds temporal layers already.
    """
    names = (temporal,) if isinstance(temporal, str) else tuple(temporal)
    kinds = [kind for kind in map(_lookup, names) if kind is not None]
    _check_options(names, kinds, options)
    _check_untouched(backbone, names)
    for kind in kinds:
        known = {name: value for name, value in options.items() if name in _option_names(kind)}
        sites = _chosen_paths(backbone, kind, site=site or kind.site, every=every)
        for number, paths in enumerate(sites):
            _place(backbone, kind, paths, num_frames=num_frames, causal=causal, **_deal(kind, known, number))
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


def _place(backbone: nn.Module, kind: TemporalKind, paths: tuple[str, ...], **arguments: Any) -> None:  # noqa: ANN401
    """Builds one layer from what stands at a site, and puts it there."""
    path = paths[0]
    place, module = (path, backbone.get_submodule(path)) if kind.wraps else standing_at(backbone, path)
    modules = [module, *map(backbone.get_submodule, paths[1:])]
    backbone.set_submodule(place, kind.layer(*modules, **arguments).train(module.training))
    if kind.norm:
        backbone.set_submodule(paths[1], _after_norm(modules[1]))


def _after_norm(norm: nn.Module) -> nn.Module:
    """Returns what a norm does after normalizing: nothing, or the drop and activation of timm's BatchNormAct2d."""
    rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if isinstance(part, nn.Module)]
    rest = [part for part in rest if not isinstance(part, nn.Identity)]
    return nn.Sequential(*rest).train(norm.training) if rest else nn.Identity()


def _chosen_paths(backbone: nn.Module, kind: TemporalKind, *, site: str, every: int | None) -> list[tuple[str, ...]]:
    if kind.norm and site != "spatial_bn":
        raise ValueError(f"site must be a conv and its norm for this layer, got {site!r}; take 'spatial_bn'")
    if not kind.norm and site == "spatial_bn":
        raise ValueError("site must be a single module for these layers, got 'spatial_bn'; take 'spatial'")
    sites = find_sites(backbone, site)
    if every is None:
        deepest = max(found.index for found in sites) + 1
        every = 2 if kind.thin_from is not None and deepest >= kind.thin_from else 1
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}; 1 takes every block")
    return [found.paths for found in sites if found.index % every == 0]


def _deal(kind: TemporalKind, options: dict[str, Any], number: int) -> dict[str, Any]:
    """Returns the options of the network's layer of this number, words for values in turn replaced."""
    dealt = dict(options)
    for option, words in kind.in_turn.items():
        value = options.get(option)
        if isinstance(value, str) and value in words:
            dealt[option] = words[value][number % len(words[value])]
    return dealt


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
