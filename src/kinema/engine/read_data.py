"""From what a recipe says of its data to the samples."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from kinema.data.annotations import Annotations, Source, by_name, read_annotations
from kinema.data.annotations.faults import Faults, SeveralListsError
from kinema.data.quarantine import Quarantine, read_quarantine
from kinema.data.video.http_range import url_of
from kinema.engine.recipe import DataPlace

Place = TypeVar("Place", bound=DataPlace)
_FLAGS = re.compile(r"(?<![\w./])data\.(?=(root|annotations|format|class_list|fold)\b)")


def read_place(place: DataPlace, *, own_flags: bool = False, faults: Faults | None = None) -> Annotations:
    """Reads the annotations of the data that a recipe names.

    Args:
        place: Where the data lies.
        own_flags: Whether messages are for a command whose flags are `--annotations` and its kind, without `data.`.
        faults: What becomes of bad lines; default: the first one is refused.

    Returns:
        What they hold, the samples sorted by name.

    Raises:
        ValueError: If there are none, or they are not as they must be.
    """
    try:
        source = replace(source_of(place), faults=faults or Faults())
        annotations = read_annotations(source, format=place.format)
    except ValueError as error:
        if not own_flags:
            raise
        kind = SeveralListsError if isinstance(error, SeveralListsError) else ValueError
        raise kind(with_own_flags(str(error))) from error
    notes = tuple(map(with_own_flags, annotations.notes)) if own_flags else annotations.notes
    return replace(annotations, samples=by_name(annotations.samples), notes=notes)


def with_own_flags(sentence: str) -> str:
    """Returns a sentence about data with the flags of the commands that have only data: `--annotations`."""
    return _FLAGS.sub("", sentence)


def source_of(place: DataPlace) -> Source:
    """Returns where the data that a recipe names lies."""
    root = Path(place.root)
    if root.is_file() and place.annotations:
        raise ValueError(
            f"data.annotations must be left out where data.root is an annotation file itself, got {place.annotations} "
            f"and {place.root}; give the folder of the videos as data.root"
        )
    file = root if root.is_file() else place.annotations
    return Source(
        root=root.parent if root.is_file() else root,
        annotations=Path(file) if file else None,
        class_list=Path(place.class_list) if place.class_list else None,
        fold=place.fold,
    )


def read_place_quarantine(place: DataPlace) -> Quarantine | None:
    """Reads the list of videos to leave out, if there is one; to be applied after the split, which it must not move.

    Raises:
        ValueError: If it is no such list.
    """
    return read_quarantine(Path(place.quarantine)) if place.quarantine else None


def absolute(path: str | None) -> str | None:
    """Returns a path from the root of the disk on; an address, and none, as they are."""
    return str(Path(path).resolve()) if path and url_of(path) is None else path


def absolute_place(place: Place) -> Place:
    """Returns the same place, its paths absolute."""
    return replace(
        place,
        root=absolute(place.root) or "",
        annotations=absolute(place.annotations),
        class_list=absolute(place.class_list),
        quarantine=absolute(place.quarantine),
    )
