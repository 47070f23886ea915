"""The rows of a CSV, some hundreds at a time, with the numbers of their lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from kinema.data.annotations.text import encoding_of, no_text

AT_ONCE = 512
"""Rows; of some more, Python's search for garbage would look at each again and again."""


def read_rows(path: Path, *, separator: str = ",", first_line: int = 1) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yields the numbers of some lines and the cells of their rows; those that are blank are left out.

    Args:
        path: The file.
        separator: What stands between cells.
        first_line: The line to begin with.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no CSV, or no UTF-8 text; with the line, and after the rows before it.
    """
    with path.open(newline="", encoding=encoding_of(path)) as file:
        above = sum(1 for _ in islice(file, first_line - 1))
        reader = csv.reader(file, delimiter=separator, strict=True, skipinitialspace=True)
        lines: list[int] = []
        rows: list[list[str]] = []
        fault: csv.Error | UnicodeDecodeError | None = None
        try:
            for cells in reader:
                if cells and (cells[0].strip() or any(map(str.strip, cells))):
                    lines.append(above + reader.line_num)
                    rows.append(cells)
                    if len(rows) == AT_ONCE:
                        yield lines, rows
                        lines, rows = [], []
        except (csv.Error, UnicodeDecodeError) as error:
            fault = error
        line = above + reader.line_num
    if rows:
        yield lines, rows
    if isinstance(fault, UnicodeDecodeError):
        raise ValueError(no_text(path, fault)) from fault
    if fault is not None:
        raise ValueError(f"{path}, line {line}, must be CSV, got a syntax error ({fault}); check its quotes") from fault
