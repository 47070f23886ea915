"""Which temporal layers there are, and what is to be known of each to place it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import nn

from kinema.layers.abm import BilinearConv
from kinema.layers.action import ActionExcitation
from kinema.layers.contract import TemporalLayer
from kinema.layers.conv2plus1d import ParallelConv2Plus1D, SequentialConv2Plus1D
from kinema.layers.gsf import GateShiftFuse
from kinema.layers.gsm import GateShift
from kinema.layers.i3d import InflatedConv
from kinema.layers.motionsqueeze import MotionSqueeze
from kinema.layers.nonlocal_block import NonLocal
from kinema.layers.stam import STAMConv
from kinema.layers.sth import STHConv
from kinema.layers.stm import STMConv
from kinema.layers.stsm import SpatioTemporalShift
from kinema.layers.tadaconv import TAdaConv
from kinema.layers.tam import TemporalAdaptive
from kinema.layers.tdn import TemporalDifference
from kinema.layers.tea import MotionExcitation, tea_block
from kinema.layers.tin import TemporalInterlace
from kinema.layers.tsm import TemporalShift
from kinema.wording import nearest


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
    """With a stage of this many blocks, every second block of the network is left alone, at the layer's own site."""
    pattern: tuple[tuple[int, ...], ...] | None = None
    """Which blocks get a layer: a row of ones and zeros for each stage, repeated; later stages take the last row. Where
    that leaves none, as in a network of one stage or of single blocks, all get one."""
    ends_stage: int | None = None
    """With a number, only the last block of the stage of this number, from 0, gets a layer; of the last stage, where
    there are fewer."""
    of_block: Literal["every", "first", "last"] = "every"
    """Which of several places in a block are taken."""
    in_splits: Callable[..., tuple[nn.Module, ...]] | None = None
    """Where a block splits its channels, as Res2Net's do, and no other site is given, makes what stands there instead:
    from the modules of the split, with the layer's own options, what takes the place of each."""
    in_turn: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    """Option -> word -> the values that the word deals out in turn, from the network's first layer to its last."""
    starts_as_2d: bool = False
    """Whether a fresh one computes what the 2D network did, to the last bit, so that it sees no order until trained."""
    sees_order: bool = True
    """Whether frames in another order can change more than the order of its outputs. Where not, frames do meet, but a
    network of this layer alone cannot tell a clip from its reversal."""

    @property
    def takes_norm(self) -> bool:
        """Whether it is built from a conv and its batch norm."""
        return self.site == "spatial_bn"

    @property
    def any_length(self) -> bool:
        """Whether its T can change once it is built."""
        return bool(getattr(self.layer, "any_length", True))

    @property
    def option_names(self) -> list[str]:
        """Its options: the layer's keyword arguments, apart from those that every layer has."""
        parameters = inspect.signature(self.layer).parameters.values()
        keywords = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        return [name for name in keywords if name not in ("num_frames", "causal")]

    def check_types(self, options: Mapping[str, Any]) -> None:
        """Refuses options of another type than the layer's signature says.

        Raises:
            ValueError: If there is one.
        """
        hints = get_type_hints(self.layer.__init__)
        for name in options.keys() & set(self.option_names):
            value, hint = options[name], hints[name]
            words = self.in_turn.get(name, {})
            if not _is_of(value, hint) and not (isinstance(value, str) and value in words):
                literal = get_args(hint) if get_origin(hint) is Literal else ()
                wanted = " or ".join([*(literal or (getattr(hint, "__name__", str(hint)),)), *words])
                raise ValueError(f"{name} must be of type {wanted}, got {value!r}; docs/layers.md says what it may be")

    def deal(self, options: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Returns those of the options that it knows, for the network's layer of this number.

        A word that stands for values in turn is replaced by the value whose turn it is.
        """
        dealt = {name: value for name, value in options.items() if name in self.option_names}
        for option, words in self.in_turn.items():
            value = dealt.get(option)
            if isinstance(value, str) and value in words:
                dealt[option] = words[value][number % len(words[value])]
        return dealt


def _is_of(value: object, hint: Any) -> bool:  # noqa: ANN401 (a type, of whatever form)
    """Tells whether an option's value is of a type; which words a Literal allows, the layer says."""
    if get_origin(hint) is Literal:
        return isinstance(value, str)
    if get_origin(hint) in (Union, UnionType):
        return any(_is_of(value, one) for one in get_args(hint))
    if hint in (int, float):
        return isinstance(value, hint | int) and not isinstance(value, bool)
    return isinstance(value, hint)


TEMPORAL_LAYERS: dict[str, TemporalKind | None] = {
    "none": None,
    "tsm": TemporalKind(TemporalShift, site="entry", wraps=True, thin_from=23),
    "sth": TemporalKind(STHConv, site="spatial", in_turn={"dilation": {"fixed": (1,), "alternating": (1, 2, 3)}}),
    "stm": TemporalKind(STMConv, site="spatial"),
    "stsm": TemporalKind(SpatioTemporalShift, site="entry", wraps=True),
    "stam": TemporalKind(STAMConv, site="spatial_bn", starts_as_2d=True),
    "tam": TemporalKind(TemporalAdaptive, site="spatial", wraps=True, of_block="last"),
    "tadaconv": TemporalKind(TAdaConv, site="spatial_bn", starts_as_2d=True),
    "abm": TemporalKind(
        BilinearConv,
        site="spatial_bn",
        of_block="first",
        pattern=((0,), (0, *(1,) * 99)),
        starts_as_2d=True,
    ),
    "conv2plus1d_sequential": TemporalKind(SequentialConv2Plus1D, site="spatial", starts_as_2d=True),
    "conv2plus1d_parallel": TemporalKind(ParallelConv2Plus1D, site="spatial", starts_as_2d=True),
    "gsm": TemporalKind(GateShift, site="exit", wraps=True),
    "gsf": TemporalKind(GateShiftFuse, site="exit", wraps=True),
    "tin": TemporalKind(TemporalInterlace, site="entry", wraps=True),
    "action": TemporalKind(ActionExcitation, site="entry", wraps=True, thin_from=23),
    "tea": TemporalKind(MotionExcitation, site="spatial", wraps=True, of_block="first", in_splits=tea_block),
    "i3d": TemporalKind(InflatedConv, site="entry", pattern=((1,), (1, 0), (1, 0), (0, 1))),
    "nonlocal": TemporalKind(
        NonLocal,
        site="block",
        wraps=True,
        pattern=((0,), (1, 0), (1, 0), (0,)),
        starts_as_2d=True,
        sees_order=False,
    ),
    "motionsqueeze": TemporalKind(MotionSqueeze, site="block", wraps=True, ends_stage=1),
    "tdn": TemporalKind(TemporalDifference, site="spatial", wraps=True, of_block="last", pattern=((0,), (1,))),
}
"""Name -> layer; `none` is TSN, frames that meet only in the average of their logits."""


def lookup(name: str) -> TemporalKind | None:
    """Finds a temporal layer by its name.

    Args:
        name: A name in `TEMPORAL_LAYERS`.

    Returns:
        The layer; None for `none`.

    Raises:
        ValueError: If there is no such name; with the nearest one.
    """
    if name not in TEMPORAL_LAYERS:
        raise ValueError(
            f"temporal must be one of {', '.join(TEMPORAL_LAYERS)}, got {name!r}; {nearest(name, TEMPORAL_LAYERS)}"
        )
    return TEMPORAL_LAYERS[name]
