"""From what a recipe says of its data to the samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from kinema.data.annotations import Annotations, Source, by_name, read_annotations
from kinema.data.quarantine import Quarantine, read_quarantine
from kinema.data.video.http_range import url_of
from kinema.engine.recipe import DataPlace

Place = TypeVar("Place", bound=DataPlace)


def read_place(place: DataPlace) -> Annotations:
    """Reads the annotations of the data that a recipe names.

    Returns:
        What they hold, the samples sorted by name.

    Raises:
        ValueError: If there are none, or they are not as they must be.
    """
    annotations = read_annotations(source_of(place), format=place.format)
    return replace(annotations, samples=by_name(annotations.samples))


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
