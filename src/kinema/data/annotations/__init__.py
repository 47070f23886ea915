"""Reading which videos there are and what they show: one format a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinema.data.annotations.formats import FORMATS, Format, describe_format, read_annotations
from kinema.data.annotations.overview import by_name, class_names_of, names_of, select, split_mask
from kinema.data.annotations.sample import Sample, Section
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.table import SampleTable
from kinema.data.annotations.table_builder import TableBuilder

__all__ = [
    "FORMATS",
    "Annotations",
    "Format",
    "Sample",
    "SampleTable",
    "Section",
    "Source",
    "TableBuilder",
    "by_name",
    "class_names_of",
    "describe_format",
    "names_of",
    "read_annotations",
    "read_samples",
    "select",
    "split_mask",
]


def read_samples(root: Path, *, annotations: Path | None = None) -> Sequence[Sample]:
    """Reads the samples of a dataset in whatever format it is; `read_annotations` tells more of it.

    Args:
        root: The folder of the videos.
        annotations: The annotation file, where it is not found in the root.

    Returns:
        The samples, sorted by name.

    Raises:
        ValueError: If the root is no folder, or what stands there is in no format that is known.
    """
    return by_name(read_annotations(Source(root=root, annotations=annotations)).samples)
