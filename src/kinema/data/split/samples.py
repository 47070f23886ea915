"""Dividing samples into training and validation: stratified by class, groups kept together, the same on every machine.

The seed and the relative names of the samples decide alone: not where the data lies, nor in which order it is listed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema.data.annotations.overview import by_name, class_names_of, select, split_mask
from kinema.data.annotations.sample import Sample
from kinema.data.annotations.table import SampleTable
from kinema.data.split.choice import choose_held_out
from kinema.data.split.groups import find_groups
from kinema.wording import listed


def split_samples(
    samples: Sequence[Sample], *, val_fraction: float, seed: int, group_pattern: str | None = None
) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Divides samples into a training and a validation part.

    Where the data brings its own split, that is taken: `train` and `val`. Without `val`, it is cut from `train`;
    without `train`, what is held out is `val`, or else `test`. `test` beside `train` is left alone.

    A cut keeps groups whole, gives both parts something of every class that has two groups or more (a class of one
    group stays in training), and comes as near to the fraction, in each class and in all, as a search by exchanging
    groups finds. A sample of several classes counts for each of them. Where nothing names a group, a file is one: all
    sections of a video stay on one side.

    Args:
        samples: What to divide.
        val_fraction: Part of the samples to hold out; 0 cuts nothing.
        seed: Of the choice.
        group_pattern: Regular expression searched for in the file name of each sample; what it captures (all that it
            matches where it captures nothing) names the sample's group. Of named alternatives,
            `(?P<bar>...)|(?P<bus>...)`, the name of the one that matches does. A file in which it is not found is a
            group by itself.

    Returns:
        Training and validation samples, each sorted by name: parts of a table are tables, others lists.

    Raises:
        ValueError: If the fraction is not in [0, 1), only some samples have a split, the samples have groups and
            a pattern is given too, or the pattern is no regular expression or is found in no name.
    """
    if not 0.0 <= val_fraction < 1.0:
        raise ValueError(f"val_fraction must be at least 0 and below 1, got {val_fraction}; 0.2 is usual")
    parts = _given_parts(samples)
    if parts["val"]:
        return parts["train"], parts["val"]
    if parts["test"] and not parts["train"]:
        return parts["train"], parts["test"]
    pool = parts["train"] or parts[None]
    if val_fraction == 0.0 or not pool:
        return pool, parts["val"]
    groups = find_groups(pool, group_pattern)
    held_out = choose_held_out(pool, groups, val_fraction=val_fraction, seed=seed)
    return select(pool, ~held_out), select(pool, held_out)


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
    parts = {"train": train, "val": val}
    classes = {name: class_names_of(part) for name, part in parts.items()}
    groups = find_groups(_joined(train, val), group_pattern, must_match=False)
    numbers = {"train": np.unique(groups.numbers[: len(train)]), "val": np.unique(groups.numbers[len(train) :])}
    counts = [
        f"{len(part)} {name} ({len(classes[name])} classes, {len(numbers[name])} groups)"
        for name, part in parts.items()
    ]
    lines = [f"split: {' + '.join(counts)}"]
    for here, there in (("train", "val"), ("val", "train")):
        alone = sorted(classes[here] - classes[there])
        if alone and parts[there]:
            lines.append(f"split: only in {here}: {listed(alone, 3)}")
    both = np.intersect1d(numbers["train"], numbers["val"], assume_unique=True)
    if len(both):
        chosen = set(both.tolist())
        torn = sorted(name for number, (_, name) in enumerate(groups.keys) if number in chosen)
        lines.append(f"split: in both parts, by the data's own split: {len(torn)} groups ({listed(torn, 3)})")
    single = [] if group_pattern is None else [name for kind, name in groups.keys if kind == "sample"]
    if single:
        lines.append(f"split: group_pattern not found in {len(single)} names, each its own group: {listed(single, 3)}")
    return "\n".join(lines)


def _given_parts(samples: Sequence[Sample]) -> dict[str | None, Sequence[Sample]]:
    """Sorts the samples by the split that the data gives them."""
    ordered = by_name(samples)
    parts = {split: select(ordered, split_mask(ordered, split)) for split in (None, "train", "val", "test")}
    if 0 < len(parts[None]) < len(samples):
        raise ValueError(
            f"split must be given for every sample or for none, got none for {parts[None][0].name} and "
            f"{len(parts[None]) - 1} more of {len(samples)}; fill in the rest"
        )
    return parts


def _joined(train: Sequence[Sample], val: Sequence[Sample]) -> Sequence[Sample]:
    """Returns the samples of both parts; of two parts of one table a table."""
    if isinstance(train, SampleTable) and isinstance(val, SampleTable) and train.shares_columns(val):
        return train.joined(val)
    return [*train, *val]
