"""Labelled segments of long videos: a CSV of `path,label,start,end[,split][,group]`, times in seconds."""

from __future__ import annotations

from kinema.data.annotations.csv_file import read_csv
from kinema.data.annotations.csv_header import TIMES, csv_files
from kinema.data.annotations.source import Annotations, Source


def detect(source: Source) -> bool:
    """Tells whether a CSV has a column of starts or of ends."""
    return any(csv_files(source, (column,)) for column in TIMES)


def read(source: Source) -> Annotations:
    """Reads a CSV of segments, each of which is a sample of its own.

    Segments of one video are a group, which a split does not tear apart, unless the column `group` says another.

    Raises:
        ValueError: As for `csv_file`, or if a segment does not start before it ends; with the line.
    """
    return read_csv(source, format="segments", times=True)
