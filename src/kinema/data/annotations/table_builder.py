"""Collects the rows of a table of samples, one by one or many at once."""

from __future__ import annotations

import posixpath
from array import array
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np

from kinema.data.annotations.columns import ENCODING, SPLITS, UNITS, Columns, Texts
from kinema.data.annotations.sample import Section
from kinema.data.annotations.table import SampleTable

_SPLIT_NUMBERS = {split: number for number, split in enumerate(SPLITS)}


class TableBuilder:
    """Collects the rows of a table."""

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
        check_path(name, where=where)
        if (label := self._classes.get(class_name)) is None:
            label = self._class_number(class_name) if class_name else -1
        self._text += name.encode(*ENCODING)
        self._ends.append(len(self._text))
        self._labels.append(label)
        self._splits.append(_SPLIT_NUMBERS[split])
        self._groups.append(self._group_number(group))
        self._folders.append(self._number_of_folder(folder))
        if also or self._also_ends:
            self._add_also(also, row=len(self._ends) - 1)
        if section is not None or self._units:
            self._add_section(section, row=len(self._ends) - 1)

    def add_all(
        self,
        names: Sequence[str],
        classes: Sequence[tuple[str, ...]],
        *,
        splits: Iterable[str | None],
        groups: Sequence[str | None] = (),
        sections: Sequence[Section] = (),
        folder: Path | None = None,
    ) -> None:
        """Adds many rows of one folder, all or none; a long list is read in a third of the time.

        Args:
            names: As `add` takes them [N].
            classes: All classes of each row, of which there is one at least [N].
            splits: The split of each [N].
            groups: The group of each [N], or nothing.
            sections: The section of each [N], or nothing.
            folder: The folder that the names start from.

        Raises:
            ValueError: If a name is none that `check_path` takes.
        """
        if not names:
            return
        text = "\0".join(names)
        if ".." in text or text.count("\0") != len(names) - 1 or not all(names):
            for name in names:
                check_path(name, where="a row")
        block = "".join(names).encode(*ENCODING)
        is_ascii = len(block) == len(text) - len(names) + 1
        lengths = map(len, names if is_ascii else (name.encode(*ENCODING) for name in names))
        ends = len(self._text) + np.cumsum(np.fromiter(lengths, np.int64, count=len(names)))
        first_row = len(self._ends)
        firsts = [some[0] for some in classes]
        for class_name in dict.fromkeys(firsts):
            self._class_number(class_name)
        self._text += block
        self._ends.frombytes(ends.tobytes())
        self._labels.extend(map(self._classes.__getitem__, firsts))
        self._splits.extend(map(_SPLIT_NUMBERS.__getitem__, splits))
        self._groups.extend(map(self._group_number, groups) if groups else repeat(-1, len(names)))
        self._folders.extend(repeat(self._number_of_folder(folder), len(names)))
        if self._also_ends or any(len(some) > 1 for some in classes):
            for row, some in enumerate(classes, start=first_row):
                self._add_also(some[1:], row=row)
        if sections or self._units:
            for row, section in enumerate(sections or [None] * len(names), start=first_row):
                self._add_section(section, row=row)

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

    def _group_number(self, name: str | None) -> int:
        return self._group_names.setdefault(name, len(self._group_names)) if name else -1

    def _number_of_folder(self, folder: Path | None) -> int:
        if folder is not self._last_folder:  # a path takes long to look up
            self._folder_number = self._folder_paths.setdefault(folder or self._folder, len(self._folder_paths))
            self._last_folder = folder
        return self._folder_number

    def _add_also(self, also: tuple[str, ...], *, row: int) -> None:
        """Adds the further classes of a row, and of those before it that have none."""
        self._also_ends.extend([len(self._also)] * (row - len(self._also_ends)))
        self._also.extend(self._class_number(name) for name in also)
        self._also_ends.append(len(self._also))

    def _add_section(self, section: Section | None, *, row: int) -> None:
        """Adds the section of a row, and says of those before it that have none."""
        lacking = row - len(self._units)
        self._times.extend([0.0] * (2 * lacking))
        self._units.extend([-1] * lacking)
        self._times.extend((section.start, section.end) if section else (0.0, 0.0))
        self._units.append(UNITS.index(section.unit) if section else -1)


def check_path(name: str, *, where: str) -> None:
    """Refuses a name that leads out of its folder, or that nothing can have.

    Raises:
        ValueError: If it is such a name.
    """
    if ".." in name and posixpath.normpath(name).split("/")[0] == "..":
        raise ValueError(f"{where}: paths must stay in their folder, got {name!r}; move the file into it")
    if not name or "\0" in name:
        raise ValueError(f"{where}: there must be a path, got {name!r}; name the video, or remove the line")
