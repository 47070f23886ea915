"""Something-Something V1: lists `id;class`, folders of frames `20bn-something-something-v1/<id>/00001.jpg`."""

from __future__ import annotations

from pathlib import Path

from kinema.data.annotations.pair_lists import given_names, read_listing, read_names, read_pairs
from kinema.data.annotations.places import Finder, Place
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.split_files import FileNames
from kinema.data.annotations.text import read_beginning


def _is_list(path: Path) -> bool:
    """Tells a list without the usual name: nearly all classes speak of something."""
    first, *others = read_beginning(path).splitlines()[:5] or [""]
    return first.partition(";")[0].strip().isdecimal() and any("something" in line for line in (first, *others))


NAMES = FileNames("something-something-v1-", ".csv", _is_list)
HABIT = Place("20bn-something-something-v1", by_class=False, suffix="")


def detect(source: Source) -> bool:
    """Tells whether a list of the dataset is there."""
    return NAMES.are_in(source)


def read(source: Source) -> Annotations:
    """Reads the lists `something-something-v1-{train,validation,test}.csv` that are there, and the labels.

    Classes stand in the order of the file of labels; without it, they are those of the lists, sorted.

    Raises:
        ValueError: If a list is not as it must be; with the line.
    """
    files = NAMES.find(source)
    class_names = given_names(source) or (read_names(files.labels) if files.labels else None)
    listing = read_listing(files, class_names, rows=read_pairs, faults=source.faults)
    placed = Finder(source.root, listing, habit=HABIT).place()
    order = (
        f"class order: that of {files.labels.name}; TSM's official weights have the alphabetical one; names travel "
        "with the weights"
        if files.labels
        else "class order: alphabetical, for there is no file of labels; its own order differs"
    )
    return Annotations(
        format="something_v1",
        samples=placed.samples,
        class_names=listing.class_names,
        files=files.all,
        notes=(order, *placed.notes),
    )
