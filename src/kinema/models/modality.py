"""What a network sees other than frames: how much of it is stacked, and how it is normalized."""

from __future__ import annotations

import statistics
from dataclasses import replace

from kinema.spec import DEFAULT_STACK, FRAME_CHANNELS, ClipSpec, Modality
from kinema.wording import nearest

FLOW_MEAN = 0.5


def modality_spec(spec: ClipSpec, modality: Modality, *, stack: int) -> ClipSpec:
    """Turns the spec of a backbone on RGB into that of another modality.

    Flow has mean 0.5 and the mean of the three deviations of RGB, as in TSM's code; rest, stored as 128, is then just
    above zero. Differences, of values in [0, 1], are neither shifted nor scaled, as in the code of TSN and TSM.

    Args:
        spec: What the backbone's weights were trained with.
        modality: What the network is to see.
        stack: How many pictures of it are stacked.

    Returns:
        The spec.
    """
    channels = FRAME_CHANNELS[modality]
    if modality == "flow":
        deviation = round(statistics.fmean(spec.std), 6)
        return replace(spec, modality=modality, stack=stack, mean=(FLOW_MEAN,) * channels, std=(deviation,) * channels)
    if modality == "rgbdiff":
        return replace(spec, modality=modality, stack=stack, mean=(0.0,) * channels, std=(1.0,) * channels)
    return replace(spec, stack=stack)


def choose_stack(modality: Modality, stack: int | None, *, short_term: int) -> int:
    """Returns how many pictures are stacked.

    Args:
        modality: What the network sees.
        stack: What was asked for; none is the modality's default.
        short_term: Frames that the short-term module takes; 1 without it.

    Raises:
        ValueError: If the modality is unknown, frames are to be stacked by other means than `short_term`, or this comes
            with another modality.
    """
    if modality not in DEFAULT_STACK:
        known = ", ".join(DEFAULT_STACK)
        raise ValueError(f"modality must be one of {known}, got {modality!r}; {nearest(modality, list(DEFAULT_STACK))}")
    if modality == "rgb":
        if stack not in (None, short_term):
            raise ValueError(
                f"stack must be left out for modality rgb, got {stack}; a spec says it: ClipSpec(stack={stack}, ...)"
            )
        return short_term
    stack = DEFAULT_STACK[modality] if stack is None else stack
    check_short_term(short_term, modality=modality, stack=stack)
    if stack < 1:
        raise ValueError(f"stack must be a whole number of at least 1, got {stack}; TSN takes 5")
    return stack


def check_short_term(short_term: int, *, modality: Modality, stack: int) -> None:
    """Refuses pictures that the short-term module cannot take.

    Args:
        short_term: Frames that it takes; 1 without it.
        modality: What the network sees.
        stack: How many pictures of it are stacked.

    Raises:
        ValueError: If they are no frames, or not so many.
    """
    if short_term > 1 and modality != "rgb":
        raise ValueError(
            f"modality must be rgb for short_term, which takes differences of frames itself, got {modality}; leave one "
            "of them out"
        )
    if short_term > 1 and stack != short_term:
        raise ValueError(
            f"stack of the spec must be {short_term} for short_term, got {stack}; make it "
            f"ClipSpec(stack={short_term}, ...)"
        )


def check_said_once(spec: ClipSpec, modality: Modality, stack: int | None) -> None:
    """Refuses a modality or a stack beside a spec that says another one.

    Raises:
        ValueError: If they differ.
    """
    if modality not in ("rgb", spec.modality) or stack not in (None, spec.stack):
        raise ValueError(
            f"modality and stack must be left out beside a spec, which says {spec.modality} and {spec.stack}, got "
            f"{modality} and {stack}; drop them"
        )
