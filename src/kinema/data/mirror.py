"""Which classes change when left and right are exchanged, found from their names alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kinema.wording import nearest

_OPPOSITES = (
    ("left", "right"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("leftmost", "rightmost"),
    ("lefthand", "righthand"),
    ("lefthanded", "righthanded"),
    ("lefty", "righty"),
    ("clockwise", "counterclockwise"),
)
_SWAP = {word: other for pair in _OPPOSITES for word, other in (pair, pair[::-1])}
# One writing for the kinds of rotation, applied to a name whose words are already lower case and set apart by blanks.
_ROTATIONS = (
    (re.compile(r"\bclock wise\b"), "clockwise"),
    (re.compile(r"(counter|anti|contra) ?clockwise|\b(ccw|acw)\b"), "counterclockwise"),
    (re.compile(r"\bcw\b"), "clockwise"),
)
_WORD_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])|[\W_]+")
_NEVER = "none"


@dataclass(frozen=True)
class Mirrors:
    """What a horizontal flip does to each class."""

    class_names: tuple[str, ...]
    """Names in the order of the labels."""
    partners: tuple[int | None, ...]
    """For each label the one that its mirrored clip has; none where such a clip has no class here."""

    def label(self, label: int) -> int | None:
        """Label of a mirrored clip, or none if clips of this class must not be mirrored."""
        return self.partners[label]

    def describe(self) -> str:
        """Says in words which classes swap, which are never mirrored, and how many keep their label."""
        pairs = [(i, j) for i, j in enumerate(self.partners) if j is not None and i < j]
        never = [name for name, j in zip(self.class_names, self.partners, strict=True) if j is None]
        num_neutral = sum(i == j for i, j in enumerate(self.partners))
        lines = [f"mirror: {self.class_names[i]} <-> {self.class_names[j]}" for i, j in pairs]
        lines += [f"mirror: {name} is never mirrored (no class for its mirror image)" for name in never]
        lines.append(f"mirror: {num_neutral} of {len(self.class_names)} classes keep their label")
        return "\n".join(lines)


def find_mirrors(class_names: Sequence[str], *, overrides: Mapping[str, str | None] | None = None) -> Mirrors:
    """Finds which classes swap under a horizontal flip.

    Direction words (left, right, clockwise, counter-clockwise and their kind, in any case and joined in any way) are
    exchanged, all those of a name at once; if the new name is a class, the two swap. A class with a direction word
    whose mirrored name is absent is never mirrored; one without keeps its label. Inside a longer word, left and right
    count only if the exchange gives another class ("swipeleft", "swiperight"), so that "bright" is no direction.

    Args:
        class_names: Names in the order of the labels.
        overrides: What the names do not tell: class to the class of its mirror image (which then swaps back), to itself
            if it keeps its label, or to none if it must never be mirrored.

    Returns:
        The table; mirroring twice is always the same label again.

    Raises:
        ValueError: If an override names an unknown class or two of them contradict each other.
    """
    names = tuple(class_names)
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(_key(name), []).append(i)
    partners = [_partner(i, name, places) for i, name in enumerate(names)]
    wanted = _wanted(names, overrides or {})
    for label in wanted:
        former = partners[label]
        if former is not None:
            partners[former] = None
    for label, other in wanted.items():
        partners[label] = other
    assert all(j is None or partners[j] == i for i, j in enumerate(partners))
    return Mirrors(class_names=names, partners=tuple(partners))


def _key(name: str) -> str:
    """Lower-case words of a name with one blank between them and one writing for rotations."""
    key = " ".join(word for word in _WORD_BORDER.split(name) if word).lower()
    for pattern, writing in _ROTATIONS:
        key = pattern.sub(writing, key)
    return key


def _partner(label: int, name: str, places: Mapping[str, list[int]]) -> int | None:
    """Label of the mirror image of a class: itself, another, or none."""
    key = _key(name)
    swapped = " ".join(_SWAP.get(word, word) for word in key.split(" "))
    inside = re.sub("left|right|(?:counter)?clockwise", lambda match: _SWAP[match.group()], key)
    if swapped == key:
        return places[inside][0] if inside != key and len(places.get(inside, [])) == len(places[key]) == 1 else label
    others = places.get(swapped, [])
    # Two classes that differ only in writing ("turn left", "Turn_Left") leave open which is meant.
    return others[0] if len(others) == len(places[key]) == 1 else None


def _wanted(names: tuple[str, ...], overrides: Mapping[str, str | None]) -> dict[int, int | None]:
    """Turns overrides into labels, both ways of each pair."""
    wanted: dict[int, int | None] = {}
    for name, other in overrides.items():
        i = _label(name, names)
        j = None if other is None or (other == _NEVER and _NEVER not in names) else _label(other, names)
        for label, partner in [(i, j)] if j is None else [(i, j), (j, i)]:
            if wanted.setdefault(label, partner) != partner:
                raise ValueError(
                    f"mirrors must give each class one mirror image, got {name!r} -> {other!r} against another entry; "
                    "correct one of them"
                )
    return wanted


def _label(name: str, names: tuple[str, ...]) -> int:
    """Index of a class name that a person wrote."""
    if name not in names:
        raise ValueError(f"mirrors must name classes of the data, got {name!r}; {nearest(name, names)}")
    return names.index(name)
