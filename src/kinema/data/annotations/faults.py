"""Bad lines of lists: the first one is refused, or each is noted where somebody wants to know of all of them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self


class SeveralListsError(ValueError):
    """There is more than one list for what a dataset has one of: each may be right by itself."""


MAX_NOTED = 1000
"""Bad lines that are remembered; of further ones, only their number is."""


class BadLine(NamedTuple):
    """A line that is not as it must be."""

    file: Path
    line: int
    """Its number from 1 on; in JSON that of the entry."""
    sentence: str
    """What is wrong with it."""


class Faults:
    """What becomes of a bad line: `with faults.at(path, line):` stands around whatever may refuse it."""

    def __init__(self, *, note: bool = False) -> None:
        """Begins without faults.

        Args:
            note: Whether bad lines are noted and left out; else the first one is refused.
        """
        self.note = note
        self.noted: list[BadLine] = []
        """The first bad lines, `MAX_NOTED` at most."""
        self.count = 0
        """How many there are."""
        self._place: tuple[Path, int] | None = None

    def at(self, file: Path, line: int) -> Self:
        """Says where what follows stands."""
        if self.note:
            self._place = file, line
        return self

    def anew(self) -> Faults:
        """Returns the same without faults: for what reads the lines of a list ahead."""
        return Faults(note=self.note)

    def __enter__(self) -> None:
        """Begins with a line."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Notes what was refused, so that reading goes on, or lets it pass."""
        if self._place is None or not isinstance(error, ValueError) or isinstance(error, SeveralListsError):
            return False
        self.count += 1
        if len(self.noted) < MAX_NOTED:
            self.noted.append(BadLine(*self._place, str(error)))
        return True
