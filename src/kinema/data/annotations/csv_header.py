"""The header of a CSV: how its columns are separated and encoded, and what each is, under whatever usual name."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from kinema.data.annotations.source import Source
from kinema.data.annotations.text import encoding_of, no_text
from kinema.wording import listed, nearest

LABELS = ("label", "labels")
COLUMNS = ("path", "label", "split", "group")
TIMES = ("start", "end")
"""Columns of a CSV of segments."""
FILES = r".*\.(csv|tsv|txt)"
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
NAMES = {
    "path": (
        *("path", "video", "video_path", "videopath", "video_file", "video_name"),
        *("file", "file_path", "filepath", "file_name", "filename", "clip", "clip_path", "clip_name"),
    ),
    "label": (
        *("label", "label_name", "class", "class_name", "classname", "class_label"),
        *("category", "action", "activity", "target"),
    ),
    "labels": ("labels", "classes", "categories", "actions"),
    "split": ("split", "subset"),
    "group": ("group",),
    "start": ("start",),
    "end": ("end",),
}
"""What columns are called, in any case. `name` is that of the class where another column is the path, and none else
the label: lists of classes have a column `name` too."""
_ROLES = {name: role for role, names in NAMES.items() for name in names}
_LONGEST = 1 << 16  # characters of a header
_ABOVE = re.compile(r'\s*#|"?sep=.?"?\s*$', re.IGNORECASE)
"""A line that may stand above a header."""
_OWN_WORDS = frozenset({"split", "group", *TIMES})
"""Words that mark a column of meaning: one that has them in its name is not passed over."""


@dataclass(frozen=True)
class Header:
    """The header of a file."""

    written: tuple[str, ...]
    """Its cells, in lower case and without the blanks around them."""
    columns: tuple[str, ...]
    """What the columns are, as `NAMES` has them; of those unknown, what is written."""
    separator: str
    encoding: str
    line: int
    """Where it stands."""
    text: str
    """The line."""

    @property
    def lists_videos(self) -> bool:
        """Whether there are columns of paths, or of times, and of labels."""
        return bool({"path", *TIMES} & {*self.columns}) and bool({*LABELS} & {*self.columns})

    def notes(self, path: Path) -> list[str]:
        """Says what was taken for what, where that is not plain."""
        taken = [
            f"{written!r} is the {column}"
            for written, column in zip(self.written, self.columns, strict=True)
            if written != column and column in NAMES
        ]
        if self.separator != ",":
            taken.append(f"columns are separated by {SEPARATORS[self.separator]}")
        if self.encoding == "utf-16":
            taken.append("the text is UTF-16")
        ignored = [repr(name) if name else "one without a name" for name in self.ignored]
        if ignored:
            taken.append(f"columns that are not read: {listed(ignored)}")
        return [f"{path.name}: {', '.join(taken)}"] if taken else []

    @property
    def ignored(self) -> list[str]:
        """What is written over columns that say nothing about videos."""
        return [name for name, column in zip(self.written, self.columns, strict=True) if column not in NAMES]


def read_header(path: Path) -> Header | None:
    """Reads the first line that is neither blank, a comment (`# ...`) nor Excel's `sep=;`; nothing of an empty file.

    Raises:
        OSError: If the file cannot be read.
        UnicodeDecodeError: If it is no text.
    """
    encoding = encoding_of(path)
    with path.open(encoding=encoding, errors="surrogateescape") as file:
        for line, text in enumerate(iter(lambda: file.readline(_LONGEST), ""), start=1):
            text.encode(errors="surrogateescape").decode()  # what is no text further down is told with its line
            if text.strip() and not _ABOVE.match(text):
                headers = [_take_apart(text.rstrip("\r\n"), separator, encoding, line) for separator in SEPARATORS]
                return max(headers, key=lambda header: len({*NAMES} & {*header.columns}))
    return None


def csv_files(source: Source, columns: Sequence[str]) -> list[Path]:
    """Finds the files of a source that begin with a header with some columns, beside that of labels."""

    def find() -> dict[Path, frozenset[str]]:
        headers = ((path, _quick_header(path)) for path in source.files(FILES))
        return {path: frozenset(header.columns) for path, header in headers if header and header.lists_videos}

    return [path for path, found in source.once("headers of CSV files", find).items() if {*columns} <= found]


def check_header(path: Path, header: Header, known: Sequence[str]) -> None:
    """Refuses a header without the columns that are needed, or with others that are named nearly as those known.

    Args:
        path: The file.
        header: Its header.
        known: The columns there may be; `label` stands for `labels`, too.

    Raises:
        ValueError: If it is not as it must be.
    """
    if not set(header.columns) & {*known, *LABELS}:
        raise ValueError(
            f"{path} must begin with a header line such as path,label, got {header.text!r} in line {header.line}; "
            "add the header, with commas, semicolons or tabs between the columns"
        )
    for written, column in zip(header.written, header.columns, strict=True):
        if column not in (*known, *LABELS) and (column in NAMES or _is_near(written)):
            raise ValueError(
                f"{path} must have only columns {', '.join(known)}, got {written!r}; {nearest(written, known)}"
            )
    read = [column for column in header.columns if column in NAMES]
    for column, count in Counter(read).items():
        rivals = [written for written, role in zip(header.written, header.columns, strict=True) if role == column]
        if count > 1 and len({*rivals}) > 1:
            raise ValueError(
                f"{path} must have one column for the {column}, got {listed(list(map(repr, rivals)))} in line "
                f"{header.line}; rename or remove all but one"
            )
    several = "labels" in header.columns and "label" not in header.columns
    wanted = ("path", "labels" if several else "label", *(TIMES if "start" in known else ()))
    missing = [column for column in wanted if column not in header.columns]
    if missing or len({*read}) != len(read) or {*LABELS} <= {*header.columns}:
        fault = f"without {' and '.join(missing)}" if missing else "with a column twice"
        raise ValueError(
            f"{path} must have each of {' and '.join(wanted)} once, got "
            f"{header.separator.join(header.written)!r} {fault}; correct it"
        )


def require_header(path: Path, known: Sequence[str]) -> Header:
    """Reads the header of a file.

    Raises:
        ValueError: If it cannot be read, is no text, or has not the columns that it must have.
    """
    try:
        header = read_header(path)
    except UnicodeDecodeError as error:
        raise ValueError(no_text(path, error)) from error
    except OSError as error:
        raise ValueError(f"annotations must be a CSV file, got {path} ({error.strerror}); check the path") from error
    if header is None:
        raise ValueError(f"{path} must have a header line path,label, got an empty file; write one row for each video")
    if "\0" in header.text:
        raise ValueError(f"{path}, line {header.line}, must be text, got a zero byte; save it as UTF-8")
    check_header(path, header, known)
    return header


def _is_near(written: str) -> bool:
    """Tells whether a name may be meant for that of a known column."""
    return bool(_OWN_WORDS & {*re.split(r"[\W_]+", written)} or get_close_matches(written, _ROLES, n=1, cutoff=0.8))


def _take_apart(text: str, separator: str, encoding: str, line: int) -> Header:
    try:
        cells = next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        cells = [text]
    written = tuple(cell.strip().lower() for cell in cells)
    columns = [_ROLES.get(re.sub(r"[\s-]+", "_", name), name) for name in written]
    if "name" in columns and "path" in columns and not {*LABELS} & {*columns}:
        columns[columns.index("name")] = "label"
    return Header(written, tuple(columns), separator, encoding, line, text)


def _quick_header(path: Path) -> Header | None:
    """Reads a header; nothing where that is not possible, which is said when the file is read."""
    try:
        return read_header(path)
    except (OSError, UnicodeDecodeError):
        return None
