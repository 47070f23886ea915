"""Reads the names of classes from a file, in an order that the caller has chosen.

Projects number the same classes differently: for Something-Something V1, TSM's official code sorts the names, and
mmaction2 takes them as the dataset's CSV has them. A checkpoint does not say which, so a choice is never guessed.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Literal

ClassOrder = Literal["file", "alphabetical"]
ID_COLUMNS = ("id", "label", "index", "class_id")
"""First column of a CSV of numbered names."""


def read_class_names(path: Path, *, order: ClassOrder | None = None) -> tuple[str, ...]:
    """Reads class names.

    Args:
        path: A text with one name a line (TSM's `category.txt`, the labels of Something-Something V1), a JSON list of
            names, a JSON object of names and numbers (the labels of Something-Something V2), or a CSV with the columns
            id and name.
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
    except json.JSONDecodeError as error:
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
        rows = list(csv.reader(lines[1:]))
        if any(len(row) != 2 or _number(row[0].strip()) != number for number, row in enumerate(rows)):
            raise ValueError(f"{path}: the CSV must have rows of a number and a name, from 0 on, got others; mend it")
        return [row[1].strip() for row in rows]
    return [line[1:-1] if len(line) > 1 and line[0] == line[-1] == '"' else line for line in lines]
