"""A million samples in little memory: a sequence over columns, from which each sample is made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from itertools import repeat
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.columns import SPLITS as SPLITS
from kinema.data.annotations.columns import Columns, Texts
from kinema.data.annotations.sample import Sample
from kinema.data.annotations.text_order import order_of


class SampleTable(Sequence[Sample]):
    """Samples in columns; a sequence that makes each sample when it is asked for."""

    def __init__(self, columns: Columns, rows: NDArray[np.int32] | None = None) -> None:
        """Takes columns that a `TableBuilder` made.

        Args:
            columns: The columns.
            rows: Which of their rows are meant; default: all.
        """
        self._columns = columns
        self._rows = np.arange(len(columns.labels), dtype=np.int32) if rows is None else rows
        self._is_sorted = False  # whether the rows are known to be in the order of the names

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Sample | Self:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must lie below {len(self)}, got {index}; the table has {len(self)} samples")
        return self._sample(int(self._rows[index]))

    def __iter__(self) -> Iterator[Sample]:
        return (self._sample(int(row)) for row in self._rows)

    def select(self, places: Sequence[int] | NDArray[Any]) -> Self:
        """Returns the table of some of its samples, in the order of their places; no column is copied.

        Args:
            places: Indices, or a mask of all samples.
        """
        chosen = np.asarray(places)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        is_sorted = self._is_sorted and bool((chosen[1:] > chosen[:-1]).all())
        return self._of_rows(self._rows[chosen], is_sorted=is_sorted)

    def by_name(self) -> Self:
        """Returns the table in the order of its samples' names, as bytes of UTF-8; no column is copied."""
        if self._is_sorted:
            return self
        texts, places = self._columns.files, self._rows
        if len(self._columns.units):
            texts, places = Texts.of(self.names()), np.arange(len(self), dtype=np.int32)
        order, _ = order_of(texts, places)
        return self._of_rows(self._rows[order], is_sorted=True)

    def shares_columns(self, other: SampleTable) -> bool:
        """Tells whether two tables are parts of one."""
        return self._columns is other._columns

    def joined(self, other: SampleTable) -> Self:
        """Returns a table of the samples of two parts of one, one after the other."""
        assert self.shares_columns(other)
        return self._of_rows(np.concatenate([self._rows, other._rows]))

    def files(self) -> Iterator[str]:
        """Yields the name of the file of each sample: its own name, without the section."""
        return self._columns.files.pick(self._rows)

    def names(self) -> Iterator[str]:
        """Yields the name of each sample."""
        if not len(self._columns.units):
            return self.files()
        sections = (self._columns.section(row) for row in self._rows.tolist())
        return (file + (section.mark if section else "") for file, section in zip(self.files(), sections, strict=True))

    def facts(self) -> Iterator[tuple[object, ...]]:
        """Yields name, class, split, group and, where it has any, further classes of each sample."""
        columns = self._columns
        further = (
            map(columns.further_classes, self._rows.tolist()) if self.has_several_classes else repeat((), len(self))
        )
        numbers = zip(self.names(), self.label_numbers, self.split_numbers, self.group_numbers, further, strict=True)
        for name, label, split, group, also in numbers:
            class_name = columns.classes[label] if label >= 0 else ""
            group_name = columns.group_names[group] if group >= 0 else None
            yield (name, class_name, SPLITS[split], group_name, *([also] if also else []))

    def file_numbers(self) -> NDArray[np.int64]:
        """Number of the file of each sample, the same for the same name: 0 for the first in sorted order [N]."""
        return order_of(self._columns.files, self._rows)[1]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of classes, in the order in which they were first read; what `label_numbers` counts in."""
        return self._columns.classes

    @property
    def label_numbers(self) -> NDArray[np.int32]:
        """Number of the class of each sample among `classes`; -1 where it has none [N]."""
        return self._columns.labels[self._rows]

    def all_label_numbers(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Every class of every sample: the places of the samples in order, and numbers among `classes` [M], [M].

        A sample without a class has the number -1.
        """
        places, numbers = np.arange(len(self)), self.label_numbers
        columns = self._columns
        if not len(columns.also_ends):
            return places, numbers
        ends = columns.also_ends[self._rows]
        starts = np.where(self._rows > 0, columns.also_ends[self._rows - 1], 0)
        counts = ends - starts
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        further = columns.also[np.repeat(starts, counts) + inside]
        places, numbers = np.concatenate([places, np.repeat(places, counts)]), np.concatenate([numbers, further])
        order = np.argsort(places, kind="stable")
        return places[order], numbers[order]

    @property
    def has_several_classes(self) -> bool:
        """Whether any row shows more than one class."""
        return len(self._columns.also) > 0

    @property
    def split_numbers(self) -> NDArray[np.int8]:
        """Split of each sample, as a number in `SPLITS` [N]."""
        return self._columns.splits[self._rows]

    @property
    def group_names(self) -> Texts:
        """Names of groups, in the order in which they were first read; what `group_numbers` counts in."""
        return self._columns.group_names

    @property
    def group_numbers(self) -> NDArray[np.int32]:
        """Number of the group of each sample among `group_names`; -1 where it has none [N]."""
        return self._columns.groups[self._rows]

    def _of_rows(self, rows: NDArray[np.int32], *, is_sorted: bool = False) -> Self:
        """Returns the same table with other rows."""
        table = copy(self)
        table._rows, table._is_sorted = rows, is_sorted
        return table

    def _sample(self, row: int) -> Sample:
        columns = self._columns
        file, section = columns.files[row], columns.section(row)
        label, group = int(columns.labels[row]), int(columns.groups[row])
        return Sample(
            path=columns.folder_paths[columns.folders[row]] / file,
            class_name=columns.classes[label] if label >= 0 else "",
            split=SPLITS[columns.splits[row]],
            group=columns.group_names[group] if group >= 0 else None,
            name=file + (section.mark if section else ""),
            also=columns.further_classes(row),
            section=section,
        )
