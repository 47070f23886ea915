"""A CSV of `path,label[,split][,group]` with a header line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from kinema.data.annotations.sample import SPLIT_NAMES, Sample
from kinema.data.annotations.source import Annotations, Source
from kinema.wording import listed, nearest

REQUIRED_COLUMNS = ("path", "label")
COLUMNS = (*REQUIRED_COLUMNS, "split", "group")


def detect(source: Source) -> bool:
    """Tells whether a CSV is named as the annotations."""
    return source.annotations is not None and source.annotations.suffix.lower() != ".txt"


def read(source: Source) -> Annotations:
    """Reads a CSV of videos.

    Values with commas stand in double quotes. Blank lines, a byte order mark and CRLF are fine. Labels are names, also
    where they look like numbers; blanks around them are dropped. A path is looked for under the root first, then beside
    the CSV. A row that stands there twice counts once.

    Args:
        source: Names the CSV and the folder that its paths start from.

    Returns:
        The samples, sorted by name, and the classes, sorted too.

    Raises:
        ValueError: If the file is no such CSV, a video is missing, or two rows contradict each other; with the line.
    """
    if source.annotations is None:
        raise ValueError("annotations must be a CSV file for the format csv, got none; add --data.annotations FILE")
    samples = _read_csv(source.annotations, root=source.root)
    return Annotations(
        format="csv",
        samples=sorted(samples, key=lambda sample: sample.name),
        class_names=tuple(sorted({sample.class_name for sample in samples})),
        files=(source.annotations,),
    )


def _read_csv(path: Path, *, root: Path) -> list[Sample]:
    rows = list(_rows(path))
    if not rows:
        raise ValueError(f"{path} must have a header line path,label, got an empty file; write one row for each video")
    columns = _check_header(path, *rows[0])
    seen: dict[str, tuple[int, Sample]] = {}
    for line, cells in rows[1:]:
        sample = _sample(f"{path}, line {line}", columns, cells)
        key = PurePath(sample.name).as_posix()
        first_line, first = seen.setdefault(key, (line, sample))
        if (first.class_name, first.split, first.group) != (sample.class_name, sample.split, sample.group):
            raise ValueError(
                f"{path} must say one thing about a video, got {sample.name!r} as {_claims(first)} in line "
                f"{first_line} and as {_claims(sample)} in line {line}; remove one of them"
            )
    if not seen:
        raise ValueError(f"{path} must have rows below its header, got none; write one row for each video")
    _check_split_column(path, seen)
    return _locate(path, seen, root=root)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of each row that is not blank."""
    if not path.is_file():
        raise ValueError(f"annotations must be a CSV file, got {path}; check the path")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True, skipinitialspace=True)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
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


def _check_header(path: Path, line: int, cells: list[str]) -> list[str]:
    """Returns the names of the columns."""
    columns = [cell.strip().lower() for cell in cells]
    if not set(columns) & set(COLUMNS):
        raise ValueError(
            f"{path} must begin with a header line such as path,label, got {','.join(cells)!r} in line {line}; "
            "add the header (columns are separated by commas)"
        )
    for column in columns:
        if column not in COLUMNS:
            raise ValueError(
                f"{path} must have only columns {', '.join(COLUMNS)}, got {column!r}; {nearest(column, COLUMNS)}"
            )
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    if missing or len(set(columns)) != len(columns):
        fault = f"without {' and '.join(missing)}" if missing else "with a column twice"
        raise ValueError(f"{path} must have each of path and label once, got {','.join(columns)!r} {fault}; correct it")
    return columns


def _sample(where: str, columns: list[str], cells: list[str]) -> Sample:
    """Turns one row into a sample whose path is still as written."""
    if len(cells) != len(columns):
        raise ValueError(
            f"{where}, must have {len(columns)} cells like the header, got {len(cells)}: {','.join(cells)!r}; "
            "put names that contain commas in double quotes"
        )
    row = dict(zip(columns, cells, strict=True))
    label, split, group = (row.get(column, "").strip() for column in ("label", "split", "group"))
    if not row["path"].strip() or not label:
        raise ValueError(f"{where}, must have a path and a label, got {','.join(cells)!r}; fill in the empty one")
    if split and split.lower() not in SPLIT_NAMES:
        raise ValueError(f"{where}, must have a split out of train, val, test, got {split!r}; correct it")
    return Sample(
        path=Path(row["path"]),
        class_name=label,
        split=SPLIT_NAMES.get(split.lower()),
        group=group or None,
        name=row["path"],
    )


def _check_split_column(path: Path, seen: dict[str, tuple[int, Sample]]) -> None:
    """Refuses a split column that is filled only here and there."""
    blank = [line for line, sample in seen.values() if sample.split is None]
    if blank and len(blank) < len(seen):
        raise ValueError(
            f"{path} must give a split to every row or to none, got none in line {blank[0]} ({len(blank)} such rows); "
            "fill them in or remove the column"
        )


def _locate(path: Path, seen: dict[str, tuple[int, Sample]], *, root: Path) -> list[Sample]:
    """Finds the files: under the root, or else beside the CSV."""
    samples = []
    missing = []
    for line, sample in seen.values():
        names = dict.fromkeys((sample.name, sample.name.strip()))  # blanks at the ends are seldom meant
        places = [(folder / name, name) for name in names for folder in (root, path.parent)]
        found = next(((place, name) for place, name in places if place.exists()), None)
        if found is None:
            missing.append(f"{sample.name!r} (line {line})")
        else:
            samples.append(replace(sample, path=found[0], name=found[1]))
    if missing:
        raise ValueError(
            f"{path} must name files under {root} or beside itself, got {len(missing)} of {len(seen)} that are in "
            f"neither place: {listed(missing, 3)}; check the root or remove the rows"
        )
    return samples


def _claims(sample: Sample) -> str:
    """What a row says of its video."""
    return "/".join(value for value in (sample.class_name, sample.split, sample.group) if value)
