"""Lists of PySlowFast: `path label` with any separator, and one line for each frame with a header.

V-JEPA separates by blanks or `::`, UniFormerV2 by commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kinema.data.annotations.faults import Faults
from kinema.data.annotations.list_files import find_place, one_for_each_split, text_lists
from kinema.data.annotations.list_line import number_list, unquoted
from kinema.data.annotations.numbered import Entry, Line, NumberedClasses
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.text import read_lines

FRAMES_HEADER = ("original_vido_id", "video_id", "frame_id", "path", "labels")
"""The header of lists of frames; the slip of the pen is the format's own."""
_LINE = re.compile(r"(.*\S)(?:\s*(?:::|[,;|])\s*|\s+)(-?[0-9]{1,9})")


def path_label(text: str) -> list[Entry] | None:
    """Reads `path label`, separated by blanks, a comma, a semicolon, a bar or `::`."""
    match = _LINE.fullmatch(text)
    return [Entry(unquoted(match[1]), (int(match[2]),))] if match else None


def detect_frames(source: Source) -> bool:
    """Tells whether a list begins with the header of lists of frames."""
    return any(_has_header(path) for path in text_lists(source))


def read_frames(source: Source) -> Annotations:
    """Reads lists of frames: a video is the folder of its frames, and has all labels that one of them has.

    Raises:
        ValueError: If a line is none of the list's; with file and line.
    """
    files = [path for path in text_lists(source) if source.annotations == path or _has_header(path)]
    if not files:
        raise ValueError(
            f"annotations must be a list with the header {' '.join(FRAMES_HEADER)}, got none in "
            f"{source.annotations or source.root}; add --data.annotations FILE"
        )
    splits = one_for_each_split(files, source)
    videos = {path: list(_videos(path, split, source.faults)) for path, split in splits.items()}
    several = any(len(entry.labels) > 1 for entries in videos.values() for entry, _ in entries)
    classes = NumberedClasses(source, beside=files[0], multi_label=several)
    for path, entries in videos.items():
        place = find_place((entry.name for entry, _ in entries), source, beside=path)
        for entry, line in entries:
            with source.faults.at(path, line.number):
                classes.add(entry, line, place)
    return classes.annotations("pyslowfast_frames", files=tuple(splits))


def _has_header(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return tuple(file.readline(200).split()) == FRAMES_HEADER
    except OSError:
        return False


def _videos(path: Path, split: str | None, faults: Faults) -> Iterator[tuple[Entry, Line]]:
    """Gathers the lines of each video, which need not stand together."""
    labels: dict[str, dict[int, None]] = {}
    lines: dict[str, Line] = {}
    for number, text in read_lines(path):
        cells = text.split()
        if tuple(cells) == FRAMES_HEADER and not labels:
            continue
        shown = number_list(cells[4].strip('"')) if len(cells) == 5 and cells[4].strip('"') else ()
        if len(cells) != 5 or shown is None:
            with faults.at(path, number):
                raise ValueError(
                    f"{path}, line {number}, must be {' '.join(FRAMES_HEADER)}, got {text[:80]!r}; mend the line, or "
                    "choose another --data.format"
                )
            continue
        folder = PurePosixPath(cells[3]).parent.as_posix()
        labels.setdefault(folder, {}).update(dict.fromkeys(shown))
        lines.setdefault(folder, Line(path, number, split))
    for folder, found in labels.items():
        if found:
            yield Entry(folder, tuple(found)), lines[folder]
            continue
        with faults.at(path, lines[folder].number):
            raise ValueError(
                f"{path}, line {lines[folder].number}: a video must have a label in one of its lines, got none for "
                f"{folder}; add it, or remove the video"
            )
