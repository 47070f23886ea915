"""Which groups to hold out: each class by its part, all of them by their part, and no class forgotten."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.overview import label_pairs
from kinema.data.annotations.sample import Sample
from kinema.data.split.groups import Group, Groups

_Kind = tuple[tuple[int, int], ...]  # label and number of samples, for each class of a group

_NUM_EXCHANGES = 100_000  # tried in one round of the search: all of them up to some 300 groups, seconds for thousands
_MAX_MOVES = 3_000_000  # tried in all rounds together: some seconds


def choose_held_out(samples: Sequence[Sample], groups: Groups, *, val_fraction: float, seed: int) -> NDArray[np.bool_]:
    """Chooses the groups to hold out.

    Args:
        samples: What to divide.
        groups: Their groups.
        val_fraction: The wanted part.
        seed: Of the choice.

    Returns:
        Whether each sample is held out [N].
    """
    # The order comes from a hash of each name, so that a video added later leaves the others' order as it was.
    order = _shuffled(groups.keys, seed=seed)
    kinds, kind_of = _kinds(samples, groups, order)
    available = np.bincount(kind_of, minlength=len(kinds)).tolist()
    balance = _Balance(kinds, available, val_fraction=val_fraction)
    chosen = [0] * len(kinds)
    full: set[int] = set()  # kinds of which one more does not help: nor will it when others are held out as well
    for kind in kind_of.tolist():
        if kind in full:
            continue
        changes = kinds[kind]
        if balance.gain(changes) > 0.0:
            balance.move(changes)
            chosen[kind] += 1
        else:
            full.add(kind)
    _improve(balance, kinds, chosen, available=available)
    # Of each kind, the groups that come first in the order.
    by_kind = np.argsort(kind_of, kind="stable")
    place = np.arange(len(order)) - (np.cumsum(available) - available)[kind_of[by_kind]]
    held_out = np.zeros(len(order), dtype=bool)
    held_out[order[by_kind]] = place < np.array(chosen)[kind_of[by_kind]]
    return held_out[groups.numbers]


def _shuffled(keys: Iterable[Group], *, seed: int) -> NDArray[np.int64]:
    """Sorts groups by a hash of seed and name."""
    digests = bytearray()
    for what, name in keys:
        digests += hashlib.sha256(f"{seed}\0{what}\0{name}".encode("utf-8", "surrogateescape")).digest()
    words = np.frombuffer(digests, dtype=">u8").reshape(-1, 4)
    return np.lexsort(words.T[::-1])


def _kinds(
    samples: Sequence[Sample], groups: Groups, order: NDArray[np.int64]
) -> tuple[list[_Kind], NDArray[np.int64]]:
    """Finds what groups there are by what they hold, and which is which, in the order given."""
    places, labels, names = label_pairs(samples)
    pairs, counts = np.unique(groups.numbers[places] * len(names) + labels, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(order) + 1) * len(names))
    # Most groups are of one class: they are told apart by one number, the others by what they hold in full.
    sizes = np.diff(starts)
    codes = counts[starts[:-1]] * len(names) + pairs[starts[:-1]] % len(names)
    several: dict[_Kind, int] = {}
    for number in np.flatnonzero(sizes > 1).tolist():
        codes[number] = -1 - several.setdefault(
            _kind(pairs, counts, starts, number, num_labels=len(names)), len(several)
        )
    _, first, kind_of = np.unique(codes[order], return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbers = order[np.sort(first)].tolist()
    return [_kind(pairs, counts, starts, number, num_labels=len(names)) for number in numbers], rank[kind_of]


def _kind(
    pairs: NDArray[np.int64], counts: NDArray[np.int64], starts: NDArray[np.int64], number: int, *, num_labels: int
) -> _Kind:
    """Returns what a group holds."""
    some = slice(int(starts[number]), int(starts[number + 1]))
    return tuple(zip((pairs[some] % num_labels).tolist(), counts[some].tolist(), strict=True))


class _Balance:
    """How far a choice of groups is from the wanted part, in each class and in all."""

    def __init__(self, kinds: Sequence[_Kind], available: Sequence[int], *, val_fraction: float) -> None:
        """Begins with nothing held out.

        Args:
            kinds: Samples of each class, for each kind of group.
            available: How many groups of each kind there are.
            val_fraction: The wanted part.
        """
        num_classes = 1 + max((label for kind in kinds for label, _ in kind), default=-1)
        self.fraction = val_fraction
        self.totals = [0] * num_classes
        num_groups = [0] * num_classes
        for kind, number in zip(kinds, available, strict=True):
            for label, count in kind:
                self.totals[label] += number * count
                num_groups[label] += number
        # A class of one group stays in training: the others need not make up for it.
        self.divided = [number > 1 for number in num_groups]
        self.num_divided = sum(self.divided)
        self.total = sum(total for total, divided in zip(self.totals, self.divided, strict=True) if divided)
        self.lacking_cost = 2.0 * (num_classes + 1) * sum(self.totals)
        self.held_out = [0] * num_classes
        self.total_held_out = 0

    def gain(self, changes: _Kind) -> float:
        """By how much the cost falls if so many more samples of some classes are held out, each class once."""
        change_of_total = sum(change for label, change in changes if self.divided[label])
        gain = self._total_cost(self.total_held_out) - self._total_cost(self.total_held_out + change_of_total)
        for label, change in changes:
            gain += self._cost(label, self.held_out[label]) - self._cost(label, self.held_out[label] + change)
        return gain

    def move(self, changes: _Kind) -> None:
        """Holds so many more samples of some classes out."""
        for label, change in changes:
            self.held_out[label] += change
            self.total_held_out += change * self.divided[label]

    def _cost(self, label: int, held_out: int) -> float:
        """Cost of one class; a class that one part lacks outweighs all distances together."""
        total = self.totals[label]
        lacking = held_out == total or (held_out == 0 and self.divided[label])
        return (held_out - self.fraction * total) ** 2 / total + self.lacking_cost * lacking

    def _total_cost(self, held_out: int) -> float:
        """Cost of the sum, on the scale of one class of mean size, so that roundings do not add up."""
        return (held_out - self.fraction * self.total) ** 2 * self.num_divided / max(self.total, 1)


def _improve(balance: _Balance, kinds: Sequence[_Kind], chosen: list[int], *, available: Sequence[int]) -> None:
    """Holds out, gives back and exchanges groups as long as that helps, and the search is not too long."""
    neighbours: list[list[int]] = [[] for _ in balance.totals]
    for number, kind in enumerate(kinds):
        for label, _ in kind:
            neighbours[label].append(number)
    per_kind = _NUM_EXCHANGES // max(len(kinds), 1)
    improved, num_moves = True, 0
    while improved and num_moves < _MAX_MOVES:
        improved = False
        for number, kind in enumerate(kinds):
            share = per_kind // len(kind) + 1
            others = dict.fromkeys(other for label, _ in kind for other in neighbours[label][:share])
            exchanges = [((number, 1), (other, -1)) for other in others if other != number]
            for moves in [((number, 1),), ((number, -1),), *exchanges]:
                num_moves += 1
                if not all(0 <= chosen[each] + sign <= available[each] for each, sign in moves):
                    continue
                changes = _changes(kinds, moves)
                if balance.gain(changes) > 1e-9:
                    balance.move(changes)
                    for each, sign in moves:
                        chosen[each] += sign
                    improved = True


def _changes(kinds: Sequence[_Kind], moves: Sequence[tuple[int, int]]) -> _Kind:
    """Sums up what holding groups out (+1) and giving others back (-1) changes."""
    changes: dict[int, int] = {}
    for number, sign in moves:
        for label, count in kinds[number]:
            changes[label] = changes.get(label, 0) + sign * count
    return tuple(changes.items())
