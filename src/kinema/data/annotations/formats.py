"""All formats of datasets, and which of them stands in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kinema.data.annotations import (
    class_folder,
    csv_file,
    hmdb51,
    jester,
    kinetics,
    list_layout,
    mmaction2_json,
    pyslowfast,
    segments,
    shards,
    something_v1,
    something_v2,
    ucf101,
)
from kinema.data.annotations.class_list import is_class_list
from kinema.data.annotations.csv_header import COLUMNS, require_header
from kinema.data.annotations.faults import SeveralListsError
from kinema.data.annotations.list_files import split_of
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.text import read_beginning
from kinema.data.video.http_range import url_of
from kinema.wording import listed, nearest

AUTO = "auto"
MAX_LEFTOVERS = 100
"""Files beside class folders that are looked at; more of them are something else than annotations."""
_NO_README = "(?!readme|licen[cs]e)"
FOLDERS = "class_folders"
"""The format without annotation files: what is left where no other is found."""


class UnknownFormatError(ValueError):
    """A file that somebody named is in no format."""


@dataclass(frozen=True)
class Format:
    """A format of datasets."""

    what: str
    """What it is, in a few words for a person."""
    detect: Callable[[Source], bool]
    """Tells by names and first lines of files, without reading them all, whether a source is in it."""
    read: Callable[[Source], Annotations]
    """Reads it; raises a `ValueError` that names file and line."""
    of_dataset: bool = False
    """Whether it is that of one published dataset, whose own files outrank the lists that other programs make of it."""


FORMATS: dict[str, Format] = {
    "something_v1": Format("Something-Something V1", something_v1.detect, something_v1.read, of_dataset=True),
    "something_v2": Format("Something-Something V2", something_v2.detect, something_v2.read, of_dataset=True),
    "jester": Format("Jester", jester.detect, jester.read, of_dataset=True),
    "kinetics": Format("Kinetics-400, -600 or -700", kinetics.detect, kinetics.read, of_dataset=True),
    "ucf101": Format("UCF101", ucf101.detect, ucf101.read, of_dataset=True),
    "hmdb51": Format("HMDB51", hmdb51.detect, hmdb51.read, of_dataset=True),
    "segments": Format("CSV with the header path,label,start,end", segments.detect, segments.read),
    "mmaction2_json": Format("JSON list of mmaction2", mmaction2_json.detect, mmaction2_json.read),
    "pyslowfast_frames": Format("list of frames of PySlowFast", pyslowfast.detect_frames, pyslowfast.read_frames),
    **{
        name: Format(f"list of {layout.line}", partial(list_layout.detect, name), partial(list_layout.read, name))
        for name, layout in list_layout.LAYOUTS.items()
    },
    "shards": Format("shards: tar files in the layout of webdataset", shards.detect, shards.read),
    "csv": Format("CSV with the header path,label", csv_file.detect, csv_file.read),
    FOLDERS: Format("a folder for each class", class_folder.detect, class_folder.read),
}
"""The formats by name, the most special ones first: of several that the same files may be in, the first is taken."""


def read_annotations(source: Source, *, format: str = AUTO) -> Annotations:
    """Reads a dataset.

    Args:
        source: Where it lies.
        format: One of `FORMATS`, or `auto` to find out which.

    Returns:
        What it holds.

    Raises:
        ValueError: If the root is no folder, or what stands there is in no known format, in more than one, or not as it
            must be.
    """
    if url_of(source.root) is None and not source.root.is_dir():
        raise ValueError(f"root must be a folder of videos, got {source.root}; check the path")
    if format != AUTO and format not in FORMATS:
        raise ValueError(
            f"format must be auto or one of {', '.join(FORMATS)}, got {format!r}; {nearest(format, FORMATS)}"
        )
    if format != AUTO:
        return FORMATS[format].read(source)
    name, *others = _detected(source)
    try:
        annotations = FORMATS[name].read(source)
    except ValueError as error:
        if not others:
            raise
        raise (SeveralListsError if isinstance(error, SeveralListsError) else ValueError)(
            f"{error} (taken for {FORMATS[name].what}; should it be another format, say so with --data.format, one of "
            f"{', '.join(others)})"
        ) from error
    notes = _notes_on_others(source, name, others, files=annotations.files)
    return replace(annotations, notes=(*annotations.notes, *notes))


def detect_format(source: Source) -> str:
    """Finds the format that a source is in.

    Args:
        source: Where the dataset lies.

    Returns:
        Its name in `FORMATS`: the first one that is detected; class folders only where no annotation file is in any.

    Raises:
        ValueError: If there is none.
    """
    return _detected(source)[0]


def describe_format(name: str, files: Sequence[Path]) -> str:
    """Says in words what format a dataset is in, and by which files."""
    names = sorted({path.name for path in files})
    return f"{FORMATS[name].what} ({name}{f', by {listed(names, 4)}' if names else ''})"


def _detected(source: Source) -> list[str]:
    """Returns all formats that a source may be in, the one to take first."""
    found: list[str] = []
    for name, format in FORMATS.items():
        if name != FOLDERS and _may_be(format, source, strict=not found):
            found.append(name)
    if found:
        return found
    if source.annotations is not None:
        _check_only_list(source)
        raise UnknownFormatError(
            f"annotations must be in a format that is known, got {source.annotations}; docs/formats.md has them all"
        )
    if not _has_folders(source.root):
        _check_only_list(source)
        entries = sorted(entry.name for entry in source.root.iterdir())
        raise ValueError(
            f"{source.root} must hold annotation files in a format that is known, or a folder for each class "
            f"(<root>/<class>/<video>), got {listed(entries, 5) or 'an empty folder'}; docs/formats.md has them all"
        )
    _check_leftovers(source)
    return [FOLDERS]


def _check_only_list(source: Source) -> None:
    """Says of the only file that may be a list of videos, and is in no format, what it lacks to be a CSV of them.

    Raises:
        UnknownFormatError: If there is one such file.
    """
    files = source.files(rf"{_NO_README}.*\.(csv|tsv|txt)")
    lists = [path for path in files if not is_class_list(path)] or files
    if len(lists) == 1:
        try:
            require_header(lists[0], COLUMNS)
        except ValueError as error:
            raise UnknownFormatError(f"{error} (docs/formats.md has the other formats)") from error


def _check_leftovers(source: Source) -> None:
    """Refuses a root of folders with a file that may be its annotations, and is in no format that is known.

    Raises:
        ValueError: If there is such a file.
    """
    files = source.files(rf"{_NO_README}.*\.(csv|tsv|txt|lst|json)")
    for path in files if len(files) <= MAX_LEFTOVERS else ():
        text = read_beginning(path)
        lines = text.strip().splitlines()
        lists = path.suffix.lower() in (".csv", ".tsv", ".lst") or split_of(path) is not None
        if lines and "\ufffd" not in text:
            names_files = any(_names_a_file(line, source.root) for line in lines[:20])
            lists = names_files or (lists and not is_class_list(path))
        if path.parent != source.root or not lists:
            continue
        what = f"{lines[0][:80]!r} in line 1" if lines and "\ufffd" not in text else "no text in UTF-8"
        raise ValueError(
            f"{path} must be annotations in a format that is known, got {what if lines else 'an empty file'}; write a "
            "CSV with the header path,label (docs/formats.md has the other formats), or take the folders for classes "
            "with --data.format class_folders"
        )


def _names_a_file(line: str, root: Path) -> bool:
    """Tells whether a line begins with the path of something in a folder."""
    name = re.split(r"[,;|\t ]", line.strip('"'), maxsplit=1)[0].strip('"')
    return "/" in name[1:] and os.path.exists(os.path.join(root, name))  # noqa: PTH110, PTH118


def _may_be(format: Format, source: Source, *, strict: bool) -> bool:
    """Tells whether a source may be in a format; what a format finds unclear counts only where nothing else is it."""
    try:
        return format.detect(source)
    except ValueError:
        if strict:
            raise
        return False


def _notes_on_others(source: Source, name: str, others: Sequence[str], *, files: Sequence[Path]) -> list[str]:
    """Looks for annotations in other formats, in files that the one taken did not read.

    Returns:
        What to say of lists that are left aside, because those of a published dataset outrank them.

    Raises:
        ValueError: If there are annotations of the same rank.
    """
    is_file = source.annotations is not None and source.annotations.is_file()
    rest = replace(source, without=source.without | set(files))
    if is_file or not files or FORMATS[name].detect(rest):  # such as lists of other folds: all of its kind
        return []
    strict = not FORMATS[name].of_dataset
    besides = [other for other in others if _may_be(FORMATS[other], rest, strict=strict)]
    rivals = [other for other in besides if FORMATS[other].of_dataset or not FORMATS[name].of_dataset]
    if rivals:
        raise SeveralListsError(
            f"{source.annotations or source.root} must hold one set of annotations, got {describe_format(name, files)} "
            f"and, in other files, {FORMATS[rivals[0]].what} ({rivals[0]}); choose with --data.format "
            f"{' or '.join([name, *rivals])}, or name the file with --data.annotations"
        )
    return [
        f"left aside: {FORMATS[other].what}{_names_of(other, rest)}; --data.format {other} takes that"
        for other in besides
    ]


def _names_of(name: str, source: Source) -> str:
    """Names the files that are in a format, in brackets; nothing where no file is so by itself, or there are many."""
    files = source.files(".*")
    if len(files) > MAX_LEFTOVERS:
        return ""
    alone = {path: replace(source, without=source.without | {*files} - {path}) for path in files}
    names = [path.name for path in files if _may_be(FORMATS[name], alone[path], strict=False)]
    return f" ({listed(names, 4)})" if names else ""


def _has_folders(root: Path) -> bool:
    """Tells whether a folder holds what class folders can be read from, or a message about them can be made of."""
    with os.scandir(root) as entries:
        return any(not entry.name.startswith(".") and entry.is_dir() for entry in entries)
