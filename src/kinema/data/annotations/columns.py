"""The columns that a table of samples consists of: a few arrays of numbers, whatever the number of rows.

Nothing is written to them after they are made, and they hold no Python object for each row: worker processes that are
forked share them, and those that are started afresh map them from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.sample import Section
from kinema.data.annotations.shared_file import SharedFile, open_shared

SPLITS = (None, "train", "val", "test")
"""What the numbers of the column of splits mean."""
UNITS: tuple[Literal["seconds", "frames"], ...] = ("seconds", "frames")
"""What the numbers of the column of units mean."""
ENCODING = ("utf-8", "surrogateescape")
"""How names become bytes; it keeps also those names that are no text."""
PADDING = 8
"""Zeros behind the last of many texts, so that eight bytes can be read from the beginning of each."""
_AT_ONCE = 1 << 12


@dataclass(frozen=True, eq=False)
class Texts:
    """Many texts in one block, one behind the other."""

    block: NDArray[np.uint8]
    """Their bytes, and padding."""
    ends: NDArray[np.int64]
    """Where each ends."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Puts texts behind each other."""
        block, ends = bytearray(), []
        for text in texts:
            block += text.encode(*ENCODING)
            ends.append(len(block))
        return cls.joined(block, ends)

    @classmethod
    def joined(cls, block: bytearray, ends: Sequence[int]) -> Texts:
        """Takes a copy of texts that stand behind each other already, and of where each ends."""
        return cls(np.frombuffer(b"".join((block, bytes(PADDING))), dtype=np.uint8), np.array(ends, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> str:
        start = self.ends[place - 1] if place else 0
        return self.block[start : self.ends[place]].tobytes().decode(*ENCODING)

    def pick(self, places: NDArray[Any]) -> Iterator[str]:
        """Yields the texts at some places, without holding them all."""
        block = self.block.data
        for first in range(0, len(places), _AT_ONCE):
            some = places[first : first + _AT_ONCE]
            starts = np.where(some > 0, self.ends[some - 1], 0)
            for start, end in zip(starts.tolist(), self.ends[some].tolist(), strict=True):
                yield str(block[start:end], *ENCODING)


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """All rows of a table, in the order in which they were read; R rows."""

    files: Texts
    """Their files, from the folder of each on."""
    labels: NDArray[np.int32]
    """Number of the class among `classes` [R]; -1 where it has none."""
    splits: NDArray[np.int8]
    """Number of the split among `SPLITS` [R]."""
    groups: NDArray[np.int32]
    """Number of the group among `group_names` [R]; -1 where it has none."""
    folders: NDArray[np.int16]
    """Number of the folder among `folder_paths` [R]."""
    also: NDArray[np.int32]
    """Numbers of the further classes of all rows, one row behind the other."""
    also_ends: NDArray[np.int64]
    """Where those of each row end [R]; empty where no row has any."""
    times: NDArray[np.float64]
    """Start and end of the section [R, 2]; empty where no row is a section."""
    units: NDArray[np.int8]
    """Number of the unit of the section among `UNITS` [R]; -1 where all of the video is meant; or empty, as above."""
    classes: tuple[str, ...]
    group_names: Texts
    folder_paths: tuple[Path, ...]

    def __reduce__(self) -> tuple[Callable[..., Columns], tuple[Any, ...]]:
        """Pickles the columns; for a process that is being started, only where it finds them."""
        if get_spawning_popen() is None:
            return _make, (self._state,)
        return _open, self._shared.address

    @property
    def _state(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _shared(self) -> SharedFile:
        return SharedFile(self._state)

    def further_classes(self, row: int) -> tuple[str, ...]:
        """Names of the classes of a row beside its first one."""
        if not len(self.also_ends):
            return ()
        start = self.also_ends[row - 1] if row else 0
        return tuple(self.classes[number] for number in self.also[start : self.also_ends[row]].tolist())

    def section(self, row: int) -> Section | None:
        """The part of the video that a row means."""
        if not len(self.units) or self.units[row] < 0:
            return None
        start, end = self.times[row].tolist()
        return Section(start, end, UNITS[self.units[row]])


def _make(state: dict[str, Any]) -> Columns:
    return Columns(**state)


def _open(*address: Any) -> Columns:  # noqa: ANN401 (as `SharedFile` gives it)
    return Columns(**open_shared(*address))
