"""Reads the names of classes from a file, in an order that the caller has chosen, and finds the file beside a list.

Projects number the same classes differently: for Something-Something V1, TSM's official code sorts the names, and
mmaction2 takes them as the dataset's CSV has them. A checkpoint does not say which, so a choice is never guessed.
"""

from __future__ import annotations

import csv
import json
import os
import re
from itertools import islice
from pathlib import Path
from typing import Literal

from kinema.data.annotations.source import Source

ClassOrder = Literal["file", "alphabetical"]
ID_COLUMNS = ("id", "label", "index", "class_id")
"""First column of a CSV of numbered names."""
CLASS_LISTS = re.compile(
    r"category.*\.txt|.*label_?map.*\.(txt|csv|json)|classind\.txt|class(es|_?names|_?list|_?labels).*\.(txt|csv|json)|"
    r"(.*[_-])?labels?([_-].*)?\.(txt|csv|json)",
    re.IGNORECASE,
)
"""What files with the names of classes are called."""
_VIDEO_LINE = re.compile(r'.*\.[a-z0-9]{2,5}"?(\s|::|[,;|])[-0-9,;|\s]+', re.IGNORECASE)


def read_class_names(path: Path, *, order: ClassOrder | None = None) -> tuple[str, ...]:
    """Reads class names.

    Args:
        path: A text with one name a line (TSM's `category.txt`, the labels of Something-Something V1), of numbers
            from 0 or 1 on and names (`classInd.txt` of UCF101), a JSON list of names, a JSON object of names and
            numbers (the labels of Something-Something V2), or a CSV of id and name.
        order: `file`: as the file numbers them, or else as they stand; `alphabetical`: sorted, as TSM's and TRN's tools
            do. Names that stand in alphabetical order need no choice.

    Returns:
        The names in the order of the logits.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is in none of these forms, or its order needs a choice.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file; give one with the names of the classes")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: class names must be UTF-8 text, got other bytes; save the file as UTF-8") from error
    names = _from_json(path, text) if text.lstrip()[:1] in ("[", "{") else _from_lines(path, text)
    if not names:
        raise ValueError(f"{path}: there must be class names in the file, got none; write one a line")
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise ValueError(f"{path}: class names must be distinct, got {doubled!r} more than once; mend the file")
    if order is None and names != sorted(names):
        first = next(
            number for number, (name, other) in enumerate(zip(names, sorted(names), strict=True)) if name != other
        )
        raise ValueError(
            f"class_order must be chosen where names are not sorted, got none for {path} (its class {first} is "
            f"{names[first]!r}, in the alphabet it is {sorted(names)[first]!r}); for Something-Something V1, TSM's own "
            "code sorts them (--class_order alphabetical) and mmaction2 keeps the dataset's order (--class_order file)"
        )
    return tuple(sorted(names) if order == "alphabetical" else names)


def _from_json(path: Path, text: str) -> list[str]:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path}: class names must be JSON or lines of text, got broken JSON ({error}); mend it"
        ) from error
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    if isinstance(content, dict):
        numbered = {_number(value): name for name, value in content.items()}
        if None in numbered:  # the other way round, number -> name
            numbered = {_number(name): value for name, value in content.items() if isinstance(value, str)}
        if len(numbered) == len(content) and set(numbered) == set(range(len(content))):
            return [numbered[number] for number in range(len(content))]
    raise ValueError(
        f"{path}: class names in JSON must be a list of names, or an object of names and the numbers from 0 on, got "
        "something else; write one name a line instead"
    )


def _number(value: object) -> int | None:
    text = str(value)
    return int(text) if isinstance(value, int | str) and text.isascii() and text.isdigit() else None


def _from_lines(path: Path, text: str) -> list[str]:
    """Reads one name a line, or a CSV whose first line says that a number stands in front of each name."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    head = [cell.strip().lower() for cell in lines[0].split(",")] if lines else []
    if len(head) == 2 and head[0] in ID_COLUMNS and head[1] in ("name", "class", "class_name"):
        try:
            rows = list(csv.reader(lines[1:]))
        except csv.Error as error:
            raise ValueError(f"{path}: the CSV of class names must be CSV, got: {error}; mend it") from error
        if any(len(row) != 2 or _number(row[0].strip()) != number for number, row in enumerate(rows)):
            raise ValueError(f"{path}: the CSV must have rows of a number and a name, from 0 on, got others; mend it")
        return [row[1].strip() for row in rows]
    return _numbered(lines) or [_unquoted(line) for line in lines]


def _numbered(lines: list[str]) -> list[str]:
    """Names of lines that all begin with their own number, from 0 or 1 on; none where they do not."""
    pairs = [re.fullmatch(r"([0-9]{1,9})(?: *, *|[ \t]+)(\S.*)", line) for line in lines]
    numbers = [int(pair[1]) for pair in pairs if pair]
    if not lines or len(numbers) != len(lines) or numbers[0] > 1:
        return []
    if numbers != list(range(numbers[0], numbers[0] + len(lines))):
        return []
    return [_unquoted(pair[2]) for pair in pairs if pair]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def is_class_list(path: Path) -> bool:
    """Tells whether a file is called as one with the names of classes is, and does not list videos."""
    if not CLASS_LISTS.fullmatch(path.name):
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            lines = [line.strip() for line in islice(file, 20) if line.strip()]
    except OSError:
        return False
    return not lines or not all(map(_VIDEO_LINE.fullmatch, lines))


def class_lists(folder: Path) -> list[Path]:
    """Finds the files with the names of classes in a folder."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 (a Path for each is slow)
    except OSError:
        return []
    return [folder / name for name in names if CLASS_LISTS.fullmatch(name) and is_class_list(folder / name)]


def find_class_list(source: Source, *, beside: Path) -> tuple[Path | None, str]:
    """Finds the names of classes that a list only numbers.

    Args:
        source: May name them; else they are looked for.
        beside: The list, beside which, or in the root, they may lie.

    Returns:
        The file, none where it is not found; and then a sentence on what a person can do.
    """
    if source.class_list is not None:
        return source.class_list, ""
    folders = dict.fromkeys((beside.parent, source.root))
    found = [path for folder in folders for path in class_lists(folder) if path != beside]
    if "videofolder" in beside.stem and len(found) > 1:  # TSM's tools write it beside `category.txt`
        found = [path for path in found if path.name.startswith("category")] or found
    if len(found) == 1:
        return found[0], ""
    several = f" ({', '.join(path.name for path in found[:3])} may be it)" if found else ""
    return None, f"the classes have only numbers{several}; --data.class_list FILE names them"
