"""Collects the rows of lists that number the classes, and gives the numbers their names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kinema.data.annotations.class_list import find_class_list, read_class_names
from kinema.data.annotations.faults import MAX_NOTED
from kinema.data.annotations.list_files import Place
from kinema.data.annotations.repeats import Rows
from kinema.data.annotations.sample import Section
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.table_builder import TableBuilder

MAX_CLASSES = 100_000
"""Bound on the number of a class, so that a wrong column is not taken for one."""


class Entry(NamedTuple):
    """What a line says of a video."""

    name: str
    """The file, or the folder of frames."""
    labels: tuple[int, ...]
    """Its classes."""
    section: Section | None = None
    """The part that is meant."""
    group: str | None = None
    """What it was cut from."""


class Line(NamedTuple):
    """Where an entry stands."""

    file: Path
    number: int
    split: str | None


class NumberedClasses:
    """A table whose classes come as numbers."""

    def __init__(self, source: Source, *, beside: Path, multi_label: bool) -> None:
        """Reads the names of the classes, where there are any.

        Args:
            source: Names the root, and perhaps the file with the names.
            beside: The list, beside which that file is looked for.
            multi_label: Whether a video may show several classes.

        Raises:
            ValueError: If the names cannot be read.
        """
        self.source, self.multi_label = source, multi_label
        self.class_list, self.advice = find_class_list(source, beside=beside)
        self.names = _read_names(self.class_list) if self.class_list else []
        self.given = bool(self.names)
        self.bound = len(self.names) or MAX_CLASSES
        self.lowest: tuple[int, Line] | None = None
        self.highest: tuple[int, Line] | None = None
        self.rows = Rows()
        self.builder = TableBuilder(source.root)
        self.added = 0
        self.out_of_range: list[tuple[int, Line]] = []
        self.num_out_of_range = 0

    def add(self, entry: Entry, line: Line, place: Place) -> None:
        """Adds a video.

        Args:
            entry: What it shows.
            line: Where that stands.
            place: Where its name starts from.

        Raises:
            ValueError: If it leads out of its folder.
        """
        self.added += 1
        for label in entry.labels:
            if self.lowest is None or label < self.lowest[0]:
                self.lowest = label, line
            if self.highest is None or label > self.highest[0]:
                self.highest = label, line
        if entry.labels and not 0 <= min(entry.labels) <= max(entry.labels) < self.bound:
            self.num_out_of_range += 1
            if len(self.out_of_range) < MAX_NOTED:
                wrong = next(label for label in entry.labels if not 0 <= label < self.bound)
                self.out_of_range.append((wrong, line))
            return  # refused in `annotations`, once it is known whether all labels are off by one
        names = [self._name(label) for label in entry.labels]
        if len(names) > 1:
            names = list(dict.fromkeys(names))
        name = place.name(entry.name)
        self.builder.add(
            name,
            names[0] if names else "",
            split=line.split,
            group=entry.group,
            folder=place.folder,
            also=tuple(names[1:]),
            section=entry.section,
            where=f"{line.file}, line {line.number}",
        )
        self.rows.add((name, entry.section, line.split), file=line.file, line=line.number)

    def annotations(self, format: str, *, files: tuple[Path, ...]) -> Annotations:
        """Returns what was added.

        Raises:
            ValueError: If there is nothing, a number is out of range, or two lines contradict each other.
        """
        if not self.added:
            raise ValueError(f"{files[0]} must have a line for each video, got none; write one for each")
        self._check_range()
        table = self.builder.table()
        merged = table if self.multi_label else self.rows.merge(table, faults=self.source.faults)
        notes = [self.advice] if self.advice else [f"names of the classes are those of {self.class_list}"]
        if not self.given and self.lowest is not None and self.lowest[0] == 1:
            notes.append("no video has label 0: labels count from 0, so if these count from 1, subtract 1 from each")
        if len(merged) < len(table):
            notes.append(f"lines that repeat others and count once: {len(table) - len(merged)}")
        return Annotations(
            format=format,
            samples=merged,
            class_names=tuple(self.names),
            files=files if self.class_list is None else (*files, self.class_list),
            multi_label=self.multi_label,
            notes=tuple(notes),
        )

    def _name(self, label: int) -> str:
        """Name of a class: `class_0` and so on where there are no names."""
        if label >= len(self.names):
            self.names += [f"class_{number}" for number in range(len(self.names), label + 1)]
        return self.names[label]

    def _check_range(self) -> None:
        """Refuses labels that are no numbers of classes; labels that count from 1 are told as such."""
        if self.lowest is None or self.highest is None:
            return
        (low, first), (high, last) = self.lowest, self.highest
        bound = self.bound
        if low >= 0 and high < bound:
            return
        if self.given and low == 1 and high == bound:
            raise ValueError(
                f"{last.file}, line {last.number}: labels must count from 0, got 1 to {high} for the {bound} names of "
                f"{self.class_list}; subtract 1 from each label"
            )
        names = f" (there are {bound} names in {self.class_list})" if self.given else ""
        worst = (low, first) if low < 0 else (high, last)
        for label, line in self.out_of_range if self.source.faults.note else [worst]:
            with self.source.faults.at(line.file, line.number):
                raise ValueError(
                    f"{line.file}, line {line.number}: labels must lie between 0 and {bound - 1}{names}, got {label}; "
                    "correct it, or name the right classes with --data.class_list FILE"
                )
        self.source.faults.count += self.num_out_of_range - len(self.out_of_range)


def _read_names(path: Path) -> list[str]:
    try:
        return list(read_class_names(path, order="file"))
    except OSError as error:
        raise ValueError(f"class_list must be a file that can be read, got {path} ({error}); check the path") from error
