"""A CSV of `path,label[,split][,group]` with a header line; `labels` in place of `label` gives several classes."""

from __future__ import annotations

import math
import os
import posixpath
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

from kinema.data.annotations.csv_header import (
    COLUMNS,
    NAMES,
    SEPARATORS,
    TIMES,
    csv_files,
    require_header,
)
from kinema.data.annotations.csv_rows import read_rows
from kinema.data.annotations.list_files import NUM_TRIED, Place, find_place, one_for_each_split
from kinema.data.annotations.repeats import Rows
from kinema.data.annotations.sample import SPLIT_NAMES, Section
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.table_builder import TableBuilder, check_path


def detect(source: Source) -> bool:
    """Tells whether a CSV has such a header, or is named as the annotations."""
    named = source.annotations is not None and source.annotations.suffix.lower() == ".csv"
    return named or bool(csv_files(source, ("path",)))


def read(source: Source) -> Annotations:
    """Reads a CSV of videos, or one for each split.

    Cells are separated by commas, semicolons or tabs, as the header is; a value that holds what separates them stands
    in double quotes. Blank lines, a byte order mark, UTF-16 with one, and CRLF are fine. Labels are names, also
    where they look like numbers; blanks around them are dropped. In a column `labels` they are separated by `;` or `|`.
    Paths start at the root or in one of its folders, or beside the CSV: where the first of them are. A row that stands
    there twice counts once.

    Args:
        source: Names the CSV and the folder that its paths start from.

    Returns:
        The samples and the classes, sorted.

    Raises:
        ValueError: If the file is no such CSV, or two rows contradict each other; with the line.
    """
    return read_csv(source, format="csv")


def read_csv(source: Source, *, format: str, times: bool = False) -> Annotations:
    """Reads CSV files with these columns, and, where wanted, those of segments.

    Raises:
        ValueError: As `read` says.
    """
    named = source.annotations is not None and not source.annotations.is_dir()
    columns = TIMES if times else ("path",)
    files = [*dict.fromkeys(path for each in columns for path in csv_files(source, (each,)))]
    if named and source.annotations:
        files = [source.annotations]
    if not files:
        raise ValueError(
            f"annotations must be a CSV file for the format {format}, got none in {source.annotations or source.root}; "
            "add --data.annotations FILE"
        )
    reader = _Reader(source, columns=(*COLUMNS, *TIMES) if times else COLUMNS)
    for path, split in one_for_each_split(files, source).items():
        reader.read(path, split=split if len(files) > 1 else None)
    table = reader.rows.merge(reader.builder.table(), faults=source.faults)
    return Annotations(
        format=format,
        samples=table,
        class_names=tuple(sorted(table.classes)),
        files=tuple(files),
        multi_label=reader.multi_label,
        notes=tuple(reader.notes),
    )


_NO_ROWS: tuple[list[int], list[list[str]]] = ([], [])


class _File(NamedTuple):
    """A file, its columns and what separates them, its split, and where its paths start."""

    path: Path
    columns: list[str]
    separator: str
    split: str | None
    place: Place


class _Reader:
    """Collects the rows of CSV files."""

    def __init__(self, source: Source, *, columns: Sequence[str]) -> None:
        """Starts without rows."""
        self.source, self.known = source, columns
        self.builder = TableBuilder(source.root)
        self.rows = Rows()
        self.multi_label = False
        self.notes: list[str] = []

    def read(self, path: Path, *, split: str | None) -> None:
        """Adds the rows of a file."""
        header = require_header(path, self.known)
        self.notes += header.notes(path)
        columns = list(header.columns)
        self.multi_label |= "labels" in columns
        parts = read_rows(path, separator=header.separator, first_line=header.line)
        lines, rows = next(parts, _NO_ROWS)
        lines, rows = (lines[1:], rows[1:]) if rows[1:] else next(parts, _NO_ROWS)
        if not rows:
            raise ValueError(f"{path} must have rows below its header, got none; write one row for each video")
        at = columns.index("path")
        names = [cells[at].strip() for cells in rows[:NUM_TRIED] if at < len(cells)]
        place = find_place(_both_slashes(names), self.source, beside=path, split=split)
        if any(_slashed(name, place) != name for name in names):
            self.notes.append(f"{path.name}: backslashes in paths are read as slashes")
        file = _File(path, columns, header.separator, split, place)
        before = len(self.builder)
        blank = [line for lines, rows in chain([(lines, rows)], parts) for line in self._add(file, lines, rows)]
        if 0 < len(blank) < len(self.builder) - before:
            with self.source.faults.at(path, blank[0]):
                raise ValueError(
                    f"{path} must give a split to every row or to none, got none in line {blank[0]} ({len(blank)} such "
                    "rows); fill them in or remove the column"
                )

    def _add(self, file: _File, lines: list[int], rows: list[list[str]]) -> list[int]:
        """Adds some rows; those that are not as they must be are found one by one, where there are any.

        Returns:
            The lines of those that lack a split, in a file with a column of splits.
        """
        rows = _fit(rows, file.columns)
        try:
            return self._add_columns(file, lines, rows)
        except ValueError:
            sound = [at for at, cells in enumerate(rows) if self._is_sound(file, lines[at], cells)]
        return self._add_columns(file, [lines[at] for at in sound], [rows[at] for at in sound]) if sound else []

    def _add_columns(self, file: _File, lines: list[int], rows: list[list[str]]) -> list[int]:
        """Adds rows, all or none.

        Raises:
            ValueError: If one of them is not as it must be, without a word on which.
        """
        if "\0" in "".join(map("".join, rows)):
            raise ValueError("there is a zero byte")
        cells = dict(zip(file.columns, zip(*rows, strict=True), strict=True))
        several = "labels" in cells
        split_cells = cells.get("split")
        splits = [_split(cell) or file.split for cell in split_cells] if split_cells else [file.split] * len(rows)
        sections = list(map(_section, cells["start"], cells["end"])) if "start" in cells else []
        names = _names(cells["path"], file.place)
        groups = [cell.strip() or None for cell in cells["group"]] if "group" in cells else []
        if sections:
            groups = [group or name for group, name in zip(groups or repeat(None), names)]  # noqa: B905 (no end)
        classes = list(map(_classes, cells["labels" if several else "label"], repeat(several)))
        self.builder.add_all(names, classes, splits=splits, groups=groups, sections=sections, folder=file.place.folder)
        keys = zip(names, sections or repeat(None), repeat(file.split))
        self.rows.add_all(keys, file=file.path, lines=lines)
        return [line for line, split in zip(lines, splits, strict=True) if split is None] if split_cells else []

    def _is_sound(self, file: _File, line: int, cells: Sequence[str]) -> bool:
        """Tells whether a row is as it must be, where it is not refused."""
        with self.source.faults.at(file.path, line):
            _check_row(file, line, cells)
            return True
        return False


def _fit(rows: list[list[str]], columns: Sequence[str]) -> list[list[str]]:
    """Leaves out blank cells beyond the header, and fills up those that are not read."""
    num, needed = len(columns), 1 + max(at for at, column in enumerate(columns) if column in NAMES)
    if {*map(len, rows)} == {num}:
        return rows
    return [
        [*cells[:num], *[""] * (num - len(cells))]
        if len(cells) >= needed and not any(map(str.strip, cells[num:]))
        else cells
        for cells in rows
    ]


def _check_row(file: _File, line: int, cells: Sequence[str]) -> None:
    """Refuses a row that is not as it must be.

    Raises:
        ValueError: If it is not; with file and line.
    """
    where, columns, text = f"{file.path}, line {line}", file.columns, file.separator.join(cells)
    if "\0" in text:
        raise ValueError(f"{where}, must be text, got a zero byte; save it as UTF-8")
    if len(cells) != len(columns):
        missing = " and ".join(column for column in columns[len(cells) :] if column in NAMES)
        advice = f"put names that contain {SEPARATORS[file.separator]} in double quotes"
        raise ValueError(
            f"{where}, must have {len(columns)} cells like the header, got {len(cells)}: {text!r}; "
            f"{f'add the {missing}' if missing else advice}"
        )
    row = dict(zip(columns, cells, strict=True))
    split, start, end = (row.get(column, "").strip() for column in ("split", *TIMES))
    fault = f"a path and a label, got {text!r}; fill in the empty one"
    try:
        (name,) = _names([row["path"]], file.place)
        _classes(row.get("label", row.get("labels", "")), "labels" in row)
        fault = f"a split out of train, val, test, got {split!r}; correct it"
        _split(split)
        fault = f"a start of at least 0 and an end after it, in seconds, got {start!r} and {end!r}; correct them"
        if "start" in row:
            _section(start, end)
    except ValueError as error:
        raise ValueError(f"{where}, must have {fault}") from error
    check_path(name, where=where)


def _names(written: Sequence[str], place: Place) -> Sequence[str]:
    """The names of files in one writing: blanks at their ends are seldom meant, and `./a` is `a`."""
    names = list(map(str.strip, written))
    if not all(names):
        raise ValueError("a path is empty")
    if names != list(written):
        for at, name in enumerate(written):
            if name != names[at] and os.path.exists(place.folder / place.name(name)):  # noqa: PTH110
                names[at] = name
    if any("\\" in name for name in names):
        names = [_slashed(name, place) for name in names]
    text = "\0".join(names)
    if "./" in text or "//" in text:
        names = [posixpath.normpath(name) if "./" in name or "//" in name else name for name in names]
    return list(map(place.name, names)) if place.prefix or place.suffix else names


def _slashed(name: str, place: Place) -> str:
    """A name as Windows writes it with slashes, where only so it is on the disk."""

    def is_there(written: str) -> bool:
        return os.path.exists(place.folder / place.name(written))  # noqa: PTH110

    slashed = name.replace("\\", "/")
    return slashed if slashed != name and not is_there(name) and is_there(slashed) else name


def _both_slashes(names: list[str]) -> list[str]:
    """Names to look for, those of Windows in both writings."""
    if not any("\\" in name for name in names):
        return names
    return [each for name in names[: NUM_TRIED // 2] for each in (name, name.replace("\\", "/"))]


@lru_cache(maxsize=1 << 14)
def _classes(cell: str, several: bool) -> tuple[str, ...]:
    """The classes in a cell, where there may be several separated by semicolons or bars; raises if there is none."""
    parts = re.split("[;|]", cell) if several else [cell]
    classes = tuple(dict.fromkeys(name for part in parts if (name := part.strip())))
    if not classes:
        raise ValueError("there is no class")
    return classes


@lru_cache(maxsize=1 << 10)
def _split(cell: str) -> str | None:
    """The split that a cell names, none if it is blank; raises if it names another."""
    name = cell.strip().lower()
    if name and name not in SPLIT_NAMES:
        raise ValueError("there is no such split")
    return SPLIT_NAMES.get(name)


def _section(start_cell: str, end_cell: str) -> Section:
    """The part of the video that a row is on; raises if there is none."""
    start, end = float(start_cell), float(end_cell)
    if not 0.0 <= start < end < math.inf:
        raise ValueError("there is no time between start and end")
    return Section(start, end)
