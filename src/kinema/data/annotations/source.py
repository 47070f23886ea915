"""What a person points at, and what a format makes of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kinema.data.annotations.faults import Faults
from kinema.data.annotations.sample import Sample

T = TypeVar("T")
LOOKED_AT = 1000
"""Entries of a subfolder beyond which it is taken for one of videos, and not searched for annotation files."""
SUFFIXES = (".csv", ".json", ".txt", ".tsv", ".lst")
"""Suffixes of annotation files."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a dataset lies, and what is said about it."""

    root: Path
    """Folder of the videos."""
    annotations: Path | None = None
    """The annotation file, or the folder of several; none: they are looked for in the root."""
    class_list: Path | None = None
    """A file with the names of the classes, for lists that only number them."""
    fold: int = 1
    """Which of a dataset's several splits is meant: UCF101 and HMDB51 have three."""
    without: frozenset[Path] = frozenset()
    """Annotation files that are taken as not being there."""
    faults: Faults = field(default_factory=Faults, repr=False, compare=False)
    """What becomes of a bad line of a list; default: the first one is refused."""
    _found: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, what: str, find: Callable[[], T]) -> T:
        """Finds something out once, which several formats ask of a source."""
        if what not in self._found:
            self._found[what] = find()
        value: T = self._found[what]
        return value

    def files(self, pattern: str) -> list[Path]:
        """Finds annotation files by name.

        They are looked for in `annotations`, or else in the root and in those of its folders that are small, hidden
        ones left out.

        Args:
            pattern: Regular expression that the whole name matches, in any case.

        Returns:
            The files, sorted.
        """
        matches = re.compile(pattern, re.IGNORECASE).fullmatch
        candidates = self.once("candidates", self._candidates)
        return [path for path in candidates if matches(path.name) and path not in self.without]

    def _candidates(self) -> list[Path]:
        if self.annotations is not None and not self.annotations.is_dir():
            return [self.annotations]
        return _annotation_files(self.annotations or self.root)


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What a dataset is, as one of the formats has it."""

    format: str
    """Name of the format, of those in `FORMATS`."""
    samples: Sequence[Sample]
    """The videos."""
    class_names: tuple[str, ...]
    """All classes, in the order of the dataset's own list, or sorted where it has none; videos may be missing for
    some."""
    files: tuple[Path, ...] = ()
    """The annotation files that were read."""
    multi_label: bool = False
    """Whether a video may show several classes."""
    notes: tuple[str, ...] = ()
    """What a person must know, such as whose order the classes are in; one sentence each."""


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tells whether an entry is a folder or a link to one; a link that leads to itself is none."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # noqa: PTH112 (Path.is_dir may raise)


def _annotation_files(folder: Path) -> list[Path]:
    """Files with a suffix of annotations in a folder, and in its folders where these are few and hold few entries."""
    folders, files = _entries(folder)
    for inner in folders if len(folders) <= LOOKED_AT else ():
        files += _entries(inner, limit=LOOKED_AT)[1]
    shallow_last = sorted(files, key=lambda path: (-len(path.parts), path))
    return sorted({os.path.realpath(path): path for path in shallow_last}.values())  # a link may lead back to the root


def _entries(folder: Path, *, limit: int | None = None) -> tuple[list[Path], list[Path]]:
    """Folders, and files with a suffix of annotations, in a folder; none where it has more entries than the limit."""
    folders, files = [], []
    try:
        with os.scandir(folder) as scan:
            for number, entry in enumerate(scan):
                if limit is not None and number >= limit:
                    return [], []
                if entry.name.startswith("."):
                    continue
                if is_folder(entry):
                    folders.append(Path(entry.path))
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 (a Path for each is slow)
                    files.append(Path(entry.path))
    except OSError:
        return [], []  # a folder that may not be looked into holds no annotations; its videos will say why
    return folders, files
