"""Whether data and weights speak of the same classes: names decide, never numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kinema.data.annotations import Annotations
from kinema.spec import ClipSpec
from kinema.wording import listed, nearest

_NUMBERED = re.compile(r"class_[0-9]+")


def compare_classes(annotations: Annotations, spec: ClipSpec) -> list[str]:
    """Compares the classes of data with those of weights.

    Weights may know more classes than the data has. An order of their own does not matter: samples are told by the
    names of their classes.

    Args:
        annotations: The data.
        spec: Of the weights.

    Returns:
        Lines that a person must know.

    Raises:
        ValueError: If the data has classes that the weights do not know; with what only one of them has.
    """
    ours, theirs = annotations.class_names, spec.class_names
    if annotations.multi_label and not spec.multi_label:
        raise ValueError(
            "weights must be trained on videos of several classes for data of such videos, got weights that give each "
            "video one class; train on such data"
        )
    unknown = [name for name in ours if name not in set(theirs)]
    if unknown:
        raise ValueError(_difference(unknown, ours, theirs))
    if len(ours) == len(theirs) and ours != theirs:
        first = next(label for label, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
        return [
            f"classes stand in another order than in the weights (class {first} is {ours[first]!r}, there "
            f"{theirs[first]!r}); they are matched by name"
        ]
    return []


def _difference(unknown: Sequence[str], ours: Sequence[str], theirs: Sequence[str]) -> str:
    """The sentence on two lists of classes that do not fit, with what to do."""
    if all(map(_NUMBERED.fullmatch, ours)) and not all(map(_NUMBERED.fullmatch, theirs)):
        return (
            f"classes of the data must have the names that the weights know, got only numbers ({listed(ours, 3)}); "
            f"name them with --data.class_list FILE (the weights know {listed(theirs, 3)})"
        )
    alike = {_plain(name): name for name in theirs}
    pairs = [f"{name!r} and {alike[_plain(name)]!r}" for name in unknown if _plain(name) in alike]
    if len(pairs) == len(unknown):
        advice = f"the names differ only in case, blanks or underscores ({listed(pairs, 2)}): write them alike"
    else:
        advice = nearest(next(name for name in unknown if _plain(name) not in alike), theirs)
    missing = [name for name in theirs if name not in set(ours)]
    return (
        f"classes of the data must be known to the weights, got {listed(unknown)} only in the data, and "
        f"{listed(missing) or 'none'} only in the weights; {advice}"
    )


def _plain(name: str) -> str:
    """A name without what people write differently."""
    return re.sub(r"[\s_-]+", "", name).casefold()
