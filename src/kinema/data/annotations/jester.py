"""Jester: lists `id;class` with `20bn-jester-v1/<id>/00001.jpg`, or tables with a header and `Train/<id>/00001.jpg`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kinema.data.annotations.faults import Faults
from kinema.data.annotations.pair_lists import Row, given_names, read_listing, read_names, read_pairs
from kinema.data.annotations.places import Finder, Place
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.split_files import FileNames, SplitFiles
from kinema.data.annotations.text import read_beginning, read_cells

_SOME_CLASSES = ("Swiping ", "Sliding Two Fingers ", "Zooming ", "Turning Hand ", "Drumming Fingers", "No gesture")


def _has_header(path: Path) -> bool:
    first = read_beginning(path).partition("\n")[0].lower()
    columns = [column.strip() for column in first.split(",")]
    return columns[0] in ("video_id", "id") and {"frames", "shape", "format"} <= set(columns)


def _is_list(path: Path) -> bool:
    """Tells a list without the usual name by its header or its first classes."""
    lines = [line.partition(";") for line in read_beginning(path).splitlines()[:40]]
    return _has_header(path) or any(
        video.strip().isdecimal() and name.startswith(_SOME_CLASSES) for video, _, name in lines
    )


NAMES = FileNames("jester-v1-", ".csv", _is_list)
HABIT = Place("20bn-jester-v1", by_class=False, suffix="")
HABIT_OF_TABLES = Place("Train", by_class=False, suffix="")


def detect(source: Source) -> bool:
    """Tells whether a list of the dataset is there."""
    return NAMES.are_in(source)


def read(source: Source) -> Annotations:
    """Reads the lists `jester-v1-{train,validation,test}.csv`, or `{Train,Validation,Test}.csv`, that are there.

    Classes stand in the order of the file of labels, or else of the numbers that the tables give them.

    Raises:
        ValueError: If a list is not as it must be; with the line.
    """
    files = NAMES.find(source)
    tables = any(_has_header(path) for path in files.lists.values())
    class_names, order = _class_names(files, given_names(source), source.faults)
    listing = read_listing(files, class_names, rows=_rows, faults=source.faults)
    placed = Finder(source.root, listing, habit=HABIT_OF_TABLES if tables else HABIT).place()
    return Annotations(
        format="jester",
        samples=placed.samples,
        class_names=listing.class_names,
        files=files.all,
        notes=(f"class order: {order}; names travel with the weights", *placed.notes),
    )


def _class_names(
    files: SplitFiles, given: tuple[str, ...] | None, faults: Faults
) -> tuple[tuple[str, ...] | None, str]:
    """Returns the names of the classes, where some file says their order, and words for it."""
    if files.labels:
        listed = given or read_names(files.labels)
        return listed, f"that of {files.labels.name}; other projects have the alphabetical one"
    numbers: dict[str, int] = {}
    for path in files.lists.values():
        for line, row in _table(path, faults.anew()) if _has_header(path) else ():
            name, number = row.get("label", ""), row.get("label_id", "")
            if not name or not number:
                continue
            if not number.isdecimal() or len(number) > 4 or numbers.setdefault(name, int(number)) != int(number):
                with faults.at(path, line):
                    raise ValueError(
                        f"{path}, line {line}: label_id must be the one number of its label, got {number!r} for "
                        f"{name!r} (before: {numbers.get(name, 'none')}); correct it"
                    )
    if not numbers:
        return None, "alphabetical, for there is no file of labels"
    names = {number: name for name, number in numbers.items()}
    doubled = next((name for name, number in numbers.items() if names[number] != name), None)
    if doubled is not None:
        raise ValueError(
            f"{files.all[0]}: label_id must differ between labels, got {numbers[doubled]} for {doubled!r} and "
            f"{names[numbers[doubled]]!r}; correct the column"
        )
    return tuple(sorted(numbers, key=numbers.__getitem__)), "that of the column label_id"


def _rows(path: Path, faults: Faults) -> Iterator[Row]:
    if not _has_header(path):
        yield from read_pairs(path, faults)
        return
    for line, row in _table(path, faults):
        yield line, row.get("video_id") or row.get("id", ""), row.get("label", "")


def _table(path: Path, faults: Faults) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields line and cells of each row of a table with a header."""
    header: list[str] = []
    for line, cells in read_cells(path):
        if not header:
            header = [cell.lower() for cell in cells]
        elif len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        else:
            with faults.at(path, line):
                raise ValueError(
                    f"{path}, line {line}: there must be {len(header)} cells as in the header, got {len(cells)}; put "
                    "cells with commas in double quotes"
                )
