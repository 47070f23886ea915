"""Dividing samples into training and validation: stratified by class, groups kept together, the same on every machine.

The seed and the relative names of the samples decide alone: not where the data lies, nor in which order it is listed.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from kinema.data.annotations.sample import Sample
from kinema.wording import listed

_Group = tuple[str, str]  # what kind of name it is, and the name
_Counts = tuple[tuple[str, int], ...]  # samples of each class

_NUM_EXCHANGES = 100_000  # tried in one round of the search: all of them up to some 300 groups, seconds for thousands


def split_samples(
    samples: Sequence[Sample], *, val_fraction: float, seed: int, group_pattern: str | None = None
) -> tuple[list[Sample], list[Sample]]:
    """Divides samples into a training and a validation part.

    Where the data brings its own split, that is taken: `train` and `val`. Without `val`, it is cut from `train`;
    without `train`, what is held out is `val`, or else `test`. `test` beside `train` is left alone.

    A cut keeps groups whole, gives both parts something of every class that has two groups or more (a class of one
    group stays in training), and comes as near to the fraction, in each class and in all, as a search by exchanging
    groups finds.

    Args:
        samples: What to divide.
        val_fraction: Part of the samples to hold out; 0 cuts nothing.
        seed: Of the choice.
        group_pattern: Regular expression searched for in the name of each sample; what it captures (all that it matches
            where it captures nothing) names the sample's group. Of named alternatives, `(?P<bar>...)|(?P<bus>...)`, the
            name of the one that matches does. A sample in which it is not found is a group by itself.

    Returns:
        Training and validation samples, each sorted by name.

    Raises:
        ValueError: If the fraction is not in [0, 1), only some samples have a split, the samples have groups and
            a pattern is given too, or the pattern is no regular expression or is found in no name.
    """
    if not 0.0 <= val_fraction < 1.0:
        raise ValueError(f"val_fraction must be at least 0 and below 1, got {val_fraction}; 0.2 is usual")
    parts = _given_parts(samples)
    if "val" in parts:
        return parts.get("train", []), parts["val"]
    if "test" in parts and "train" not in parts:
        return [], parts["test"]
    pool = parts.get("train") or parts.get(None, [])
    if val_fraction == 0.0:
        return pool, []
    groups = _groups(pool, group_pattern)
    held_out = _choose(pool, groups, val_fraction=val_fraction, seed=seed)
    train = [sample for sample, group in zip(pool, groups, strict=True) if group not in held_out]
    val = [sample for sample, group in zip(pool, groups, strict=True) if group in held_out]
    return train, val


def describe_split(train: Sequence[Sample], val: Sequence[Sample], *, group_pattern: str | None = None) -> str:
    """Says in words what a split holds, and what is not as one would wish.

    Args:
        train: Training samples.
        val: Validation samples.
        group_pattern: The pattern that was given for the split, if any.

    Returns:
        A few lines: counts, classes that only one part has, groups that stand in both parts or that the pattern did not
        find.
    """
    parts = {"train": list(train), "val": list(val)}
    groups = {name: _groups(part, group_pattern, must_match=False) for name, part in parts.items()}
    classes = {name: {each for sample in part for each in sample.class_names} for name, part in parts.items()}
    counts = [
        f"{len(part)} {name} ({len(classes[name])} classes, {len(set(groups[name]))} groups)"
        for name, part in parts.items()
    ]
    lines = [f"split: {' + '.join(counts)}"]
    for here, there in (("train", "val"), ("val", "train")):
        alone = sorted(classes[here] - classes[there])
        if alone and parts[there]:
            lines.append(f"split: only in {here}: {listed(alone, 3)}")
    torn = sorted({name for _, name in set(groups["train"]) & set(groups["val"])})
    if torn:
        lines.append(f"split: in both parts, by the data's own split: {len(torn)} groups ({listed(torn, 3)})")
    single = [name for part in groups.values() for kind, name in part if kind == "sample"]
    if group_pattern is not None and single:
        lines.append(f"split: group_pattern not found in {len(single)} names, each its own group: {listed(single, 3)}")
    return "\n".join(lines)


def _given_parts(samples: Sequence[Sample]) -> dict[str | None, list[Sample]]:
    """Sorts the samples by the split that the data gives them."""
    parts: dict[str | None, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.name):
        parts[sample.split].append(sample)
    if None in parts and len(parts) > 1:
        raise ValueError(
            f"split must be given for every sample or for none, got none for {parts[None][0].name} and "
            f"{len(parts[None]) - 1} more of {len(samples)}; fill in the rest"
        )
    return dict(parts)


def _groups(samples: Sequence[Sample], pattern: str | None, *, must_match: bool = True) -> list[_Group]:
    """Group of each sample: what the data says, what the pattern finds, or the sample itself."""
    if pattern is None:
        return [("sample", sample.name) if sample.group is None else ("group", sample.group) for sample in samples]
    grouped = next((sample for sample in samples if sample.group is not None), None)
    if grouped is not None:
        raise ValueError(
            f"group_pattern must be left out where the data names its groups, got {pattern!r} and group "
            f"{grouped.group!r} of {grouped.name}; drop one of them"
        )
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"group_pattern must be a regular expression, got {pattern!r} ({error}); correct it"
        ) from error
    groups = [_matched_group(sample, compiled) for sample in samples]
    if must_match and samples and all(kind == "sample" for kind, _ in groups):
        raise ValueError(
            f"group_pattern must be found in the names of the samples, got {pattern!r}, which none has; "
            f"the first name is {samples[0].name!r}"
        )
    return groups


def _matched_group(sample: Sample, pattern: re.Pattern[str]) -> _Group:
    match = pattern.search(sample.name)
    if match is None:
        return "sample", sample.name
    if _is_named_alternatives(pattern.pattern):
        return "group", next(name for name, text in match.groupdict().items() if text is not None)
    captured = [text for text in match.groups() if text is not None]
    return "group", "/".join(captured) if captured else match.group()


def _is_named_alternatives(pattern: str) -> bool:
    """Tells whether a pattern is `(?P<one>...)|(?P<other>...)`: alternatives that all begin with a name."""
    starts, depth, inside_class = [0], 0, False
    for match in re.finditer(r"\\.|[][()|]", pattern, flags=re.DOTALL):
        character = match.group()
        if inside_class:
            inside_class = character != "]"
        elif character == "[":
            inside_class = True
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and depth == 0:
            starts.append(match.end())
    return len(starts) > 1 and all(pattern.startswith("(?P<", start) for start in starts)


def _choose(samples: Sequence[Sample], groups: Sequence[_Group], *, val_fraction: float, seed: int) -> set[_Group]:
    """Chooses the groups to hold out."""
    classes: dict[_Group, Counter[str]] = defaultdict(Counter)
    for sample, group in zip(samples, groups, strict=True):
        classes[group].update(sample.class_names or ("",))
    # The order comes from a hash of each name, so that a video added later leaves the others' order as it was.
    order = sorted(classes, key=lambda group: _shuffling_key(group, seed=seed))
    counts: dict[_Group, _Counts] = {group: tuple(sorted(classes[group].items())) for group in order}
    balance = _Balance(list(counts.values()), val_fraction=val_fraction)
    chosen: Counter[_Counts] = Counter()
    for group in order:
        if balance.gain([(counts[group], 1)]) > 0.0:
            balance.move([(counts[group], 1)])
            chosen[counts[group]] += 1
    _improve(balance, chosen, available=Counter(counts.values()))
    held_out = set()
    for group in order:
        if chosen[counts[group]] > 0:
            chosen[counts[group]] -= 1
            held_out.add(group)
    return held_out


def _shuffling_key(group: _Group, *, seed: int) -> bytes:
    text = "\0".join((str(seed), *group))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


class _Balance:
    """How far a choice of groups is from the wanted part, in each class and in all."""

    def __init__(self, groups: Sequence[_Counts], *, val_fraction: float) -> None:
        """Begins with nothing held out.

        Args:
            groups: Samples of each class, for each group.
            val_fraction: The wanted part.
        """
        self.fraction = val_fraction
        self.totals = Counter[str]()
        self.num_groups = Counter[str]()
        for group in groups:
            for name, count in group:
                self.totals[name] += count
                self.num_groups[name] += 1
        # A class of one group stays in training: the others need not make up for it.
        self.divided = {name for name, number in self.num_groups.items() if number > 1}
        self.total = sum(self.totals[name] for name in self.divided)
        self.lacking_cost = 2.0 * (len(self.totals) + 1) * self.totals.total()
        self.held_out = Counter[str]()
        self.total_held_out = 0

    def gain(self, moves: Sequence[tuple[_Counts, int]]) -> float:
        """By how much the cost falls if groups are held out (+1) or given back (-1)."""
        changes: dict[str, int] = {}
        for group, sign in moves:
            for name, count in group:
                changes[name] = changes.get(name, 0) + sign * count
        change_of_total = sum(change for name, change in changes.items() if name in self.divided)
        gain = self._total_cost(self.total_held_out) - self._total_cost(self.total_held_out + change_of_total)
        for name, change in changes.items():
            gain += self._cost(name, self.held_out[name]) - self._cost(name, self.held_out[name] + change)
        return gain

    def move(self, moves: Sequence[tuple[_Counts, int]]) -> None:
        """Holds groups out (+1) or gives them back (-1)."""
        for group, sign in moves:
            for name, count in group:
                self.held_out[name] += sign * count
                self.total_held_out += sign * count * (name in self.divided)

    def _cost(self, name: str, held_out: int) -> float:
        """Cost of one class; a class that one part lacks outweighs all distances together."""
        lacking = held_out == self.totals[name] or (held_out == 0 and name in self.divided)
        distance = (held_out - self.fraction * self.totals[name]) ** 2 / self.totals[name]
        return distance + self.lacking_cost * lacking

    def _total_cost(self, held_out: int) -> float:
        """Cost of the sum, on the scale of one class of mean size, so that roundings do not add up."""
        return (held_out - self.fraction * self.total) ** 2 * len(self.divided) / max(self.total, 1)


def _improve(balance: _Balance, chosen: Counter[_Counts], *, available: Counter[_Counts]) -> None:
    """Holds out, gives back and exchanges groups as long as that helps; groups of equal counts are one kind."""
    kinds = list(available)
    neighbours: dict[str, list[_Counts]] = defaultdict(list)
    for kind in kinds:
        for name, _ in kind:
            neighbours[name].append(kind)
    per_kind = _NUM_EXCHANGES // max(len(kinds), 1)
    improved = True
    while improved:
        improved = False
        for kind in kinds:
            share = per_kind // len(kind) + 1
            others = dict.fromkeys(other for name, _ in kind for other in neighbours[name][:share])
            exchanges = [[(kind, 1), (other, -1)] for other in others if other != kind]
            candidates = [[(kind, 1)], [(kind, -1)], *exchanges]
            for moves in candidates:
                possible = all(0 <= chosen[each] + sign <= available[each] for each, sign in moves)
                if possible and balance.gain(moves) > 1e-9:
                    balance.move(moves)
                    chosen.update(dict(moves))
                    improved = True
