"""Something-Something V2: JSON with a template for each video, `20bn-something-something-v2/<id>.webm`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kinema.data.annotations.faults import Faults
from kinema.data.annotations.pair_lists import Row, distinct, given_names, read_listing
from kinema.data.annotations.places import Finder, Place
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.split_files import FileNames
from kinema.data.annotations.text import read_beginning, read_json


def _is_list(path: Path) -> bool:
    """Tells a list without the usual name by its first entry."""
    return re.match(r'\s*\[\s*\{[^{}]*"template"\s*:', read_beginning(path)) is not None


NAMES = FileNames("something-something-v2-", ".json", _is_list)
HABIT = Place("20bn-something-something-v2", by_class=False, suffix=".webm")


def detect(source: Source) -> bool:
    """Tells whether a list of the dataset is there."""
    return NAMES.are_in(source)


def read(source: Source) -> Annotations:
    """Reads the lists `something-something-v2-{train,validation,test}.json`, or `{train,validation,test}.json`.

    The class of a video is its template without brackets, looked up in the file of labels, whose numbers give the
    order; without that file, the classes are those of the lists, sorted, which is the same order.

    Raises:
        ValueError: If a list is not as it must be; with the number of the entry, from 1 on.
    """
    files = NAMES.find(source)
    class_names = given_names(source) or (_read_labels(files.labels) if files.labels else None)
    listing = read_listing(files, class_names, rows=_rows, faults=source.faults)
    placed = Finder(source.root, listing, habit=HABIT).place()
    return Annotations(
        format="something_v2",
        samples=placed.samples,
        class_names=listing.class_names,
        files=files.all,
        notes=placed.notes,
    )


def _read_labels(path: Path) -> tuple[str, ...]:
    """Reads class names in the order of their numbers."""
    labels = read_json(path)
    if not isinstance(labels, dict):
        raise ValueError(f"{path} must be an object of class names and numbers, got no object; copy the file again")
    numbers: dict[int, str] = {}
    for name, value in labels.items():
        number = int(value) if isinstance(value, int | str) and re.fullmatch(r"\d{1,6}", str(value)) else -1
        if numbers.setdefault(number, name) != name or not 0 <= number < len(labels):
            raise ValueError(
                f"{path}: each class must have a number of its own from 0 to {len(labels) - 1}, got {value!r} for "
                f"{name!r}; correct it"
            )
    return distinct(((number, numbers[number].strip()) for number in sorted(numbers)), path)


def _rows(path: Path, faults: Faults) -> Iterator[Row]:
    """Yields number, video and class of each entry."""
    entries = read_json(path)
    if not isinstance(entries, list):
        raise ValueError(f"{path} must be a list of entries, got no list; copy the file again")
    for number, entry in enumerate(entries, start=1):
        video = template = None
        with faults.at(path, number):
            if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int):
                raise ValueError(f"{path}, entry {number}: there must be an id, got {str(entry)[:80]}; correct it")
            video, template = str(entry["id"]).strip(), entry.get("template", "")
            if not isinstance(template, str):
                raise ValueError(f"{path}, entry {number}: template must be text, got {template!r}; correct it")
        if video is not None and isinstance(template, str):
            yield number, video, template.replace("[", "").replace("]", "").strip()
