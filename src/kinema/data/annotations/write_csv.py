"""Writes samples as the CSV that `csv_file` and `segments` read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from kinema.data.annotations.sample import Sample
from kinema.data.atomic import write_atomically


def write_csv(path: Path, samples: Iterable[Sample], *, multi_label: bool) -> int:
    """Writes a list of samples, whole or not at all; removes it where none can stand in it.

    A sample cannot if its class is not known, if it has several and the list is not of several, or if `;` or `|` is in
    the name of one of several. If there are parts of videos in seconds, only these can; parts in frames never.

    Args:
        path: The file.
        samples: What to write; their names are written, without sections.
        multi_label: Whether a sample may have several classes.

    Returns:
        How many samples stand in the list.
    """
    labelled = [sample for sample in dict.fromkeys(samples) if _has_label(sample, multi_label=multi_label)]
    parts = [sample for sample in labelled if sample.section is not None and sample.section.unit == "seconds"]
    rows = parts or [sample for sample in labelled if sample.section is None]
    if rows:
        write_atomically(path, _text(rows, multi_label=multi_label).encode("utf-8", "surrogateescape"))
    else:
        path.unlink(missing_ok=True)
    return len(rows)


def _has_label(sample: Sample, *, multi_label: bool) -> bool:
    if multi_label:
        return bool(sample.class_names) and not any(re.search("[;|]", name) for name in sample.class_names)
    return len(sample.class_names) == 1


def _text(samples: list[Sample], *, multi_label: bool) -> str:
    has_split, has_group = any(sample.split for sample in samples), any(sample.group for sample in samples)
    times = ["start", "end"] if samples[0].section else []
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        ["path", "labels" if multi_label else "label", *times, *["split"] * has_split, *["group"] * has_group]
    )
    for sample in samples:
        moments = [sample.section.start, sample.section.end] if sample.section else []
        own = [*[sample.split or ""] * has_split, *[sample.group or ""] * has_group]
        rows.writerow([sample.file_name, ";".join(sample.class_names), *moments, *own])
    return text.getvalue()
