"""The videos that annotation files list, by what they are called, before it is known where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path

from kinema.wording import nearest

Split = str | None

_LABEL_BITS, _FILE_BITS = 24, 16
_NO_LABEL = (1 << _LABEL_BITS) - 1


class Listing:
    """Collects videos by split; what stands there twice counts once.

    A row is one number, of class, file and line together, so that a million of them are no burden.
    """

    def __init__(self, class_names: Sequence[str] | None = None, *, origin: Path | None = None) -> None:
        """Starts without videos.

        Args:
            class_names: All classes there may be; none: those that are met.
            origin: The file that these come from, for messages.
        """
        self.parts: dict[Split, dict[str, int]] = {}
        """Rows by split and video; `class_of` reads them."""
        self._known = None if class_names is None else tuple(class_names)
        self._origin = origin
        self._numbers: dict[str, int] = {name: number for number, name in enumerate(class_names or ())}
        self._names: list[str] = list(self._numbers)
        self._files: dict[Path, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes: those given, in their order, or else those met, sorted."""
        return tuple(sorted(self._names)) if self._known is None else self._known

    def add(self, video: str, class_name: str, *, split: Split, file: Path, line: int) -> None:
        """Adds a video.

        Args:
            video: What its file or folder is called, without folder and suffix.
            class_name: Its class; empty where the list does not say it.
            split: The part it belongs to.
            file: The list that it stands in.
            line: Where in that list.

        Raises:
            ValueError: If the video's name is none, its class is unknown, or it stood there with another class.
        """
        label = self._numbers.get(class_name, _NO_LABEL)
        if label == _NO_LABEL and class_name:
            label = self._new_class(class_name, file, line)
        number = self._files.setdefault(file, len(self._files))
        row = (line << _FILE_BITS | number) << _LABEL_BITS | label
        part = self.parts.setdefault(split, {})
        first = part.get(video)
        if first is None:
            check_name("video", video, file, line)
            part[video] = row
        elif first & _NO_LABEL != label:
            raise ValueError(
                f"{place_in(file, line)}: video {video} must have one class, got {class_name or 'none'!r}, and "
                f"{self.class_of(first) or 'none'!r} in {self._where(first)}; remove one of them"
            )

    def renamed(self, rename: Callable[[str], str]) -> Listing:
        """Returns the listing with other names of the videos; of those that become the same, the first stays."""
        listing = copy(self)
        listing.parts = {}
        for split, part in self.parts.items():
            new = listing.parts.setdefault(split, {})
            for video, row in part.items():
                new.setdefault(rename(video), row)
        return listing

    def class_of(self, row: int) -> str:
        """Returns the class of a row; empty where it has none."""
        label = row & _NO_LABEL
        return "" if label == _NO_LABEL else self._names[label]

    def videos(self, split: Split) -> Iterator[tuple[str, str]]:
        """Yields name and class of each video of a split, in the order in which they were added."""
        return ((video, self.class_of(row)) for video, row in self.parts.get(split, {}).items())

    def _where(self, row: int) -> str:
        number = row >> _LABEL_BITS & (1 << _FILE_BITS) - 1
        return place_in(list(self._files)[number], row >> _LABEL_BITS + _FILE_BITS)

    def _new_class(self, name: str, file: Path, line: int) -> int:
        if self._known is not None:
            raise ValueError(
                f"{place_in(file, line)}: class must be one of the {len(self._known)} in {self._origin}, got {name!r}; "
                f"{nearest(name, self._known)}"
            )
        check_name("class", name, file, line)
        self._names.append(name)
        return self._numbers.setdefault(name, len(self._numbers))


def place_in(file: Path, line: int) -> str:
    """Names a place in a file; in JSON, entries are counted."""
    return f"{file}, {'entry' if file.suffix.lower() == '.json' else 'line'} {line}"


def check_name(what: str, name: str, file: Path, line: int) -> None:
    """Refuses a name that no file or folder can have, or that leads elsewhere.

    Raises:
        ValueError: If it is such a name.
    """
    if not name or name[0] == "." or "/" in name or "\\" in name or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"{place_in(file, line)}: {what} must be a plain name (no path, no leading dot, no control characters), "
            f"got {name!r}; correct it"
        )
