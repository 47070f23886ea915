"""From what a recipe says of its data to the samples."""

from __future__ import annotations

from pathlib import Path

from kinema.data.annotations import Annotations, Source, read_annotations
from kinema.engine.data_recipe import DataPlace


def read_place(place: DataPlace) -> Annotations:
    """Reads the annotations of the data that a recipe names.

    Raises:
        ValueError: If there are none, or they are not as they must be.
    """
    root = Path(place.root)
    file = root if root.is_file() else place.annotations
    source = Source(
        root=root.parent if root.is_file() else root,
        annotations=Path(file) if file else None,
        class_list=Path(place.class_list) if place.class_list else None,
        fold=place.fold,
    )
    return read_annotations(source, format=place.format)
