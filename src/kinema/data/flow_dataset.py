"""The flow of a dataset as a dataset: folders of flow, and a list of them where folders alone do not tell classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kinema.data.annotations import Annotations, Sample
from kinema.data.atomic import write_atomically
from kinema.data.flow import Extracted, FlowConfig, extract_flow

LIST = "annotations.csv"
"""Name of the list of a dataset that is no class folders."""


def extract_dataset(
    annotations: Annotations, out: Path, config: FlowConfig, *, num_workers: int | None, progress: bool
) -> Extracted:
    """Extracts the flow of a dataset; the folder is one that `--data.root` takes.

    Args:
        annotations: The dataset.
        out: Folder to write.
        config: How flow is computed and stored.
        num_workers: Videos at the same time; none is one for each core.
        progress: Whether to show a bar.

    Returns:
        Where the flow is, and of which videos there is none.

    Raises:
        ValueError: As `extract_flow` does.
        OSError: If the folder cannot be written to.
    """
    extracted = extract_flow(annotations.samples, out, config, num_workers=num_workers, progress=progress)
    if annotations.files:
        there = [sample for sample in annotations.samples if sample.name in extracted.folders]
        labelled = [sample for sample in there if sample.class_names]
        _write_list(labelled, extracted, out, multi_label=annotations.multi_label)
        return replace(extracted, num_unlisted=len(there) - len(labelled))
    return extracted


def _write_list(samples: Sequence[Sample], extracted: Extracted, out: Path, *, multi_label: bool) -> None:
    """Writes what the annotations say of each video, with the name of its flow; whole or not at all."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    has_split, has_group = any(sample.split for sample in samples), any(sample.group for sample in samples)
    columns = ["path", "labels" if multi_label else "label", *["split"] * has_split, *["group"] * has_group]
    rows.writerow(columns)
    for sample in dict.fromkeys(samples):
        place = extracted.folders[sample.name].relative_to(out).as_posix()
        own = {"split": sample.split or "", "group": sample.group or ""}
        rows.writerow([place, ";".join(sample.class_names), *(own[column] for column in columns[2:])])
    write_atomically(out / LIST, text.getvalue().encode("utf-8", "surrogateescape"))
