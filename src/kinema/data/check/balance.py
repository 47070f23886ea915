"""What is odd about a dataset as a whole: absent and small classes, rates and sizes unlike the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.table import SPLITS
from kinema.data.check.files import Files
from kinema.data.check.findings import Finding, Item, found
from kinema.data.check.rows import Rows
from kinema.wording import counted

Value = TypeVar("Value")

IMBALANCE = 10
"""Times that the largest class may have the rows of the smallest before it is remarked on."""
MAJORITY = 0.8
"""Part of the videos that must agree for the others to be odd."""
RATES = (5.0, 121.0)
"""Frames per second outside of which a rate is odd whatever the others have."""


UNEVEN_PART = 0.05
"""Part of the gaps between frames that may be unlike the usual one before a video's rate is remarked on as variable."""


def class_counts(rows: Rows) -> dict[str | None, tuple[int, Counter[str]]]:
    """Counts the rows, and those of each class, by split; a row may have several classes, or none."""
    pairs = Counter(zip(rows.splits.tolist(), rows.classes.tolist(), strict=True))
    counts: dict[str | None, tuple[int, Counter[str]]] = {}
    for (split, number), count in sorted(pairs.items()):
        num_rows, of_split = counts.get(SPLITS[split], (0, Counter()))
        for name in rows.class_sets[number]:
            of_split[name] += count
        counts[SPLITS[split]] = num_rows + count, of_split
    return counts


def class_findings(rows: Rows, class_names: Sequence[str]) -> list[Finding]:
    """Finds classes without rows, in all and in each split that has classes at all, and the ratio of their sizes."""
    counts = {split: counter for split, (_, counter) in class_counts(rows).items() if counter}
    everywhere = Counter[str]()
    for counter in counts.values():
        everywhere.update(counter)
    missing = [name for name in class_names if name not in everywhere]
    absent = [Item(name=name, reason="no rows at all") for name in missing]
    from_one = [Item(name="class_0", reason="no row has label 0, and all others up to the last have some")]
    for split, counter in counts.items():
        lacking = [name for name in class_names if name in everywhere and name not in counter]
        absent += [Item(name=name, reason=f"no rows in {split}", split=split) for name in lacking]
    trained = counts.get("train") or everywhere
    items = []
    if len(trained) > 1:
        (large, most), *_, (small, least) = trained.most_common()
        if most >= IMBALANCE * least:
            items = [Item(name=large, reason=counted(most, "row")), Item(name=small, reason=counted(least, "row"))]
    return [
        *found("absent_class", absent, count=len({item.name for item in absent})),
        *found("off_by_one", from_one if missing == ["class_0"] and len(class_names) > 2 else []),
        *found("one_class", [Item(name=next(iter(trained)), reason="no other has rows")] if len(trained) == 1 else []),
        *found("imbalance", items),
        *found("one_video", _of_one_video(rows) if {*counts} == {None} and len(everywhere) > 1 else []),
    ]


def _of_one_video(rows: Rows) -> list[Item]:
    """Finds the classes that only one video has."""
    numbers, firsts = np.unique(np.stack([rows.classes, rows.files]), axis=1)
    files: dict[str, set[int]] = {}
    for number, file in zip(numbers.tolist(), firsts.tolist(), strict=True):
        for name in rows.class_sets[number]:
            files.setdefault(name, set()).add(file)
    return [Item(name=name) for name, of_class in sorted(files.items()) if len(of_class) == 1]


def picture_findings(rows: Rows, files: Files) -> list[Finding]:
    """Finds videos whose rate or size is unlike that of most, or changes, and those that a tag turns."""
    rates = np.flatnonzero(files.fps > 0)
    rounded = files.fps[rates].round()
    usual = _majority(rounded.tolist())
    implausible = (files.fps[rates] < RATES[0]) | (files.fps[rates] > RATES[1])
    odd = implausible if usual is None else implausible | (np.abs(rounded - usual) > 1)
    rest = "" if usual is None else f" where most have {usual:g}"
    names = rows.file_names()
    odd_rates = [
        Item(name=names(number), reason=f"{files.fps[number]:.4g} frames per second{rest}")
        for number in rates[odd].tolist()
    ]
    uneven = [
        Item(name=names(number), reason=f"{share:.0%} of the gaps between frames are unlike the usual one")
        for number, share in sorted(files.uneven.items())
        if share > UNEVEN_PART
    ]
    turned = [Item(name=names(number)) for number in sorted(files.turned)]
    changing = [Item(name=names(number)) for number in sorted(files.changing)]
    return [
        *found("frame_rate", odd_rates),
        *found("variable_rate", uneven),
        *found("frame_size", _odd_sizes(files, names)),
        *found("changing_size", changing),
        *found("turned", turned),
    ]


def _odd_sizes(files: Files, names: Callable[[int], str]) -> list[Item]:
    known = np.flatnonzero(files.sizes[:, 0] > 0)
    sizes = [(int(width), int(height)) for width, height in files.sizes[known]]
    usual = _majority(sizes)
    if usual is None:
        return []
    return [
        Item(name=names(number), reason=f"{width}x{height} where most have {usual[0]}x{usual[1]}")
        for number, (width, height) in zip(known.tolist(), sizes, strict=True)
        if (width, height) != usual
    ]


def _majority(values: Sequence[Value]) -> Value | None:
    """Returns the value that most have; none where there is no such majority."""
    for value, count in Counter(values).most_common(1):
        if count >= MAJORITY * len(values):
            return value
    return None


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Returns the smallest, the median and the largest of a column of numbers; nothing of none."""
    if not len(values):
        return {}
    low, middle, high = (round(float(value), 3) for value in np.quantile(values, [0, 0.5, 1]))
    return {"least": low, "median": middle, "most": high}


def size_counts(files: Files) -> dict[str, int]:
    """Counts the frame sizes, the most frequent first."""
    sizes, counts = np.unique(files.sizes[files.sizes[:, 0] > 0], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {f"{sizes[at][0]}x{sizes[at][1]}": int(counts[at]) for at in order.tolist()}
