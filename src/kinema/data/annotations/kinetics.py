"""Kinetics-400, -600 and -700: CSV of moments in videos, files `<class>/<youtube_id>_<start>_<end>.mp4`."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from kinema.data.annotations.faults import Faults, SeveralListsError
from kinema.data.annotations.listing import Listing
from kinema.data.annotations.pair_lists import given_names
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
    underscores, or be left out. Parts of the same video of YouTube are a group. Classes are those of the
    class list, in its order, or else those of the lists, sorted.

    Raises:
        ValueError: If a list is not as it must be, or there are two of one split; with the line.
    """
    paths = _lists(source)
    if not paths:
        raise ValueError(
            f"{source.annotations or source.root} must hold a CSV with the columns {', '.join(_NEEDED)}, got none; "
            "name it with --data.annotations"
        )
    listing = Listing(given_names(source), origin=source.class_list)
    owners: dict[str | None, Path] = {}
    for path in paths:
        _read_list(path, listing, owners, source.faults)
    finder, has_times = _find(source.root, listing)
    repeated = _repeated(listing)

    def group(video: str, _: str) -> str | None:
        youtube_id = video[:-_TIMES] if has_times else video
        return youtube_id if hash(youtube_id) in repeated else None

    placed = finder.place(group=group)
    return Annotations(
        format="kinetics",
        samples=placed.samples,
        class_names=listing.class_names,
        files=tuple(paths),
        notes=placed.notes,
    )


def _find(root: Path, listing: Listing) -> tuple[Finder, bool]:
    """Looks for files with times in their names, or else without; tells which it was."""
    finder = Finder(root, listing, habit=HABIT)
    if not finder.found:
        short = listing.renamed(lambda video: video[:-_TIMES])
        by_id = Finder(root, short, habit=HABIT)
        if by_id.found and len(short) < len(listing):
            raise ValueError(
                f"videos under {root} must be named <youtube_id>_<start>_<end> where one video of YouTube is listed "
                "twice, got names without times; rename them"
            )
        if by_id.found:
            return by_id, False
    return finder, True


def _lists(source: Source) -> list[Path]:
    return [path for path in source.files(r".*\.csv") if set(_NEEDED) <= set(_header(path))]


def _header(path: Path) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in read_beginning(path).partition("\n")[0].split(",")]


def _read_list(path: Path, listing: Listing, owners: dict[str | None, Path], faults: Faults) -> None:
    """Adds the rows of a list; no split may come from two lists."""
    rows = read_cells(path)
    columns = [cell.lower() for cell in next(rows, (0, []))[1]]
    places = [columns.index(name) if name in columns else None for name in (*_NEEDED, "label", "split")]
    name_split = _split(next((word for word in re.split(r"[^a-z]+", path.name.lower()) if word in _SPLITS), ""))
    before = len(listing)
    for line, cells in rows:
        with faults.at(path, line):
            if len(cells) != len(columns):
                raise ValueError(
                    f"{path}, line {line}: there must be {len(columns)} cells as in the header, got {len(cells)}; put "
                    "labels with commas in double quotes"
                )
            youtube_id, start, end, label, word = ("" if place is None else cells[place] for place in places)
            split = _split(word) or name_split
            times = _seconds(start), _seconds(end)
            if not youtube_id or "" in times or (word and not _split(word)) or (not label and split != "test"):
                raise ValueError(f"{path}, line {line}: {_fault(youtube_id, start, end, label, word)}; correct it")
            _check_owner(path, line, split, owners)
            listing.add(f"{youtube_id}_{times[0]}_{times[1]}", label, split=split, file=path, line=line)
    if len(listing) == before:
        raise ValueError(f"{path} must list videos below its header, got none; copy the file again")


def _check_owner(path: Path, line: int, split: str | None, owners: dict[str | None, Path]) -> None:
    """Refuses two lists of one split."""
    if owners.setdefault(split, path) is not path:
        raise SeveralListsError(
            f"{path}, line {line}: there must be one list for each split, got {split} here and in {owners[split]}; "
            "name the one to read with --data.annotations, or put those of one dataset into a folder and name that"
        )


def _fault(youtube_id: str, start: str, end: str, label: str, split: str) -> str:
    """Says what is wrong with a row."""
    if not youtube_id:
        return "there must be a youtube_id, got none"
    for name, value in (("time_start", start), ("time_end", end)):
        if not _seconds(value):
            return f"{name} must be a number of seconds, got {value!r}"
    if not label:
        return "there must be a label, got none"
    return f"split must be train, val or test, got {split!r}"


@lru_cache(maxsize=4096)
def _split(word: str) -> str | None:
    """Returns the split that a word means; none where it means none."""
    return _SPLITS.get(word.lower())


@lru_cache(maxsize=4096)
def _seconds(text: str) -> str:
    """Returns a time as the names of the files have it; nothing where it is none."""
    match = re.fullmatch(r"(\d{1,6})(\.\d+)?", text, re.ASCII)
    return match[1].zfill(6) if match else ""


def _repeated(listing: Listing) -> set[int]:
    """Returns the hashes of the names of those videos of YouTube of which there are several parts."""
    hashes = [
        np.fromiter((hash(video[:-_TIMES]) for video in part), dtype=np.int64, count=len(part))
        for part in listing.parts.values()
    ]
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    return set(values[counts > 1].tolist())
