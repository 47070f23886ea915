"""Where the videos of a list lie: found from the first entries of the folders, never by asking for each file."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from kinema.data.annotations.listing import Listing, Split
from kinema.data.annotations.sample import SPLIT_NAMES
from kinema.data.annotations.source import is_folder
from kinema.data.annotations.table import SampleTable
from kinema.data.annotations.table_builder import TableBuilder
from kinema.data.video.opening import VIDEO_EXTENSIONS
from kinema.wording import listed

_DEPTH = 4  # folders below the root: root/videos/<dataset>/train/<class>
_LOOKED_AT = 1000  # entries of a folder
_LOOKED_AT_IN_ALL = 300_000
_ENOUGH = 32  # videos of a folder, and of a list

_Seen = dict["Place", list[str]]


@dataclass(frozen=True, order=True)
class Place:
    """A folder of videos, and what they are there."""

    folder: str
    """From the root on, with forward slashes; empty: the root."""
    by_class: bool
    """Whether there is a folder for each class."""
    suffix: str
    """Of the files; empty: folders of frames."""

    def __str__(self) -> str:
        inner = f"{'<class>/' * self.by_class}<id>{self.suffix or '/ (frames)'}"
        return f"{self.folder}/{inner}" if self.folder else inner

    def start(self, class_folder: str) -> str:
        """Returns what the paths of the videos of a class begin with, from the root on."""
        parts = (self.folder, class_folder if self.by_class else "")
        return "".join(f"{part}/" for part in parts if part)

    def of_split(self, split: Split) -> Place:
        """Returns the place that another split would have: a folder `train` becomes `val`."""
        folder = PurePosixPath(self.folder)
        if split is None or folder.name.lower() not in SPLIT_NAMES or SPLIT_NAMES[folder.name.lower()] == split:
            return self
        name = {"val": "Validation"}.get(split, split.capitalize()) if folder.name.istitle() else split
        return replace(self, folder=folder.with_name(name).as_posix())


@dataclass
class _Part:
    """Where the videos of one split are."""

    place: Place
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Paths of those that are not at the place."""
    notes: list[str] = field(default_factory=list)
    """What was found, in words; nothing where none of the few videos looked for is there."""


@dataclass(frozen=True)
class Placed:
    """Videos with their paths."""

    samples: SampleTable
    notes: tuple[str, ...]
    """What was found, in words."""


class Finder:
    """Looks through the folders of a root for the videos of a list."""

    def __init__(self, root: Path, listing: Listing, *, habit: Place) -> None:
        """Looks at the first entries of each folder.

        Args:
            root: The folder to look in.
            listing: The videos to look for.
            habit: Where they are taken to be if none is found.
        """
        self._root, self._listing, self._habit = root, listing, habit
        self._seen: dict[Split, _Seen] = {}
        self._few = {split: _evenly(part) for split, part in listing.parts.items()}
        for video, parent, suffix in self._look():
            for split, part in listing.parts.items():
                if video in part:
                    place = self._place(parent, suffix, listing.class_of(part[video]))
                    self._seen.setdefault(split, {}).setdefault(place, []).append(video)

    @property
    def found(self) -> bool:
        """Whether any of the videos is there."""
        return bool(self._seen)

    def place(self, *, group: Callable[[str, str], str | None] | None = None) -> Placed:
        """Gives each video of the list its path.

        Args:
            group: Returns the group of a video, by its name and its class.

        Returns:
            The samples, in the order of the list, and notes.
        """
        parts = {split: self._part(split) for split in self._listing.parts}
        builder = TableBuilder(self._root)
        for split, part in parts.items():
            folders = self._class_folders(part.place) if part.place.by_class else {}
            before = {name: part.place.start(folders.get(name, name)) for name in ("", *self._listing.class_names)}
            suffix, elsewhere = part.place.suffix, part.elsewhere
            for video, class_name in self._listing.videos(split):
                name = elsewhere.get(video) or before[class_name] + video + suffix
                builder.add(name, class_name, split=split, group=group(video, class_name) if group else None)
        return Placed(builder.table(), self._notes(parts))

    def _notes(self, parts: Mapping[Split, _Part]) -> tuple[str, ...]:
        """Says where the videos are, and which of the lists have none."""
        notes = dict.fromkeys(note for part in parts.values() for note in part.notes)
        unseen = {split: part.place for split, part in parts.items() if not part.notes}
        if unseen:
            number = sum(len(self._few[split]) for split in unseen)
            which = "" if len(unseen) == len(parts) else f" {' and '.join(filter(None, unseen))}"
            places = listed([str(place) for place in dict.fromkeys(unseen.values())])
            notes[
                f"videos: none of the {number}{which} videos looked for is under {self._root}; they are taken to be "
                f"{places}"
            ] = None
        return tuple(notes)

    def _look(self) -> Iterator[tuple[str, Path, str]]:
        """Yields the first listed videos of each folder, the upper folders first: name, folder and suffix."""
        queue = deque([(self._root, _DEPTH)])
        left = _LOOKED_AT_IN_ALL
        while queue and left > 0:
            folder, depth = queue.popleft()
            seen: list[tuple[str, str]] = []
            there: list[tuple[str, str]] = []
            for video, suffix in islice(_videos(folder), _LOOKED_AT):
                seen.append((video, suffix))
                if any(video in part for part in self._listing.parts.values()):
                    there.append((video, suffix))
                if len(there) == _ENOUGH:
                    break
            left -= len(seen) + 1
            if not there and len(seen) == _LOOKED_AT:  # a list of a few videos out of very many
                there = self._of_the_few(folder, sorted({suffix for _, suffix in seen}))
            yield from ((video, folder, suffix) for video, suffix in there)
            inner = sorted(name for name, suffix in seen if not suffix) if depth else []
            queue += [(folder / name, depth - 1) for name in inner if not there or _replaces(name)]

    def _of_the_few(self, folder: Path, suffixes: Sequence[str]) -> list[tuple[str, str]]:
        """Asks for a few videos of each split in one folder."""
        few = [(video, suffix) for videos in self._few.values() for video in videos for suffix in suffixes]
        return [(video, suffix) for video, suffix in few if _exists(folder / (video + suffix))]

    def _place(self, parent: Path, suffix: str, class_name: str) -> Place:
        by_class = bool(class_name) and parent != self._root and _plain(parent.name) == _plain(class_name)
        return Place(_below(parent.parent if by_class else parent, self._root), by_class, suffix)

    def _part(self, split: Split) -> _Part:
        """Decides where the videos of a split are, and says it."""
        seen = self._seen.get(split)
        if not seen:
            return self._unseen_part(split)
        part = _Part(self._most(seen))
        part.notes.append(f"videos: {part.place}")
        others = [place for place in sorted(seen) if place != part.place]
        copies = [place for place in others if self._is_copy(place, seen[place], split, part.place)]
        more = [place for place in others if place not in copies]
        for place in more:
            part.elsewhere |= self._all_at(place, split)
        if copies:
            part.notes.append(f"videos: there too, and left alone: {listed(list(map(str, copies)), 3)}")
        if more:
            part.notes.append(f"videos: some are {listed(list(map(str, more)), 3)}")
        return part

    def _unseen_part(self, split: Split) -> _Part:
        """Asks for a few videos of a split where those of the others are; else takes them to be there."""
        others = Counter({place: len(videos) for seen in self._seen.values() for place, videos in seen.items()})
        places = [place for place, _ in others.most_common()] or [self._habit]
        few = self._few[split]
        for place in places:
            if any(self._there(few, split, place)):
                return _Part(place, notes=[f"videos: {place}"])
        place = places[0].of_split(split)
        has_classes = any(self._listing.class_of(self._listing.parts[split][video]) for video in few)
        return _Part(replace(place, by_class=place.by_class and has_classes))

    def _most(self, seen: _Seen) -> Place:
        """Where most of them are, optical flow left aside; where about as many are of the habitual kind, these."""
        usual = [place for place in seen if not (_replaces(place.folder) or "flow" in place.folder.lower())]
        usual = usual or list(seen)
        most = max(sorted(usual), key=lambda place: len(seen[place]))
        alike = [place for place in sorted(usual) if 2 * len(seen[place]) >= len(seen[most])]
        return next((place for place in alike if place.suffix == self._habit.suffix), most)

    def _is_copy(self, other: Place, videos: list[str], split: Split, place: Place) -> bool:
        """Tells whether what was seen at another place is at this one too, and not meant to replace that."""
        there = self._there(videos[:_ENOUGH], split, place)
        return not _replaces(other.folder) and 2 * sum(there) > len(there)

    def _there(self, videos: list[str], split: Split, place: Place) -> list[bool]:
        """Tells for each video whether it is at a place."""
        folders = self._class_folders(place) if place.by_class else {}
        part = self._listing.parts[split]
        names = [self._listing.class_of(part[video]) for video in videos]
        starts = [place.start(folders.get(name, name)) for name in names]
        return [
            _exists(self._root / f"{start}{video}{place.suffix}") for start, video in zip(starts, videos, strict=True)
        ]

    def _all_at(self, place: Place, split: Split) -> dict[str, str]:
        """Lists the videos of a split at one place in full."""
        part = self._listing.parts[split]
        base = self._root / place.folder
        folders = [base / entry.name for entry in _children(base) if is_folder(entry)] if place.by_class else [base]
        return {
            video: _below(folder / (video + suffix), self._root)
            for folder in folders
            for video, suffix in _videos(folder)
            if suffix == place.suffix and video in part
        }

    def _class_folders(self, place: Place) -> Mapping[str, str]:
        """Folders of the classes, whether their names are written with blanks or underscores."""
        there = [entry.name for entry in _children(self._root / place.folder)]
        alike = {_plain(name): name for name in there} | {name: name for name in there}
        found = {name: alike.get(name) or alike.get(_plain(name)) for name in self._listing.class_names}
        of_several_words = [folder for name, folder in found.items() if folder and " " in name]
        underscores = 2 * sum("_" in folder for folder in of_several_words) > len(of_several_words)
        return {name: folder or (name.replace(" ", "_") if underscores else name) for name, folder in found.items()}


def _evenly(part: Mapping[str, int]) -> list[str]:
    """A few videos of a list, from all over it."""
    return list(islice(part, 0, None, max(1, -(-len(part) // _ENOUGH))))


def _videos(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields name and suffix of what may be a video in a folder; a folder's suffix is empty."""
    for path in _children(folder):
        stem, suffix = os.path.splitext(path.name)  # noqa: PTH122 (a Path for each is slow)
        if suffix.lower() in VIDEO_EXTENSIONS:
            yield stem, suffix
        elif is_folder(path):
            yield path.name, ""


def _children(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as scan:
            yield from (entry for entry in scan if not entry.name.startswith("."))
    except OSError:
        return  # what may not be looked into is found missing when it is read


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises on a name that is too long)


def _replaces(folder: str) -> bool:
    """Tells by its name whether a folder holds what replaces broken files, as Kinetics has it."""
    return PurePosixPath(folder).name.lower().startswith("replacement")


def _plain(name: str) -> str:
    """What is left of a name where blanks, underscores and quotes are written in several ways."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _below(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return "" if relative == "." else relative
