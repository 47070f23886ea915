"""A million samples in little memory: columns of numbers and one block of text, from which samples are made when asked.

The columns are not written to after they are made, so that worker processes that are forked share them.
"""

from __future__ import annotations

import posixpath
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.sample import Sample, Section

SPLITS = (None, "train", "val", "test")
"""What the numbers of the column of splits mean."""
_ENCODING = ("utf-8", "surrogateescape")


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """All rows of a table, in the order in which they were read."""

    text: bytes
    """The names of all files, one behind the other."""
    ends: NDArray[np.int64]
    """Where each ends."""
    labels: NDArray[np.int32]
    """Number of the class of each row among `classes`; -1 where it has none."""
    splits: NDArray[np.int8]
    groups: NDArray[np.int32]
    """Number of the group among `group_names`; -1 where it has none."""
    folders: NDArray[np.int16]
    """Number among `folder_paths` of the folder that the name starts from."""
    classes: tuple[str, ...]
    group_names: tuple[str, ...]
    folder_paths: tuple[Path, ...]
    also: dict[int, tuple[str, ...]]
    sections: dict[int, Section]

    def file(self, row: int) -> str:
        """The name of the file of a row."""
        start = int(self.ends[row - 1]) if row else 0
        return self.text[start : int(self.ends[row])].decode(*_ENCODING)


class SampleTable(Sequence[Sample]):
    """Samples in columns; a sequence that makes each sample when it is asked for."""

    def __init__(self, columns: _Columns, rows: NDArray[np.int64] | None = None) -> None:
        """Takes columns that a `TableBuilder` made, and which of their rows are meant."""
        self._columns = columns
        self._rows = rows

    def __len__(self) -> int:
        return len(self._columns.labels if self._rows is None else self._rows)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> SampleTable: ...
    def __getitem__(self, index: int | slice) -> Sample | SampleTable:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must lie below {len(self)}, got {index}; the table has {len(self)} samples")
        return self._sample(int(self._own_rows[index]))

    def __iter__(self) -> Iterator[Sample]:
        return (self._sample(int(row)) for row in self._own_rows)

    def select(self, places: Sequence[int] | NDArray[Any]) -> SampleTable:
        """Returns the table of some of its samples, in the order of their places; no column is copied."""
        return SampleTable(self._columns, self._own_rows[np.asarray(places, dtype=np.int64)])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of classes, in the order in which they were first read; what `label_numbers` counts in."""
        return self._columns.classes

    @property
    def label_numbers(self) -> NDArray[np.int32]:
        """Number of the class of each sample among `classes`; -1 where it has none [N]."""
        return self._columns.labels if self._rows is None else self._columns.labels[self._rows]

    @property
    def split_numbers(self) -> NDArray[np.int8]:
        """Split of each sample, as a number in `SPLITS` [N]."""
        return self._columns.splits if self._rows is None else self._columns.splits[self._rows]

    @property
    def _own_rows(self) -> NDArray[np.int64]:
        return np.arange(len(self._columns.labels)) if self._rows is None else self._rows

    def _sample(self, row: int) -> Sample:
        columns = self._columns
        file, section = columns.file(row), columns.sections.get(row)
        label, group = int(columns.labels[row]), int(columns.groups[row])
        return Sample(
            path=columns.folder_paths[columns.folders[row]] / file,
            class_name=columns.classes[label] if label >= 0 else "",
            split=SPLITS[columns.splits[row]],
            group=columns.group_names[group] if group >= 0 else None,
            name=file if section is None else f"{file}#{section.start:.10g}-{section.end:.10g}{section.unit[0]}",
            also=columns.also.get(row, ()),
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
        self._classes: dict[str, int] = {}
        self._group_names: dict[str, int] = {}
        self._folder_paths: dict[Path, int] = {}
        self._also: dict[int, tuple[str, ...]] = {}
        self._sections: dict[int, Section] = {}

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
        if ".." in name and posixpath.normpath(name).startswith(".."):
            raise ValueError(f"{where}: paths must stay in their folder, got {name!r}; move the file into it")
        if not name or "\0" in name:
            raise ValueError(f"{where}: there must be a path, got {name!r}; name the video, or remove the line")
        row = len(self._ends)
        self._text += name.encode(*_ENCODING)
        self._ends.append(len(self._text))
        self._labels.append(self._classes.setdefault(class_name, len(self._classes)) if class_name else -1)
        self._splits.append(SPLITS.index(split))
        self._groups.append(self._group_names.setdefault(group, len(self._group_names)) if group else -1)
        self._folders.append(self._folder_paths.setdefault(folder or self._folder, len(self._folder_paths)))
        if also:
            self._also[row] = also
        if section is not None:
            self._sections[row] = section

    def table(self) -> SampleTable:
        """Returns the rows added so far."""
        return SampleTable(
            _Columns(
                text=bytes(self._text),
                ends=np.array(self._ends, dtype=np.int64),
                labels=np.array(self._labels, dtype=np.int32),
                splits=np.array(self._splits, dtype=np.int8),
                groups=np.array(self._groups, dtype=np.int32),
                folders=np.array(self._folders, dtype=np.int16),
                classes=tuple(self._classes),
                group_names=tuple(self._group_names),
                folder_paths=tuple(self._folder_paths),
                also=self._also,
                sections=self._sections,
            )
        )
