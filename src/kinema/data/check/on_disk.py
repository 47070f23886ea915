"""Which videos lie in a folder, whatever annotations say of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from kinema.data.video.frame_folder import is_frame_folder
from kinema.data.video.opening import VIDEO_EXTENSIONS


def videos_on_disk(folder: str, *, known: Collection[str] = ()) -> Iterator[str]:
    """Walks through a folder and yields what looks like a video: by its extension, or by the numbered frames in it.

    Hidden entries are passed over, and so is a link back to a folder above. A folder with the extension of a video is
    yielded too: it was meant to be one.

    Args:
        folder: Where to begin.
        known: Absolute paths of videos that need not be looked at, nor into.
    """
    yield from _walk(os.path.abspath(folder), known, frozenset())  # noqa: PTH100 (names stay as they are)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in a circle
        return False


def _walk(folder: str, known: Collection[str], above: frozenset[str]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as scan:
            entries = sorted((entry.name, _is_folder(entry)) for entry in scan if not entry.name.startswith("."))
    except OSError:
        return  # what may not be looked into holds nothing that training could read
    for name, is_folder in entries:
        path = f"{folder.rstrip(os.sep)}{os.sep}{name}"
        if path in known:
            continue
        if os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS:  # noqa: PTH122
            yield path
        elif is_folder:
            if is_frame_folder(Path(path)):
                yield path
            else:
                yield from _walk(path, known, above | {real})
