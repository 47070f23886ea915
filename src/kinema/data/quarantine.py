"""A list of videos to leave out of training, one JSON object a line, that a person can read and a check writes.

`{"name": "train/jump/a.mp4", "kind": "unreadable", "reason": "frame 28 (1.12 s) cannot be decoded (...)"}`: the name is
that of the row, as the data has it; `split`, where it is given, narrows it to the row of that split. Bytes of a name
that are no UTF-8 stand as Python's `surrogateescape` has them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.data.annotations.sample import Sample
from kinema.data.annotations.table import SPLITS, SampleTable
from kinema.data.annotations.text import read_lines


@dataclass(frozen=True)
class Quarantine:
    """Rows to leave out."""

    file: Path
    """Where they are listed."""
    rows: frozenset[tuple[str, str | None]]
    """Name and split of each; without a split, all rows of the name are meant."""

    def holds(self, sample: Sample) -> bool:
        """Tells whether a sample is to be left out."""
        return (sample.name, None) in self.rows or (sample.name, sample.split) in self.rows

    def keep(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Returns the samples without those that are to be left out."""
        places = [place for place, sample in enumerate(samples) if not self.holds(sample)]
        if len(places) == len(samples):
            return samples
        return samples.select(places) if isinstance(samples, SampleTable) else [samples[place] for place in places]

    @property
    def hash(self) -> str:
        """Hash of the rows; not of the reasons, nor of their order."""
        return hashlib.sha256(repr(sorted(self.rows, key=repr)).encode()).hexdigest()[:16]

    def describe(self, samples: Sequence[Sample]) -> str:
        """Says how many of the samples are left out, and how many lines name none of them."""
        left_out = [sample for sample in samples if self.holds(sample)]
        met = {(sample.name, split) for sample in left_out for split in (None, sample.split)}
        idle = len(self.rows - met)
        lines = "line names" if idle == 1 else "lines name"
        rest = f"; {idle} {lines} nothing in the data" if idle else ""
        return f"quarantine: {len(left_out)} of {len(samples)} videos left out by {self.file}{rest}"


def read_quarantine(file: Path) -> Quarantine:
    """Reads a list of rows to leave out.

    Raises:
        ValueError: If it cannot be read, or a line is none of such a list; with the line.
    """
    rows = set()
    for number, line in read_lines(file):
        entry = _parsed(line)
        name = entry.get("name") if isinstance(entry, dict) else None
        split = entry.get("split") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or split not in SPLITS:
            raise ValueError(
                f'{file}, line {number}, must be one of a quarantine, such as {{"name": "a.mp4"}}, got {line[:80]!r}; '
                "give the file that `kinema data check ROOT --quarantine FILE` wrote"
            )
        rows.add((name, split))
    return Quarantine(file, frozenset(rows))


def _parsed(line: str) -> Any:  # noqa: ANN401 (whatever the line holds)
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None


def quarantine_text(entries: Iterable[dict[str, str]]) -> str:
    """Returns the text of such a list; each entry has a name and says why. The same line stands there once."""
    return "".join(f"{line}\n" for line in dict.fromkeys(map(_line, entries)))


def _line(entry: dict[str, str]) -> str:
    text = json.dumps(entry, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(entry)
