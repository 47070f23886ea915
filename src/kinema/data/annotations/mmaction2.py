"""Lines of mmaction2's lists: videos, frame folders with and without offset, several labels, clips of raw videos.

Numbers are separated by blanks; a path may hold blanks too. mmaction2 counts frames from 1 and reads file
`offset + 1` as the first one of a row with an offset, so that `offset` frames of the folder lie before it.
"""

from __future__ import annotations

from kinema.data.annotations.list_line import all_numbers, last_numbers
from kinema.data.annotations.numbered import Entry
from kinema.data.annotations.sample import Section


def videos(text: str) -> list[Entry] | None:
    """Reads `path label`."""
    parts = last_numbers(text, 1)
    return [Entry(parts[0], (parts[1][0],))] if parts else None


def multi_label(text: str) -> list[Entry] | None:
    """Reads `path label label ...`."""
    parts = all_numbers(text)
    return [Entry(parts[0], tuple(parts[1]))] if parts else None


def rawframes(text: str) -> list[Entry] | None:
    """Reads `folder num_frames label`; the frames are counted in the folder itself."""
    parts = last_numbers(text, 2)
    return [Entry(parts[0], (parts[1][1],))] if parts and parts[1][0] >= 0 else None


def rawframes_multi_label(text: str) -> list[Entry] | None:
    """Reads `folder num_frames label label ...`."""
    parts = all_numbers(text)
    if parts is None or len(parts[1]) < 2 or parts[1][0] < 0:
        return None
    return [Entry(parts[0], tuple(parts[1][1:]))]


def offset(text: str) -> list[Entry] | None:
    """Reads `folder offset num_frames label`."""
    parts = last_numbers(text, 3)
    if parts is None or parts[1][0] < 0 or parts[1][1] < 1:
        return None
    name, (before, num_frames, label) = parts
    return [Entry(name, (label,), Section(before, before + num_frames, "frames"), group=name)]


def rawvideos(text: str) -> list[Entry] | None:
    """Reads `folder label num_clips clip clip ...`: of the files `part_<clip>.mp4` those that show the class."""
    parts = all_numbers(text)
    if parts is None or len(parts[1]) < 2:
        return None
    folder, (label, num_clips, *clips) = parts
    if not all(0 <= clip < num_clips for clip in clips):
        return None
    return [Entry(f"{folder}/part_{clip}.mp4", (label,), group=folder) for clip in clips]
