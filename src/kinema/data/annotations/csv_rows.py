"""The rows of a CSV, some hundreds at a time, with the numbers of their lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

AT_ONCE = 512
"""Rows; of some more, Python's search for garbage would look at each again and again."""


def read_rows(path: Path, *, at_once: int = AT_ONCE) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yields the numbers of some lines and the cells of their rows; those that are blank are left out.

    Args:
        path: The file.
        at_once: Rows that are yielded together, at most.

    Raises:
        ValueError: If it is no CSV, or no UTF-8 text; with the line, and after the rows before it.
    """
    if not path.is_file():
        raise ValueError(f"annotations must be a CSV file, got {path}; check the path")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True, skipinitialspace=True)
        lines: list[int] = []
        rows: list[list[str]] = []
        fault: csv.Error | UnicodeDecodeError | None = None
        try:
            for cells in reader:
                if cells and (cells[0].strip() or any(map(str.strip, cells))):
                    lines.append(reader.line_num)
                    rows.append(cells)
                    if len(rows) == at_once:
                        yield lines, rows
                        lines, rows = [], []
        except (csv.Error, UnicodeDecodeError) as error:
            fault = error
        line = reader.line_num
    if rows:
        yield lines, rows
    if isinstance(fault, UnicodeDecodeError):
        raise ValueError(
            f"{path} must be UTF-8 text, got other bytes after line {line} ({fault.reason}); save it as UTF-8"
        ) from fault
    if fault is not None:
        raise ValueError(f"{path}, line {line}, must be CSV, got a syntax error ({fault}); check its quotes") from fault
