"""The files of a dataset that has one list for each split, found by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kinema.data.annotations.faults import SeveralListsError
from kinema.data.annotations.sample import SPLIT_NAMES
from kinema.data.annotations.source import Source

_LABELS, _ANSWERS = "labels", "test-answers"


@dataclass(frozen=True)
class SplitFiles:
    """Lists by split, and what belongs to them."""

    lists: Mapping[str | None, Path]
    """The lists of videos."""
    labels: Path | None
    """The names of the classes; what the source says, comes first."""
    answers: Path | None
    """The classes of the videos of the test list."""

    @property
    def all(self) -> tuple[Path, ...]:
        """All the files."""
        return tuple(path for path in (*self.lists.values(), self.labels, self.answers) if path is not None)


@dataclass(frozen=True)
class FileNames:
    """What the files of a dataset are called: `<prefix>train.csv`, `<prefix>labels.csv`; or without the prefix."""

    prefix: str
    """What all names begin with."""
    suffix: str
    """What they end in."""
    is_list: Callable[[Path], bool]
    """Tells a list of this dataset by its first lines, where the prefix is missing."""

    def are_in(self, source: Source) -> bool:
        """Tells whether lists of the dataset are there."""
        if source.annotations is not None and source.annotations.is_file():
            path = source.annotations
            return path.suffix.lower() == self.suffix and (
                path.name.lower().startswith(self.prefix) or self.is_list(path)
            )
        return any(self._word(path) not in (_LABELS, _ANSWERS) for path in self._found(source))

    def find(self, source: Source) -> SplitFiles:
        """Finds the files; a file that the source names is the only list, and the others are looked for beside it.

        Raises:
            ValueError: If there is no list, or there are several of one split.
        """
        named = source.annotations if source.annotations is not None and source.annotations.is_file() else None
        words: dict[str, list[Path]] = {}
        for path in self._found(Source(root=source.root, annotations=named.parent) if named else source):
            word = self._word(path)
            words.setdefault(SPLIT_NAMES.get(word, word), []).append(path)
        lists: dict[str | None, Path]
        if named is not None:
            lists = {_split_of(named): named}
        else:
            lists = {split: _one(words[split]) for split in dict.fromkeys(SPLIT_NAMES.values()) if split in words}
        if not lists:
            raise ValueError(
                f"{source.annotations or source.root} must hold lists such as {self.prefix}train{self.suffix}, got "
                "none; name their folder with --data.annotations"
            )
        answers = _one(words[_ANSWERS]) if _ANSWERS in words else None
        labels = source.class_list or (_one(words[_LABELS]) if _LABELS in words else None)
        return SplitFiles(lists, labels, answers if "test" in lists else None)

    def _found(self, source: Source) -> list[Path]:
        """All files that have one of the names: those with the prefix, or else those beside a list without it."""
        words = "|".join((*SPLIT_NAMES, _LABELS, _ANSWERS))
        pattern = rf"(?:{words})(?:\.[^.]+)*{re.escape(self.suffix)}|{_ANSWERS}\.csv"
        with_prefix = source.files(f"{re.escape(self.prefix)}(?:{pattern})")
        without = source.files(pattern)
        if with_prefix:
            return with_prefix + [path for path in without if self._word(path) == _ANSWERS]
        folders = {path.parent for path in without if self._word(path) in SPLIT_NAMES and self.is_list(path)}
        return [path for path in without if path.parent in folders]

    def _word(self, path: Path) -> str:
        return path.name.lower().removeprefix(self.prefix).partition(".")[0]


def _split_of(path: Path) -> str | None:
    """Tells the split of a file by a word in its name."""
    words = re.split(r"[^a-z]+", path.name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def _one(paths: list[Path]) -> Path:
    """Returns the one of several files whose name has nothing between word and suffix.

    Raises:
        ValueError: If that leaves several.
    """
    exact = [path for path in paths if path.name.count(".") == 1] or paths
    if len(exact) > 1:
        raise SeveralListsError(
            f"there must be one list for each split, got {exact[0]} and {exact[1]}; remove one, or name the one to "
            "read with --data.annotations"
        )
    return exact[0]
