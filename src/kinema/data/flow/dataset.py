"""The flow of a dataset as a dataset: folders of flow, and a list of them where folders alone do not tell classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kinema.data.annotations import Annotations
from kinema.data.annotations.write_csv import write_csv
from kinema.data.flow.extract import Extracted, FlowConfig, extract_flow

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
        progress: Whether to show a bar on a terminal.

    Returns:
        Where the flow is, and of which videos there is none.

    Raises:
        ValueError: As `extract_flow` does.
        OSError: If the folder cannot be written to.
    """
    extracted = extract_flow(annotations.samples, out, config, num_workers=num_workers, progress=progress)
    if annotations.files:
        there = {
            sample: extracted.folders[sample.name] for sample in annotations.samples if sample.name in extracted.folders
        }
        listed = [replace(s, name=place.relative_to(out).as_posix(), section=None) for s, place in there.items()]
        num_listed = write_csv(out / LIST, listed, multi_label=annotations.multi_label)
        return replace(extracted, num_unlisted=len(there) - num_listed)
    return extracted
