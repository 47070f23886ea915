"""Puts temporal layers into a 2D network: find the sites, build from what stands there, replace."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.conv2plus1d import ParallelConv2Plus1D, SequentialConv2Plus1D
from kinema.layers.i3d import InflatedConv
from kinema.layers.stam import STAMConv
from kinema.layers.sth import STHConv
from kinema.layers.stm import STMConv
from kinema.layers.stsm import SpatioTemporalShift
from kinema.layers.tadaconv import TAdaConv
from kinema.layers.tam import TemporalAdaptive
from kinema.layers.tsm import TemporalShift
from kinema.models.sites import Site, find_sites, standing_at
from kinema.models.temporal_pool import TemporalPool, add_temporal_pool, pooled_length

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
    """With a stage of this many blocks, every second block of the network is left alone, at the layer's own site."""
    pattern: tuple[tuple[int, ...], ...] | None = None
    """Which blocks get a layer: a row of ones and zeros for each stage, repeated; later stages take the last row."""
    last_of_block: bool = False
    """Whether of several places in a block only the last one is taken."""
    in_turn: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    """Option -> word -> the values that the word deals out in turn, from the network's first layer to its last."""
    starts_as_2d: bool = False
    """Whether a fresh one computes what the 2D network did, to the last bit, so that it sees no order until trained."""
    norm: bool = False
    """Whether it stands in place of a conv and its batch norm, at the site `spatial_bn`."""
    any_length: bool = True
    """Whether its T can change once it is built."""


TEMPORAL_LAYERS: dict[str, TemporalKind | None] = {
    "none": None,
    "tsm": TemporalKind(TemporalShift, site="entry", wraps=True, thin_from=23),
    "sth": TemporalKind(STHConv, site="spatial", in_turn={"dilation": {"alternating": (1, 2, 3)}}),
    "stm": TemporalKind(STMConv, site="spatial"),
    "stsm": TemporalKind(SpatioTemporalShift, site="entry", wraps=True),
    "stam": TemporalKind(STAMConv, site="spatial_bn", starts_as_2d=True, norm=True),
    "tam": TemporalKind(TemporalAdaptive, site="spatial", wraps=True, last_of_block=True, any_length=False),
    "tadaconv": TemporalKind(TAdaConv, site="spatial_bn", starts_as_2d=True, norm=True),
    "conv2plus1d_sequential": TemporalKind(SequentialConv2Plus1D, site="spatial", starts_as_2d=True),
    "conv2plus1d_parallel": TemporalKind(ParallelConv2Plus1D, site="spatial", starts_as_2d=True),
    "i3d": TemporalKind(InflatedConv, site="entry", pattern=((1,), (1, 0), (1, 0), (0, 1))),
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
    temporal_pool: bool = False,
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
            (TSM's official code takes every second block in networks with a stage of 23 blocks or more; I3D's of a
            ResNet are a table).
        temporal_pool: Whether to halve T before the second stage, as TSM's official code can; the network then gives
            ceil(T / 2) frames for each clip.
        **options: Keyword arguments of the layers; each layer takes those that it knows.

    Returns:
        The same backbone.

    Raises:
        ValueError: If a name or an option is unknown, no block is known, the backbone holds temporal layers already, or
            the pool is asked for in a causal network.
    """
    names = (temporal,) if isinstance(temporal, str) else tuple(temporal)
    kinds = [kind for kind in map(_lookup, names) if kind is not None]
    _check_options(names, kinds, options)
    _check_untouched(backbone, names)
    pool = add_temporal_pool(backbone, num_frames=num_frames, causal=causal) if temporal_pool else None
    for kind in kinds:
        known = {name: value for name, value in options.items() if name in _option_names(kind)}
        for number, found in enumerate(_chosen_sites(backbone, kind, site=site or kind.site, every=every)):
            frames = num_frames if pool is None or pool.stage == found.stage else pool.frames_after
            _place(backbone, kind, found.paths, num_frames=frames, causal=causal, **_deal(kind, known, number))
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


def _chosen_sites(backbone: nn.Module, kind: TemporalKind, *, site: str, every: int | None) -> list[Site]:
    if kind.norm and site != "spatial_bn":
        raise ValueError(f"site must be a conv and its norm for this layer, got {site!r}; take 'spatial_bn'")
    if not kind.norm and site == "spatial_bn":
        raise ValueError("site must be a single module for these layers, got 'spatial_bn'; take 'spatial'")
    if every is not None and every < 1:
        raise ValueError(f"every must be at least 1, got {every}; 1 takes every block")
    sites = find_sites(backbone, site)
    if kind.last_of_block:
        sites = list({(found.stage, found.index): found for found in sites}.values())
    if every is None and kind.pattern is not None:
        return _patterned(sites, kind.pattern)
    if every is None:
        deepest = max(found.index for found in sites) + 1
        every = 2 if kind.thin_from is not None and deepest >= kind.thin_from and site == kind.site else 1
    return [found for found in sites if found.index % every == 0]


def _patterned(sites: list[Site], pattern: tuple[tuple[int, ...], ...]) -> list[Site]:
    stages = list(dict.fromkeys(found.stage for found in sites))
    rows = {stage: pattern[min(number, len(pattern) - 1)] for number, stage in enumerate(stages)}
    return [found for found in sites if rows[found.stage][found.index % len(rows[found.stage])]]


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
        if isinstance(module, TemporalLayer | TemporalPool):
            raise ValueError(
                f"backbone must be a 2D network, got one with {type(module).__name__} at {path}; "
                "name several layers in one list, as in ['tsm', 'sth']"
            )
