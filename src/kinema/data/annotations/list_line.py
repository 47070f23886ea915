"""Takes a line of a list apart: a path, which may hold blanks, and the numbers behind it."""

from __future__ import annotations

import re
from collections.abc import Callable

from kinema.data.annotations.numbered import Entry

Parser = Callable[[str], list[Entry] | None]
"""Reads the videos of a line, of which lists of clips have several; none where the line is of another kind."""
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_NUMBERS = re.compile(r"(.*?\S)((?:\s+-?[0-9]{1,9})+)")


def last_numbers(text: str, count: int) -> tuple[str, list[int]] | None:
    """Cuts the last numbers off a line; none where there are fewer, or no path is left."""
    parts = text.rsplit(None, count)
    if len(parts) <= count or not all(map(_NUMBER.fullmatch, parts[1:])):
        return None
    return unquoted(parts[0]), [int(part) for part in parts[1:]]


def all_numbers(text: str) -> tuple[str, list[int]] | None:
    """Cuts all numbers off the end of a line; none where there is none, or no path is left."""
    match = _NUMBERS.fullmatch(text)
    return (unquoted(match[1]), [int(number) for number in match[2].split()]) if match else None


def number_list(text: str) -> tuple[int, ...] | None:
    """Reads numbers that are joined by commas, as in `144,246`."""
    parts = text.split(",")
    return tuple(map(int, parts)) if all(map(_NUMBER.fullmatch, parts)) else None


def unquoted(name: str) -> str:
    """A name without the blanks and the double quotes around it."""
    name = name.strip()
    return name[1:-1] if len(name) > 2 and name[0] == name[-1] == '"' else name
