"""All formats of datasets, and which of them stands in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kinema.data.annotations import (
    class_folder,
    csv_file,
    hmdb51,
    jester,
    kinetics,
    list_layout,
    mmaction2_json,
    pyslowfast,
    segments,
    something_v1,
    something_v2,
    ucf101,
)
from kinema.data.annotations.source import Annotations, Source
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
    "something_v1": Format("Something-Something V1", something_v1.detect, something_v1.read),
    "something_v2": Format("Something-Something V2", something_v2.detect, something_v2.read),
    "jester": Format("Jester", jester.detect, jester.read),
    "kinetics": Format("Kinetics-400, -600 or -700", kinetics.detect, kinetics.read),
    "ucf101": Format("UCF101", ucf101.detect, ucf101.read),
    "hmdb51": Format("HMDB51", hmdb51.detect, hmdb51.read),
    "segments": Format("CSV with the header path,label,start,end", segments.detect, segments.read),
    "mmaction2_json": Format("JSON list of mmaction2", mmaction2_json.detect, mmaction2_json.read),
    "pyslowfast_frames": Format("list of frames of PySlowFast", pyslowfast.detect_frames, pyslowfast.read_frames),
    **{
        name: Format(f"list of {layout.line}", partial(list_layout.detect, name), partial(list_layout.read, name))
        for name, layout in list_layout.LAYOUTS.items()
    },
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
    if not source.root.is_dir():
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

    Raises:
        ValueError: If annotations are named that are in no known format.
    """
    found = next((name for name, format in FORMATS.items() if format.detect(source)), None)
    if found is None:
        raise ValueError(
            f"annotations must be in a known format, got {source.annotations}; say which with --data.format, one of "
            f"{', '.join(FORMATS)}"
        )
    return found
