"""From what a recipe says of its data to the samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from kinema.data.annotations import Annotations, Source, read_annotations
from kinema.data.http_range import url_of
from kinema.engine.data_recipe import DataPlace

Place = TypeVar("Place", bound=DataPlace)


def read_place(place: DataPlace) -> Annotations:
    """Reads the annotations of the data that a recipe names.

    Raises:
        ValueError: If there are none, or they are not as they must be.
    """
    return read_annotations(source_of(place), format=place.format)


def source_of(place: DataPlace) -> Source:
    """Returns where the data that a recipe names lies."""
    root = Path(place.root)
    file = root if root.is_file() else place.annotations
    return Source(
        root=root.parent if root.is_file() else root,
        annotations=Path(file) if file else None,
        class_list=Path(place.class_list) if place.class_list else None,
        fold=place.fold,
    )


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
