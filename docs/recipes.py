"""Writes the tables of docs/recipes.md from the comments of recipes/; `--check` only says whether they fit."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).with_name("recipes.md")
FOLDER = PAGE.parents[1] / "recipes"
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
HEADER = "| recipe | network | top-1 | top-5 | views | printed by |\n|---|---|---|---|---|---|"
_NUMBER = re.compile(
    r"(?P<kind>paper|fused): (?P<top1>[\d.]+) top-1(?:, (?P<top5>[\d.]+) top-5)?; "
    r"(?P<clips>\d+) clips? x (?P<crops>\d+) crops?; (?:with (?P<other>\S+\.yaml); )?(?P<source>.+); not measured by us"
)
_NONE = re.compile(r"paper: no number; (.+)")


class Printed(NamedTuple):
    """A number that the comments of a recipe cite."""

    kind: str
    """`paper`, of the network alone, or `fused`, with another one."""
    top1: str
    top5: str | None
    views: tuple[int, int]
    """Clips and crops."""
    other: str | None
    """Recipe of the other network."""
    source: str


def main() -> int:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    filled = fill(page)
    if check and filled != page:
        print(f"{PAGE.name} is out of date; run python docs/recipes.py")
        return 1
    if not check:
        PAGE.write_text(filled, encoding="utf-8")
    return 0


def fill(page: str) -> str:
    """Puts the table of each dataset into a page."""
    return BLOCK.sub(lambda match: f"{match[1]}{table(match[2])}\n{match[3]}", page)


def table(dataset: str) -> str:
    """Lays out the recipes of a dataset, those of ablations last."""
    paths = sorted((FOLDER / dataset).rglob("*.yaml"), key=lambda path: (len(path.parts), path))
    return "\n".join([HEADER, *(row for path in paths for row in rows(path, FOLDER / dataset))])


def rows(path: Path, folder: Path) -> list[str]:
    """Lays out a row for each number that a recipe cites, and one where there is none."""
    lines = comments(path).splitlines()
    name = path.relative_to(folder).with_suffix("").as_posix()
    link = f"[`{name}`](../recipes/{path.relative_to(FOLDER).as_posix()})"
    network = lines[0].removesuffix(".").rpartition(", on ")[0]
    found = []
    for line in lines:
        if reason := _NONE.fullmatch(line):
            found.append(f"| {link} | {network} | - | - | | {reason[1]} |")
        elif line.startswith(("paper:", "fused:")):
            number = parse(line)
            source = number.source if number.other is None else f"{number.source}; fused with `{number.other[:-5]}`"
            views = f"{number.views[0]} x {number.views[1]}"
            found.append(f"| {link} | {network} | {number.top1} | {number.top5 or '-'} | {views} | {source} |")
    return found


def comments(path: Path) -> str:
    """Returns the comments at the head of a recipe, each paragraph and each command on one line."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line[1:].rstrip()
        goes_on = bool(lines) and (lines[-1].endswith("\\") or re.match(r"   (?!kinema )\S", text) is not None)
        if goes_on:
            lines[-1] = lines[-1].removesuffix("\\").rstrip() + " " + text.strip()
        else:
            lines.append(text.strip())
    return "\n".join(lines)


def printed_numbers(path: Path) -> list[Printed]:
    """Returns the numbers that the comments of a recipe cite."""
    lines = comments(path).splitlines()
    return [parse(line) for line in lines if line.startswith(("paper:", "fused:")) and not _NONE.fullmatch(line)]


def parse(line: str) -> Printed:
    """Reads a line of comments that cites a number.

    Raises:
        ValueError: If it is not as it must be.
    """
    match = _NUMBER.fullmatch(line)
    if match is None:
        raise ValueError(f"a number must stand as `paper: 46.8 top-1; 1 clip x 1 crop; ...`, got {line!r}; write it so")
    return Printed(
        kind=match["kind"],
        top1=match["top1"],
        top5=match["top5"],
        views=(int(match["clips"]), int(match["crops"])),
        other=match["other"],
        source=match["source"],
    )


if __name__ == "__main__":
    sys.exit(main())
