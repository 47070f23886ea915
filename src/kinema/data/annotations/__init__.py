"""Reading which videos there are and what they show: one format a file."""

from __future__ import annotations

from pathlib import Path

from kinema.data.annotations.class_folder import read_class_folders
from kinema.data.annotations.csv_file import read_csv
from kinema.data.annotations.sample import Sample

__all__ = ["Sample", "read_samples"]


def read_samples(root: Path, *, annotations: Path | None = None) -> list[Sample]:
    """Reads the samples of a dataset.

    Args:
        root: The folder of the videos.
        annotations: A CSV `path,label[,split][,group]`; without it the folders are the classes.

    Returns:
        The samples, sorted by name.

    Raises:
        ValueError: If the root is no folder, or what stands there is not in the layout that was looked for.
    """
    if not root.is_dir():
        raise ValueError(f"root must be a folder of videos, got {root}; check the path")
    samples = read_class_folders(root) if annotations is None else read_csv(annotations, root=root)
    return sorted(samples, key=lambda sample: sample.name)
