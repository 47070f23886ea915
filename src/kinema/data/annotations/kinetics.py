"""Kinetics-400, -600 and -700: CSV of moments in videos, files `<class>/<youtube_id>_<start>_<end>.mp4`."""

from __future__ import annotations

import re
from pathlib import Path

from kinema.data.annotations.listing import Listing
from kinema.data.annotations.places import Finder, Place
from kinema.data.annotations.sample import SPLIT_NAMES
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.text import read_beginning, read_cells

_SPLITS = SPLIT_NAMES | {"validate": "val"}
_NEEDED = ("youtube_id", "time_start", "time_end")
_TIMES = len("_000000_000010")
HABIT = Place("train", by_class=True, suffix=".mp4")


def detect(source: Source) -> bool:
    """Tells whether a CSV with the columns of the dataset is there."""
    return bool(_lists(source))


def read(source: Source) -> Annotations:
    """Reads the CSVs with the header `label,youtube_id,time_start,time_end,split` that are there.

    The test lists have no `label`, further columns are left alone. Folders of classes may be written with blanks or
    underscores, or be left out. Videos from the same one of YouTube are a group. Classes are those of the class list,
    or else those of the lists, sorted.

    Raises:
        ValueError: If a list is not as it must be, or there are two of one split; with the line.
    """
    paths = _lists(source)
    if not paths:
        raise ValueError(
            f"{source.annotations or source.root} must hold a CSV with the columns {', '.join(_NEEDED)}, got none; "
            "name it with --data.annotations"
        )
    listing = Listing()
    owners: dict[str | None, Path] = {}
    for path in paths:
        _read_list(path, listing, owners)
    finder = Finder(source.root, listing, habit=HABIT)
    if not finder.found:
        short = listing.renamed(lambda video: video[:-_TIMES])
        by_id = Finder(source.root, short, habit=HABIT)
        if by_id.found and len(short) < len(listing):
            raise ValueError(
                f"videos under {source.root} must be named <youtube_id>_<start>_<end> where one video of YouTube is "
                "listed twice, got names without times; rename them"
            )
        if by_id.found:
            finder = by_id
    repeated = _repeated(listing)
    placed = finder.place(group=lambda video, _: video[:11] if video[:11] in repeated else None)
    return Annotations(
        format="kinetics",
        samples=placed.samples,
        class_names=listing.class_names,
        files=tuple(paths),
        notes=placed.notes,
    )


def _lists(source: Source) -> list[Path]:
    return [path for path in source.files(r".*\.csv") if set(_NEEDED) <= set(_header(path))]


def _header(path: Path) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in read_beginning(path).partition("\n")[0].split(",")]


def _read_list(path: Path, listing: Listing, owners: dict[str | None, Path]) -> None:
    """Adds the rows of a list; no split may come from two lists."""
    columns: list[str] = []
    number = 0
    for line, cells in read_cells(path):
        if not columns:
            columns = [cell.lower() for cell in cells]
            continue
        if len(cells) != len(columns):
            raise ValueError(
                f"{path}, line {line}: there must be {len(columns)} cells as in the header, got {len(cells)}; put "
                "labels with commas in double quotes"
            )
        row = dict(zip(columns, cells, strict=True))
        split = _split(row, path, line)
        if owners.setdefault(split, path) != path:
            raise ValueError(
                f"{path}, line {line}: there must be one list for each split, got {split} here and in {owners[split]}; "
                "name the one to read with --data.annotations, or put those of one dataset into a folder and name that"
            )
        if "label" in row and not row["label"] and split != "test":
            raise ValueError(f"{path}, line {line}: there must be a label, got none; fill it in")
        video = f"{row['youtube_id']}_{_seconds(row, 'time_start', path, line)}_{_seconds(row, 'time_end', path, line)}"
        listing.add(video, row.get("label", ""), split=split, file=path, line=line)
        number += 1
    if not number:
        raise ValueError(f"{path} must list videos below its header, got none; copy the file again")


def _split(row: dict[str, str], path: Path, line: int) -> str | None:
    """Returns the split that a row says, or else the name of its file."""
    if row.get("split"):
        split = _SPLITS.get(row["split"].lower())
        if split is None:
            raise ValueError(f"{path}, line {line}: split must be train, val or test, got {row['split']!r}; correct it")
        return split
    return next((_SPLITS[word] for word in re.split(r"[^a-z]+", path.name.lower()) if word in _SPLITS), None)


def _seconds(row: dict[str, str], column: str, path: Path, line: int) -> str:
    """Returns a time as the names of the files have it."""
    match = re.fullmatch(r"(\d{1,6})(\.\d+)?", row[column], re.ASCII)
    if match is None:
        raise ValueError(f"{path}, line {line}: {column} must be a number of seconds, got {row[column]!r}; correct it")
    return f"{int(match[1]):06d}"


def _repeated(listing: Listing) -> set[str]:
    """Returns the videos of YouTube of which there are several parts."""
    once: set[str] = set()
    repeated: set[str] = set()
    for part in listing.parts.values():
        for video in part:
            (repeated if video[:-_TIMES] in once else once).add(video[:-_TIMES])
    return repeated
