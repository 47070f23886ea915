"""HMDB51: a list `<class>_test_split<1|2|3>.txt` for each class and split, videos `<class>/*.avi`."""

from __future__ import annotations

import re
from pathlib import Path

from kinema.data.annotations.faults import Faults
from kinema.data.annotations.listing import Listing
from kinema.data.annotations.pair_lists import given_names
from kinema.data.annotations.places import Finder, Place
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.text import read_lines
from kinema.wording import listed

HABIT = Place("", by_class=True, suffix=".avi")
_LIST = re.compile(r"(.+)_test_split(\d{1,3})\.txt", re.IGNORECASE | re.ASCII)
_PARTS = {"0": None, "1": "train", "2": "val"}


def detect(source: Source) -> bool:
    """Tells whether one of the dataset's lists is there."""
    return bool(source.files(_LIST.pattern))


def read(source: Source) -> Annotations:
    """Reads the lists of a split, one for each class.

    Videos with the number 1 are for training, those with 2 for testing; those with 0 are in neither part. What is
    reported of the dataset is the accuracy on the test part: that is the part `val` here. Videos of one class that were
    cut from the same source stay together.

    Raises:
        ValueError: If a list is missing or not as it must be; with the line.
    """
    lists = _find_lists(source)
    listing = Listing(given_names(source) or sorted(lists), origin=source.class_list)
    unused = 0
    for class_name, path in sorted(lists.items()):
        unused += _read_list(path, listing, class_name, source.faults)
    if not len(listing):
        raise ValueError(f"{next(iter(lists.values())).parent} must list videos with 1 or 2, got none; copy it again")
    placed = Finder(source.root, listing, habit=HABIT).place(group=_group)
    left = f"; {unused} videos are in neither part" if unused else ""
    return Annotations(
        format="hmdb51",
        samples=placed.samples,
        class_names=listing.class_names,
        files=tuple(path for _, path in sorted(lists.items())),
        notes=(
            f"split: the test videos of split {source.fold} are the part val, on which the accuracy on this dataset is "
            f"reported{left}",
            *placed.notes,
        ),
    )


def _find_lists(source: Source) -> dict[str, Path]:
    """Returns the list of each class for the split that is meant."""
    named = source.annotations is not None and source.annotations.is_file()
    folder = Source(root=source.root, annotations=source.annotations.parent) if named and source.annotations else source
    lists: dict[str, Path] = {}
    classes: dict[str, Path] = {}
    for path in folder.files(_LIST.pattern):
        match = _LIST.fullmatch(path.name)
        if match is None:
            continue
        classes.setdefault(match[1], path)
        if int(match[2]) == source.fold and lists.setdefault(match[1], path) != path:
            raise ValueError(
                f"there must be one list for each class and split, got {lists[match[1]]} and {path}; remove one, or "
                "name their folder with --data.annotations"
            )
    missing = [f"{name}_test_split{source.fold}.txt" for name in sorted(set(classes) - set(lists))]
    if missing or not classes:
        raise ValueError(
            f"{source.annotations or source.root} must hold a list of --data.fold {source.fold} for each class, got "
            f"none: {listed(missing, 3) or f'<class>_test_split{source.fold}.txt'}; add it, or take another fold"
        )
    return lists


def _read_list(path: Path, listing: Listing, class_name: str, faults: Faults) -> int:
    """Reads lines `<video>.avi <0|1|2>`; returns how many are in neither part."""
    unused, line = 0, 0
    for line, text in read_lines(path):
        with faults.at(path, line):
            *name, number = text.rsplit(maxsplit=1)
            if number not in _PARTS or not name:
                raise ValueError(
                    f"{path}, line {line}: there must be video.avi and 0, 1 or 2, got {text!r}; correct it"
                )
            split = _PARTS[number]
            if split is None:
                unused += 1
            else:
                video = re.sub(r"\.(avi|mp4|mkv|webm)$", "", name[0].strip(), flags=re.IGNORECASE)
                listing.add(video, class_name, split=split, file=path, line=line)
    if not line:
        raise ValueError(f"{path} must list videos, got none; copy the file again")
    return unused


def _group(video: str, class_name: str) -> str | None:
    """Returns class and source of `<source>_<class>_f_cm_np1_fr_med_0`."""
    source = video.rpartition(f"_{class_name}_")[0]
    return f"{class_name} {source}" if source else None
