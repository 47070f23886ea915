"""Lines of the lists of TSM, TRN and their forks, of gluon-cv (`path num_frames label`), and of IBM's code."""

from __future__ import annotations

from kinema.data.annotations.list_line import last_numbers, number_list, unquoted
from kinema.data.annotations.numbered import Entry
from kinema.data.annotations.sample import Section


def tsm(text: str) -> list[Entry] | None:
    """Reads `path num_frames label`; X-Temporal joins several labels by commas. The frames are counted in the video."""
    head, _, last = text.rpartition(" ") if " " in text else text.rpartition("\t")
    labels = number_list(last)
    parts = last_numbers(head, 1)
    if labels is None or parts is None or parts[1][0] < 0:
        return None
    return [Entry(unquoted(parts[0]), labels)]


def ibm(text: str) -> list[Entry] | None:
    """Reads `folder start end label`; frames count from 1, and the end is the last one."""
    parts = last_numbers(text, 3)
    if parts is None or not 1 <= parts[1][0] <= parts[1][1]:
        return None
    name, (start, end, label) = parts
    return [Entry(name, (label,), Section(start - 1, end, "frames"), group=name)]
