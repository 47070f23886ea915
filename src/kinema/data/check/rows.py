"""The rows of a dataset as columns: which file, class, split and group each has."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.sample import Sample
from kinema.data.annotations.table import SPLITS

TRAIN, HELD_OUT = 2, 4 | 8
"""Bits of the splits that must not share anything: those of `train`, and of `val` and `test`, in `SPLITS`."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A dataset's rows; names are looked up in the samples when they are needed."""

    samples: Sequence[Sample]
    paths: list[str]
    """Each file once."""
    files: NDArray[np.int64]
    """Number of each row's file [N]."""
    classes: NDArray[np.int64]
    """Number of each row's set of classes among `class_sets` [N]."""
    splits: NDArray[np.int8]
    """Split of each row [N]."""
    groups: NDArray[np.int64]
    """Number of each row's group among `group_names`; -1 where it has none [N]."""
    class_sets: list[tuple[str, ...]]
    group_names: list[str]

    def of_files(self, numbers: Sequence[int]) -> list[int]:
        """Returns the rows of some files."""
        return np.flatnonzero(np.isin(self.files, numbers)).tolist()

    def file_names(self) -> Callable[[int], str]:
        """Returns a function from the number of a file to its name, as its first row has it, without a part."""
        first = np.unique(self.files, return_index=True)[1]

        def name(number: int) -> str:
            sample = self.samples[int(first[number])]
            return sample.name if sample.section is None else sample.name.rpartition("#")[0]

        return name


def make_rows(samples: Sequence[Sample]) -> Rows:
    """Goes through the samples once."""
    paths: dict[str, int] = {}
    class_sets: dict[tuple[str, ...], int] = {}
    group_names: dict[str, int] = {}
    files, classes, splits, groups = array("q"), array("q"), array("b"), array("q")
    for sample in samples:
        files.append(paths.setdefault(str(sample.path), len(paths)))
        classes.append(class_sets.setdefault(sample.class_names, len(class_sets)))
        splits.append(SPLITS.index(sample.split))
        named = sample.group is not None
        groups.append(group_names.setdefault(sample.group or "", len(group_names)) if named else -1)
    return Rows(
        samples=samples,
        paths=list(paths),
        files=np.array(files, np.int64),
        classes=np.array(classes, np.int64),
        splits=np.array(splits, np.int8),
        groups=np.array(groups, np.int64),
        class_sets=list(class_sets),
        group_names=list(group_names),
    )


def split_bits(numbers: NDArray[np.int64], splits: NDArray[np.int8], *, count: int) -> NDArray[np.int64]:
    """Returns in which splits each of some numbers occurs, as bits.

    Args:
        numbers: Such as the file of each row; negative ones are passed over [N].
        splits: Split of each row [N].
        count: How many different numbers there may be.
    """
    bits = np.zeros(count, np.int64)
    known = numbers >= 0
    np.bitwise_or.at(bits, numbers[known], np.left_shift(1, splits[known].astype(np.int64)))
    return bits
