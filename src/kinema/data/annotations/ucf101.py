"""UCF101: `classInd.txt`, `trainlist01.txt` and `testlist01.txt` (three splits), videos `UCF-101/<class>/*.avi`."""

from __future__ import annotations

import re
from pathlib import Path

from kinema.data.annotations.faults import Faults
from kinema.data.annotations.listing import Listing
from kinema.data.annotations.pair_lists import distinct, given_names
from kinema.data.annotations.places import Finder, Place
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.text import read_lines

HABIT = Place("UCF-101", by_class=True, suffix=".avi")
_LIST = r"(train|test)list(\d+)(?:\.[^.]+)*\.txt"


def detect(source: Source) -> bool:
    """Tells whether one of the dataset's lists is there."""
    return bool(source.files(_LIST))


def read(source: Source) -> Annotations:
    """Reads the two lists of a split, and the classes.

    The dataset has training and test videos only, and what is reported of it is the accuracy on the test list: that is
    the part `val` here. Videos of one class and one group, `g08`, stay together.

    Raises:
        ValueError: If a list is missing or not as it must be; with the line.
    """
    lists = _find_lists(source)
    beside = Source(root=source.root, annotations=lists[0].parent)
    indices = beside.files(r"classInd(\.[^.]+)*\.txt")
    classes = _read_classes(indices[0]) if indices else None
    given = given_names(source)
    listing = Listing(given or classes, origin=source.class_list or next(iter(indices), None))
    for path in lists:
        _read_list(path, listing, classes, source.faults)
    placed = Finder(source.root, listing, habit=HABIT).place(group=_group)
    notes = [] if indices or given else ["class order: alphabetical, for there is no classInd.txt"]
    tested = [path.name for path in lists if _is_test(path)]
    if tested:
        notes.append(f"split: {tested[0]} is the part val, on which the accuracy on this dataset is reported")
    return Annotations(
        format="ucf101",
        samples=placed.samples,
        class_names=listing.class_names,
        files=(*indices[:1], *lists),
        notes=(*notes, *placed.notes),
    )


def _find_lists(source: Source) -> list[Path]:
    """Returns the lists of the split that is meant, or the one that the source names."""
    paths = source.files(_LIST)
    if source.annotations is not None and source.annotations.is_file() and paths:
        return paths
    numbers = {path: _list_name(path) for path in paths}
    lists = []
    for part in ("train", "test"):
        of_part = [path for path, name in numbers.items() if name == (part, source.fold)]
        if len(of_part) != 1:
            there = ", ".join(map(str, of_part or paths)) or "none"
            raise ValueError(
                f"{source.annotations or source.root} must hold one {part}list{source.fold:02d}.txt for "
                f"--data.fold {source.fold}, got {there}; add it, or take another fold"
            )
        lists += of_part
    return lists


def _list_name(path: Path) -> tuple[str, int]:
    match = re.match(r"(train|test)list(\d{1,9})", path.name.lower(), re.ASCII)
    return (match[1], int(match[2])) if match else ("", 0)


def _is_test(path: Path) -> bool:
    return path.name.lower().startswith("test")


def _read_classes(path: Path) -> tuple[str, ...]:
    """Reads lines `<number> <class>`, numbered from 1 on."""
    names: list[tuple[int, str]] = []
    for line, text in read_lines(path):
        number, *name = text.split(maxsplit=1)
        if number != str(len(names) + 1) or not name:
            raise ValueError(
                f"{path}, line {line}: there must be {len(names) + 1} and a class, got {text!r}; correct it"
            )
        names.append((line, name[0]))
    return distinct(names, path)


def _read_list(path: Path, listing: Listing, classes: tuple[str, ...] | None, faults: Faults) -> None:
    """Reads lines `<class>/<video>.avi <number>`; the number is left out in the test lists."""
    numbers = {name: str(number) for number, name in enumerate(classes or (), start=1)}
    line = 0
    for line, text in read_lines(path):
        with faults.at(path, line):
            name, *number = text.split()
            folder, slash, file = name.partition("/")
            if not slash or len(number) > 1:
                raise ValueError(
                    f"{path}, line {line}: there must be class/video.avi and a number, got {text!r}; correct it"
                )
            if number and folder in numbers and number[0] != numbers[folder]:
                raise ValueError(
                    f"{path}, line {line}: label must be {numbers[folder]}, the number of {folder} in classInd.txt "
                    f"(from 1 on), got {number[0]!r}; correct it"
                )
            video = re.sub(r"\.(avi|mp4|mkv|webm)$", "", file, flags=re.IGNORECASE)
            listing.add(video, folder, split="val" if _is_test(path) else "train", file=path, line=line)
    if not line:
        raise ValueError(f"{path} must list videos, got none; copy the file again")


def _group(video: str, class_name: str) -> str | None:
    """Returns class and group of `v_<class>_g08_c01`."""
    match = re.search(r"_(g\d+)_c\d+$", video)
    return f"{class_name} {match[1]}" if match else None
