"""What rows share that they must not: a video in training and held out, copies, groups torn apart, two classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.table import SPLITS
from kinema.data.check.files import Files
from kinema.data.check.findings import Finding, Item, found
from kinema.data.check.row_findings import overlap
from kinema.data.check.rows import HELD_OUT, TRAIN, Rows, split_bits
from kinema.wording import listed


def sharing_findings(rows: Rows, files: Files, *, multi_label: bool) -> list[Finding]:
    """Finds what rows share.

    Args:
        rows: The dataset.
        files: What its files gave.
        multi_label: Whether a video may show several classes.
    """
    leaks: list[Item] = []
    contradictions: list[Item] = []
    duplicates: list[Item] = []
    torn = _torn_groups(rows)
    for sharing in _rows_of_shared_files(rows, files):
        leaked = _leaks(rows, sharing)
        leaks += leaked
        torn += [] if leaked else _torn_video(rows, sharing)
        same_part = [row for row in sharing if rows.samples[row].section is None]
        told = sorted({", ".join(rows.class_sets[int(rows.classes[row])]) for row in same_part} - {""})
        first, *others = (rows.samples[row].name for row in (same_part or sharing))
        if len(told) > 1 and not multi_label:
            names = listed(list(dict.fromkeys([first, *others])), 3)
            contradictions.append(Item(name=first, reason=f"is {listed(told, 3)}, as {names}"))
        elif same_part and others and not leaked:
            duplicates.append(Item(name=first, reason=f"also as {listed(others, 3)}"))
    return [
        *found("leak", leaks),
        *found("torn_group", torn),
        *found("contradiction", contradictions),
        *found("duplicate", duplicates),
    ]


def _rows_of_shared_files(rows: Rows, files: Files) -> list[list[int]]:
    """Returns the rows of each video that several have: the same file, or files with the same content."""
    owner = np.arange(len(rows.paths))
    for copies in files.copies:
        owner[copies] = copies[0]
    of_rows = owner[rows.files]
    shared = np.bincount(of_rows, minlength=len(owner)) > 1
    sharing: dict[int, list[int]] = {}
    for row in np.flatnonzero(shared[of_rows]).tolist():
        sharing.setdefault(int(of_rows[row]), []).append(row)
    return list(sharing.values())


def _leaks(rows: Rows, sharing: list[int]) -> list[Item]:
    """Returns the training rows that show what a held-out row shows."""
    held_out = [row for row in sharing if 1 << int(rows.splits[row]) & HELD_OUT]
    items = []
    for row in sharing if held_out else ():
        sample = rows.samples[row]
        if sample.split != "train":
            continue
        other = next((rows.samples[there] for there in held_out if overlap(sample, rows.samples[there])), None)
        if other is not None:
            how = "the same file" if other.path == sample.path else "the same content"
            reason = f"{how} as {other.name} in {other.split}"
            items.append(Item(name=sample.name, reason=reason, split="train"))
    return items


def _torn_groups(rows: Rows) -> list[Item]:
    bits = split_bits(rows.groups, rows.splits, count=len(rows.group_names))
    items = []
    for number in np.flatnonzero(((bits & TRAIN) > 0) & ((bits & HELD_OUT) > 0)).tolist():
        items.append(Item(name=rows.group_names[number], reason=_counts(rows.splits[rows.groups == number])))
    return items


def _torn_video(rows: Rows, sharing: list[int]) -> list[Item]:
    """Returns the video whose parts, though they do not overlap, are partly in training and partly held out."""
    splits = rows.splits[sharing]
    bits = int(np.bitwise_or.reduce(np.left_shift(1, splits.astype(np.int64))))
    if not (bits & TRAIN and bits & HELD_OUT):
        return []
    name = rows.samples[sharing[0]].name.rpartition("#")[0]
    return [Item(name=name, reason=f"parts of one video: {_counts(splits)}")]


def _counts(splits: NDArray[np.int8]) -> str:
    """Words for how many rows are in which split."""
    counts = [f"{int((splits == at).sum())} {name}" for at, name in enumerate(SPLITS) if name and (splits == at).any()]
    return f"{' and '.join(counts)} rows"
