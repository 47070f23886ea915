"""Words that the messages of all rooms share: names, not too many of them, and the one that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Joins names by commas, the first ones where there are many: `a, b, c and 4 more`."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def counted(count: int, noun: str) -> str:
    """Writes a number of things: `1 row`, `2,000 rows`, `3 classes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def nearest(name: str, known: Collection[str]) -> str:
    """Returns advice for an unknown name: the nearest known one, or else the known ones."""
    matches = difflib.get_close_matches(name, sorted(known), cutoff=0.5)
    if not matches:
        return f"known are {listed(sorted(known), 12) or 'none'}"

    def likeness(match: str) -> tuple[float, int]:  # of equal ones, the one with the same letters: sht is sth, not stm
        return difflib.SequenceMatcher(None, match, name).ratio(), -len(set(match) ^ set(name))

    return f"did you mean {max(matches, key=likeness)}?"


def one_line(text: str) -> str:
    """Writes what would break a line or is no text, as names of files may hold it, as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def check(holds: bool, name: str, rule: str, value: object, advice: str) -> None:
    """Refuses a value in one sentence.

    Raises:
        ValueError: If the rule does not hold.
    """
    if not holds:
        raise ValueError(f"{name} must {rule}, got {value!r}; {advice}")
