"""Finds the list files of a dataset, the split that each is of, and the folder that their names start from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

from kinema.data.annotations.class_list import is_class_list
from kinema.data.annotations.faults import SeveralListsError
from kinema.data.annotations.sample import SPLIT_NAMES
from kinema.data.annotations.source import LOOKED_AT, Source
from kinema.data.video.opening import VIDEO_EXTENSIONS
from kinema.wording import listed

LISTS = r".*\.(txt|csv|tsv|lst)"
NUM_TRIED = 20
"""Names of a list that are looked for on the disk."""
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_NAMES)})(?:list|split|set|videofolder)?(?![a-z])")
_USUAL_SUFFIXES = ("", ".mp4", ".avi", ".webm", ".mkv")


def split_of(path: Path) -> str | None:
    """The split that a file's name tells: `train` of `kinetics_train_list.txt`; none where it tells none or two."""
    found = {SPLIT_NAMES[word] for word in _SPLIT.findall(path.stem.lower())}
    return found.pop() if len(found) == 1 else None


def one_for_each_split(files: Sequence[Path], source: Source) -> dict[Path, str | None]:
    """Tells the split of each list file; of several folds (`..._split_2...`), the source's is taken.

    Raises:
        ValueError: If two files are of one split, or a file whose name tells no split lies beside others.
    """
    other_fold = re.compile(rf"split_?0?(?!{source.fold}(?![0-9]))[0-9]+")
    splits = {path: split_of(path) for path in files if not other_fold.search(path.stem.lower())}
    splits = splits or {path: split_of(path) for path in files}
    names = list(splits.values())
    if len(splits) > 1 and (None in names or len(set(names)) < len(names)):
        raise SeveralListsError(
            f"lists must be one for each of train, val and test, got {listed([path.name for path in splits], 5)} in "
            f"{files[0].parent}; name the one that is meant with --data.annotations FILE, or a folder of the right ones"
        )
    return splits


def text_lists(source: Source) -> list[Path]:
    """Finds all text files that may be lists of videos; files of class names are none."""
    files = source.files(LISTS)
    if source.annotations is not None and not source.annotations.is_dir():
        return files
    return [path for path in files if path != source.class_list and not is_class_list(path)]


class Place(NamedTuple):
    """Where the names of a list start from."""

    folder: Path
    """The folder; where it lies in the root, names are told from the root on."""
    prefix: str
    """What stands before a name to that end."""
    suffix: str
    """What a name lacks, such as `.mp4`."""

    def name(self, written: str) -> str:
        """The name of a file from the folder on."""
        suffix = self.suffix if self.suffix and not is_file_name(written) else ""
        return f"{written if written[:1] == '/' else self.prefix + written}{suffix}"


def find_place(names: Iterable[str], source: Source, *, beside: Path, split: str | None = None) -> Place:
    """Finds where the videos of a list lie, by looking for its first names.

    Args:
        names: Names as the list has them; the first `NUM_TRIED` count.
        source: The root, in which, or in a folder of which, they may lie.
        beside: The list, beside which they may lie as well.
        split: The split of the list; the folder that is called so comes first, and those of other splits last.

    Returns:
        The place where most of them are found; the root where none is.
    """
    tried = list(islice(names, NUM_TRIED))
    inner = [] if any(map(os.path.isabs, tried)) else _folders(source.root)
    if split is not None:
        of_split = {folder: split_of(folder) for folder in inner}
        inner = sorted(inner, key=lambda folder: (of_split[folder] != split, of_split[folder] is not None))
    folders = dict.fromkeys((source.root, beside.parent, *inner))
    suffixes = _USUAL_SUFFIXES if any(not is_file_name(name) for name in tried) else ("",)
    best, most = (source.root, ""), 0
    for folder, suffix in product(folders, suffixes):
        hits = sum(os.path.exists(os.path.join(folder, name + suffix)) for name in tried)  # noqa: PTH110, PTH118
        if hits > most:
            best, most = (folder, suffix), hits
        if most == len(tried):
            break
    folder, suffix = best
    if folder != source.root and folder.is_relative_to(source.root):
        return Place(source.root, f"{folder.relative_to(source.root).as_posix()}/", suffix)
    return Place(folder, "", suffix)


def is_file_name(name: str) -> bool:
    """Tells whether a name ends as the name of a video file does."""
    return os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS  # noqa: PTH122 (a Path for each row is slow)


def _folders(root: Path) -> list[Path]:
    """The folders of a root, where these are not so many that they are its videos."""
    try:
        with os.scandir(root) as entries:
            folders = [Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []
    return sorted(folders) if len(folders) <= LOOKED_AT else []
