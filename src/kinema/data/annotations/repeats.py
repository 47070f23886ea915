"""Finds the rows of a long list that speak of the same video, in little memory: names are compared by their hashes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np

from kinema.data.annotations.faults import Faults
from kinema.data.annotations.sample import Sample
from kinema.data.annotations.table import SampleTable


class Rows:
    """Remembers of each row what it is of and where it stands."""

    def __init__(self) -> None:
        """Starts without rows."""
        self._hashes, self._lines, self._files = array("q"), array("i"), array("h")
        self._paths: list[Path] = []

    def add(self, key: object, *, file: Path, line: int) -> None:
        """Adds a row, of what the key tells."""
        self._hashes.append(hash(key))
        self._lines.append(line)
        if not self._paths or file is not self._paths[-1]:
            self._paths.append(file)
        self._files.append(len(self._paths) - 1)

    def add_all(self, keys: Iterable[object], *, file: Path, lines: Sequence[int]) -> None:
        """Adds many rows of one file."""
        if not self._paths or file is not self._paths[-1]:
            self._paths.append(file)
        self._hashes.extend(map(hash, keys))
        self._lines.extend(lines)
        self._files.extend(repeat(len(self._paths) - 1, len(lines)))

    def merge(self, table: SampleTable, *, faults: Faults) -> SampleTable:
        """Returns a table in which each video stands once.

        Args:
            table: Its rows are those that were added, in their order.
            faults: What becomes of a row that contradicts another; the first of them stays.

        Raises:
            ValueError: If two rows contradict each other; with their lines.
        """
        hashes = np.array(self._hashes, dtype=np.int64)
        order = np.argsort(hashes, kind="stable")
        same = hashes[order[1:]] == hashes[order[:-1]]
        if not same.any():
            return table
        later: set[int] = set()
        first = int(order[0])
        for row, repeats in zip(order[1:].tolist(), same.tolist(), strict=True):
            if repeats and table[first].name == table[row].name:
                later.add(row)
                with faults.at(self._paths[self._files[row]], self._lines[row]):
                    self._compare(table, first, row)
            else:
                first = row
        return table.select([row for row in range(len(table)) if row not in later])

    def _compare(self, table: SampleTable, first: int, row: int) -> None:
        """Refuses two rows that say different things of one video."""
        one, other = table[first], table[row]
        if _claims(one) != _claims(other):
            path = self._paths[self._files[row]]
            elsewhere = self._paths[self._files[first]]
            place = f"line {self._lines[first]}" + ("" if elsewhere == path else f" of {elsewhere}")
            raise ValueError(
                f"{path} must say one thing about a video, got {other.name!r} as {'/'.join(_claims(one))} in {place} "
                f"and as {'/'.join(_claims(other))} in line {self._lines[row]}; remove one of them"
            )


def _claims(sample: Sample) -> Sequence[str]:
    """What a row says of its video."""
    return [value for value in (";".join(sample.class_names), sample.split, sample.group) if value]
