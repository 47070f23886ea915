"""Writes a report as one HTML file that asks nothing of the network: styles, charts and pictures are inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kinema.report.content import Section, Tile
from kinema.report.plots import percent


def write_report(
    path: Path, *, title: str, subtitle: str, verdict: str, tiles: Sequence[Tile], sections: Sequence[Section]
) -> None:
    """Writes the page.

    Args:
        path: The file; its folder is made.
        title: Heading and window title.
        subtitle: One line under the heading.
        verdict: What the reader should take home, in a paragraph of plain words.
        tiles: Key numbers beside the verdict.
        sections: The rest, in reading order.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    page = environment.get_template("template.html.j2").render(
        title=title, subtitle=subtitle, verdict=verdict, tiles=tiles, sections=sections
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
