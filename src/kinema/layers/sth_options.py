"""The words that an STH layer takes as options, and which numbers it refuses."""

from __future__ import annotations

from typing import Literal, get_args

DilatesName = Literal["temporal", "both"]
FusionName = Literal["attention", "sum"]
Way = Literal["auto", "fused", "masked", "plain"]


def check_options(*, fusion: str, temporal_size: int, dilation: int, dilates: str, way: str) -> None:
    """Refuses options that cannot be.

    Raises:
        ValueError: If there is one; the sentence names it.
    """
    if fusion not in get_args(FusionName):
        raise ValueError(f"fusion must be attention or sum, got {fusion!r}; sum is the plain addition of eq. 2")
    if temporal_size < 3 or temporal_size % 2 == 0:
        raise ValueError(f"temporal_size must be odd and at least 3, got {temporal_size}; 3 is the paper's")
    if not isinstance(dilation, int) or dilation < 1:
        raise ValueError(
            f"dilation must be an integer of at least 1, got {dilation!r}; temporalize knows 'alternating' too"
        )
    if dilates not in get_args(DilatesName):
        raise ValueError(f"dilates must be temporal or both, got {dilates!r}; temporal keeps pretrained kernels as is")
    if way not in get_args(Way):
        raise ValueError(f"way must be one of {', '.join(get_args(Way))}, got {way!r}; auto chooses")
