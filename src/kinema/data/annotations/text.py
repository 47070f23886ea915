"""Reads annotation files as people and programs leave them: byte order marks, UTF-16, CRLF and blank lines are fine."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def encoding_of(path: Path) -> str:
    """Tells UTF-16, as spreadsheets write it, by its byte order mark; all else is to be UTF-8.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line that is not blank, without the blanks at its end.

    Raises:
        ValueError: If the file cannot be read, or is no UTF-8 text; with the line.
    """
    number = 0
    try:
        with path.open(encoding=encoding_of(path), newline=None) as file:
            for number, line in enumerate(file, start=1):
                if text := line.rstrip():
                    if "\0" in text:
                        raise ValueError(f"{path}, line {number}, must be text, got a zero byte; save it as UTF-8")
                    yield number, text
    except UnicodeDecodeError as error:
        raise ValueError(no_text(path, error)) from error
    except OSError as error:
        raise ValueError(f"{path} must be a file that can be read, got: {error.strerror}; check the path") from error


def no_text(path: Path, error: UnicodeDecodeError) -> str:
    """Says in which line a file is no text, and what to do."""
    where = ""
    if encoding_of(path) != "utf-16":
        with path.open("rb") as file:
            where = next((f" in line {number}" for number, line in enumerate(file, start=1) if not _is_text(line)), "")
    return f"{path} must be UTF-8 text, got other bytes{where} ({error.reason}); save it as UTF-8"


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields number and cells of each row of a CSV that is not blank; cells with commas stand in double quotes.

    Raises:
        ValueError: If the file cannot be read, or is no CSV; with the line.
    """
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        for here, text in read_lines(path):
            number = here
            yield text

    try:
        for cells in csv.reader(lines(), strict=True, skipinitialspace=True):
            yield number, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise ValueError(f"{path}, line {number}, must be CSV, got a fault ({error}); check its quotes") from error


def read_beginning(path: Path) -> str:
    """Returns the first 4096 bytes as text, to tell a format by; nothing where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4096).decode(encoding_of(path), errors="replace")
    except OSError:
        return ""


def read_json(path: Path) -> Any:  # noqa: ANN401 (whatever the file holds)
    """Reads a JSON file.

    Raises:
        ValueError: If the file cannot be read, or is no JSON; with the line.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text, got other bytes ({error.reason}); save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}, must be JSON, got: {error.msg}; mend the file") from error
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, got: {error}; mend the file") from error
    except RecursionError as error:
        raise ValueError(f"{path} must be JSON of annotations, got one nested without end; mend the file") from error
    except OSError as error:
        raise ValueError(f"{path} must be a file that can be read, got: {error.strerror}; check the path") from error
