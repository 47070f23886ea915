"""A CSV of `path,label[,split][,group]` with a header line; `labels` in place of `label` gives several classes."""

from __future__ import annotations

import csv
import math
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from kinema.data.annotations.list_files import NUM_TRIED, Place, find_place, one_for_each_split
from kinema.data.annotations.repeats import Rows
from kinema.data.annotations.sample import SPLIT_NAMES, Section
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.table import TableBuilder
from kinema.wording import nearest

LABELS = ("label", "labels")
COLUMNS = ("path", "label", "split", "group")
TIMES = ("start", "end")
"""Columns of a CSV of segments."""


def detect(source: Source) -> bool:
    """Tells whether a CSV has such a header, or is named as the annotations."""
    named = source.annotations is not None and source.annotations.suffix.lower() == ".csv"
    return named or bool(csv_files(source, ("path",)))


def read(source: Source) -> Annotations:
    """Reads a CSV of videos, or one for each split.

    Values with commas stand in double quotes. Blank lines, a byte order mark and CRLF are fine. Labels are names, also
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


def csv_files(source: Source, columns: Sequence[str]) -> list[Path]:
    """Finds the files of a source that begin with a header with some columns, beside that of labels."""
    return [path for path in source.files(r".*\.csv") if _has_columns(path, columns)]


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
    table = reader.rows.merge(reader.builder.table())
    return Annotations(
        format=format,
        samples=table,
        class_names=tuple(sorted(reader.class_names)),
        files=tuple(files),
        multi_label=reader.multi_label,
    )


class _File(NamedTuple):
    """A file, its split, and where its paths start."""

    path: Path
    text: str
    split: str | None
    place: Place


class _Reader:
    """Collects the rows of CSV files."""

    def __init__(self, source: Source, *, columns: Sequence[str]) -> None:
        """Starts without rows."""
        self.source, self.known = source, columns
        self.builder = TableBuilder(source.root)
        self.rows = Rows()
        self.class_names: set[str] = set()
        self.multi_label = False

    def read(self, path: Path, *, split: str | None) -> None:
        """Adds the rows of a file."""
        rows = _rows(path)
        header = next(rows, None)
        if header is None:
            raise ValueError(
                f"{path} must have a header line path,label, got an empty file; write one row for each video"
            )
        columns = self._check_header(path, *header)
        first = list(islice(rows, NUM_TRIED))
        if not first:
            raise ValueError(f"{path} must have rows below its header, got none; write one row for each video")
        at = columns.index("path")
        names = (cells[at].strip() for _, cells in first if at < len(cells))
        place = find_place(names, self.source, beside=path, split=split)
        file = _File(path, str(path), split, place)
        blank: list[int] = []
        filled = 0
        for line, cells in chain(first, rows):
            if self._add(file, line, columns, cells):
                filled += 1
            else:
                blank.append(line)
        if blank and filled:
            raise ValueError(
                f"{path} must give a split to every row or to none, got none in line {blank[0]} ({len(blank)} such "
                "rows); fill them in or remove the column"
            )

    def _add(self, file: _File, line: int, columns: Sequence[str], cells: Sequence[str]) -> bool:
        """Adds one row; tells whether it has a split."""
        where = f"{file.text}, line {line}"
        if len(cells) != len(columns):
            raise ValueError(
                f"{where}, must have {len(columns)} cells like the header, got {len(cells)}: {','.join(cells)!r}; "
                "put names that contain commas in double quotes"
            )
        row = dict(zip(columns, cells, strict=True))
        classes = _classes(row)
        if not row["path"].strip() or not classes:
            raise ValueError(f"{where}, must have a path and a label, got {','.join(cells)!r}; fill in the empty one")
        split = row.get("split", "").strip()
        if split and split.lower() not in SPLIT_NAMES:
            raise ValueError(f"{where}, must have a split out of train, val, test, got {split!r}; correct it")
        section = _section(row, where=where) if "start" in row else None
        name = _name(row["path"], file.place)
        self.builder.add(
            name,
            classes[0],
            split=SPLIT_NAMES.get(split.lower(), file.split),
            group=row.get("group", "").strip() or (name if section else None),
            folder=file.place.folder,
            also=classes[1:],
            section=section,
            where=where,
        )
        if not self.class_names.issuperset(classes):
            self.class_names.update(classes)
        self.rows.add((name, section, file.split), file=file.path, line=line)
        return bool(split or file.split)

    def _check_header(self, path: Path, line: int, cells: Sequence[str]) -> list[str]:
        """Returns the names of the columns; `labels` is noted."""
        columns = [cell.strip().lower() for cell in cells]
        if not set(columns) & {*self.known, *LABELS}:
            raise ValueError(
                f"{path} must begin with a header line such as path,label, got {','.join(cells)!r} in line {line}; "
                "add the header (columns are separated by commas)"
            )
        for column in columns:
            if column not in (*self.known, *LABELS):
                raise ValueError(
                    f"{path} must have only columns {', '.join(self.known)}, got {column!r}; "
                    f"{nearest(column, self.known)}"
                )
        several = "labels" in columns and "label" not in columns
        wanted = ("path", "labels" if several else "label", *(TIMES if "start" in self.known else ()))
        missing = [column for column in wanted if column not in columns]
        if missing or len(set(columns)) != len(columns) or {*LABELS} <= {*columns}:
            fault = f"without {' and '.join(missing)}" if missing else "with a column twice"
            raise ValueError(
                f"{path} must have each of {' and '.join(wanted)} once, got {','.join(columns)!r} {fault}; correct it"
            )
        self.multi_label |= several
        return columns


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of each row that is not blank."""
    if not path.is_file():
        raise ValueError(f"annotations must be a CSV file, got {path}; check the path")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True, skipinitialspace=True)
        try:
            for cells in reader:
                if cells and (cells[0].strip() or any(cell.strip() for cell in cells)):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {reader.line_num}, must be CSV, got a syntax error ({error}); check its quotes"
            ) from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} must be UTF-8 text, got other bytes after line {reader.line_num} ({error.reason}); "
                "save it as UTF-8"
            ) from error


def _has_columns(path: Path, columns: Sequence[str]) -> bool:
    """Tells whether a file begins with a header with some columns and one of labels."""
    try:
        _, cells = next(_rows(path), (0, []))
    except ValueError:
        return False
    header = {cell.strip().lower() for cell in cells}
    return {*columns} <= header and bool(header & {*LABELS})


def _name(written: str, place: Place) -> str:
    """The name of a file in one writing: blanks at its ends are seldom meant, and `./a` is `a`."""
    name = written.strip()
    if name != written and (place.folder / place.name(written)).exists():
        name = written
    return place.name(posixpath.normpath(name) if "./" in name or "//" in name else name)


def _classes(row: Mapping[str, str]) -> tuple[str, ...]:
    """The classes of a row."""
    if "label" in row:
        name = row["label"].strip()
        return (name,) if name else ()
    return tuple(dict.fromkeys(name for part in re.split("[;|]", row["labels"]) if (name := part.strip())))


def _section(row: Mapping[str, str], *, where: str) -> Section:
    """The part of the video that a row is on."""
    try:
        start, end = float(row["start"]), float(row["end"])
    except ValueError:
        start, end = math.nan, math.nan
    if not 0.0 <= start < end < math.inf:
        raise ValueError(
            f"{where}, must have a start of at least 0 and an end after it, in seconds, got {row['start'].strip()!r} "
            f"and {row['end'].strip()!r}; correct them"
        )
    return Section(start, end)
