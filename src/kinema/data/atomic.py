"""Files and folders that are there whole or not at all: made beside their place, forced to the disk, renamed."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Writes a file beside its target, forces it to the disk, and renames it into place.

    Raises:
        OSError: If the disk is full or the folder cannot be written to; what stood at the path is then still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        put_in_place(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def put_in_place(partial: Path, target: Path) -> None:
    """Forces a file, or a folder of files, to the disk and renames it.

    Args:
        partial: What was made; on the disk of the target.
        target: Its name from now on. A file that stands there is replaced, an empty folder too.

    Raises:
        OSError: If the disk is full, or the target is a folder that holds something.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if partial.is_dir():
        for entry in partial.iterdir():
            _force_to_disk(entry)
    _force_to_disk(partial)
    partial.replace(target)
    _force_to_disk(target.parent)


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
