"""From what a recipe says of its data to the samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kinema.data.annotations import Annotations, Source, by_name, read_annotations
from kinema.data.quarantine import Quarantine, read_quarantine
from kinema.engine.data_recipe import DataPlace


def read_place(place: DataPlace) -> Annotations:
    """Reads the annotations of the data that a recipe names.

    Returns:
        What they hold, the samples sorted by name.

    Raises:
        ValueError: If there are none, or they are not as they must be.
    """
    root = Path(place.root)
    if root.is_file() and place.annotations:
        raise ValueError(
            f"data.annotations must be left out where data.root is an annotation file itself, got {place.annotations} "
            f"and {place.root}; give the folder of the videos as data.root"
        )
    file = root if root.is_file() else place.annotations
    source = Source(
        root=root.parent if root.is_file() else root,
        annotations=Path(file) if file else None,
        class_list=Path(place.class_list) if place.class_list else None,
        fold=place.fold,
    )
    annotations = read_annotations(source, format=place.format)
    return replace(annotations, samples=by_name(annotations.samples))


def read_place_quarantine(place: DataPlace) -> Quarantine | None:
    """Reads the list of videos to leave out, if there is one; to be applied after the split, which it must not move.

    Raises:
        ValueError: If it is no such list.
    """
    return read_quarantine(Path(place.quarantine)) if place.quarantine else None
