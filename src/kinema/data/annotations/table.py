"""A million samples in little memory: a sequence over columns, from which each sample is made when it is asked for."""

from __future__ import annotations

import posixpath
from array import array
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import repeat
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.columns import ENCODING, UNITS, Columns, Texts
from kinema.data.annotations.columns import SPLITS as SPLITS
from kinema.data.annotations.sample import Sample, Section
from kinema.data.annotations.text_order import order_of

_SPLIT_NUMBERS = {split: number for number, split in enumerate(SPLITS)}


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


class TableBuilder:
    """Collects the rows of a table one by one."""

    def __init__(self, folder: Path) -> None:
        """Starts without rows.

        Args:
            folder: The folder that names start from where a row gives no other.
        """
        self._folder = folder
        self._text = bytearray()
        self._ends, self._labels, self._splits = array("q"), array("i"), array("b")
        self._groups, self._folders = array("i"), array("h")
        self._also, self._also_ends = array("i"), array("q")
        self._times, self._units = array("d"), array("b")
        self._classes: dict[str, int] = {}
        self._group_names: dict[str, int] = {}
        self._folder_paths: dict[Path, int] = {folder: 0}
        self._last_folder: Path | None = None
        self._folder_number = 0

    def __len__(self) -> int:
        return len(self._ends)

    def add(
        self,
        name: str,
        class_name: str = "",
        *,
        split: str | None = None,
        group: str | None = None,
        folder: Path | None = None,
        also: tuple[str, ...] = (),
        section: Section | None = None,
        where: str = "",
    ) -> None:
        """Adds a row.

        Args:
            name: The file, or the folder of frames, from the folder on, with forward slashes; an absolute path is taken
                as it is.
            class_name: Its class; empty where the data does not say it.
            split: `train`, `val` or `test`, where the data says so.
            group: What a split must not tear apart.
            folder: The folder that the name starts from.
            also: Further classes.
            section: The part of the video that is meant.
            where: File and line, for the message of an error.

        Raises:
            ValueError: If the name leads out of the folder, or names nothing that can be a file.
        """
        if ".." in name and posixpath.normpath(name).split("/")[0] == "..":
            raise ValueError(f"{where}: paths must stay in their folder, got {name!r}; move the file into it")
        if not name or "\0" in name:
            raise ValueError(f"{where}: there must be a path, got {name!r}; name the video, or remove the line")
        if (label := self._classes.get(class_name)) is None:
            label = self._class_number(class_name) if class_name else -1
        if folder is not self._last_folder:  # a path takes long to look up
            number = self._folder_paths.setdefault(folder or self._folder, len(self._folder_paths))
            self._last_folder, self._folder_number = folder, number
        self._text += name.encode(*ENCODING)
        self._ends.append(len(self._text))
        self._labels.append(label)
        self._splits.append(_SPLIT_NUMBERS[split])
        self._groups.append(self._group_names.setdefault(group, len(self._group_names)) if group else -1)
        self._folders.append(self._folder_number)
        if also or self._also_ends:
            self._add_also(also)
        if section is not None or self._units:
            self._add_section(section)

    def table(self) -> SampleTable:
        """Returns the rows added so far."""
        return SampleTable(
            Columns(
                files=Texts.joined(self._text, self._ends),
                labels=np.array(self._labels, dtype=np.int32),
                splits=np.array(self._splits, dtype=np.int8),
                groups=np.array(self._groups, dtype=np.int32),
                folders=np.array(self._folders, dtype=np.int16),
                also=np.array(self._also, dtype=np.int32),
                also_ends=np.array(self._also_ends, dtype=np.int64),
                times=np.array(self._times, dtype=np.float64).reshape(-1, 2),
                units=np.array(self._units, dtype=np.int8),
                classes=tuple(self._classes),
                group_names=Texts.of(self._group_names),
                folder_paths=tuple(self._folder_paths),
            )
        )

    def _class_number(self, name: str) -> int:
        return self._classes.setdefault(name, len(self._classes))

    def _add_also(self, also: tuple[str, ...]) -> None:
        """Adds the further classes of the last row, and of those before it that have none."""
        lacking = len(self._ends) - 1 - len(self._also_ends)
        self._also_ends.extend([len(self._also)] * lacking)
        self._also.extend(self._class_number(name) for name in also)
        self._also_ends.append(len(self._also))

    def _add_section(self, section: Section | None) -> None:
        """Adds the section of the last row, and says of those before it that have none."""
        lacking = len(self._ends) - 1 - len(self._units)
        self._times.extend([0.0] * (2 * lacking))
        self._units.extend([-1] * lacking)
        self._times.extend((section.start, section.end) if section else (0.0, 0.0))
        self._units.append(UNITS.index(section.unit) if section else -1)
