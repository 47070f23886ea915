"""All formats of datasets, and which of them stands in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kinema.data.annotations import class_folder, csv_file, shards
from kinema.data.annotations.source import Annotations, Source
from kinema.data.http_range import url_of
from kinema.wording import nearest

AUTO = "auto"


@dataclass(frozen=True)
class Format:
    """A format of datasets."""

    what: str
    """What it is, in a few words for a person."""
    detect: Callable[[Source], bool]
    """Tells by names and first lines of files, without reading them all, whether a source is in it."""
    read: Callable[[Source], Annotations]
    """Reads it; raises a `ValueError` that names file and line."""


FORMATS: dict[str, Format] = {
    "shards": Format("shards: tar files in the layout of webdataset", shards.detect, shards.read),
    "csv": Format("CSV with the header path,label", csv_file.detect, csv_file.read),
    "class_folders": Format("a folder for each class", class_folder.detect, class_folder.read),
}
"""The formats by name; of several that are detected, the first one is taken if it comes from a folder's own structure,
so the plainest stand last."""


def read_annotations(source: Source, *, format: str = AUTO) -> Annotations:
    """Reads a dataset.

    Args:
        source: Where it lies.
        format: One of `FORMATS`, or `auto` to find out which.

    Returns:
        What it holds.

    Raises:
        ValueError: If the root is no folder, or what stands there is in no known format or not as it must be.
    """
    if url_of(source.root) is None and not source.root.is_dir():
        raise ValueError(f"root must be a folder of videos, got {source.root}; check the path")
    if format != AUTO and format not in FORMATS:
        raise ValueError(
            f"format must be auto or one of {', '.join(FORMATS)}, got {format!r}; {nearest(format, FORMATS)}"
        )
    name = detect_format(source) if format == AUTO else format
    return FORMATS[name].read(source)


def detect_format(source: Source) -> str:
    """Finds the format that a source is in.

    Args:
        source: Where the dataset lies.

    Returns:
        Its name in `FORMATS`: the first one that is detected; of a root without annotation files, class folders.
    """
    return next((name for name, format in FORMATS.items() if format.detect(source)), "class_folders")
