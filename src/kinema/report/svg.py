"""From a matplotlib figure to SVG that stands in a page: its text is the page's text, its colours are the page's.

Figures are drawn in placeholder colours, which become CSS variables here; so one picture serves light and dark pages
and print. No pyplot: nothing global outlives a call.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WIDTH = 300.0
"""Width of every chart; small, so that its text is readable on a phone and three charts fit side by side."""

NUM_SERIES = 6

INK = "#010101"
MUTED = "#020202"
GRID = "#030303"
ON_ACCENT = "#040404"
_SERIES = tuple(f"#0505{number:02x}" for number in range(1, NUM_SERIES + 1))
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", ON_ACCENT: "--on-accent"} | {
    color: f"--series-{number}" for number, color in enumerate(_SERIES)
}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11.0,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.parse_math": False,
    "lines.solid_capstyle": "round",
}


def series_color(place: int) -> str:
    """Returns the placeholder of a colour of the palette; the palette repeats after `NUM_SERIES`."""
    return _SERIES[place % NUM_SERIES]


@contextmanager
def chart_style() -> Iterator[None]:
    """Draws with the report's type sizes and placeholder colours, inside the `with` block only."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Makes an empty, transparent figure, `width` x `height` in the page's CSS pixels at scale 1."""
    figure = Figure(figsize=(width / 72.0, height / 72.0), dpi=72)
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    return figure


def write_title(axes: Axes, title: str, *, above: float, left: float = 0.0) -> None:
    """Writes a chart's heading, offsets in points from the upper left corner of the axes."""
    axes.annotate(
        title,
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(left, above),
        textcoords="offset points",
        fontsize=12.5,
        fontweight="bold",
        annotation_clip=False,
    )


def inline_svg(figure: Figure, *, name: str) -> str:
    """Renders a figure as one `<svg>` element without ids that clash, addresses, or colours of its own.

    Args:
        figure: Drawn inside `chart_style`.
        name: Distinct among the figures of a page: ids inside the picture are made from it.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", text)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return _unique_ids(text, prefix=hashlib.sha256(name.encode()).hexdigest()[:8])


def _unique_ids(text: str, *, prefix: str) -> str:
    """Drops the ids that nothing points at and puts `prefix` before the others."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))

    def rename(match: re.Match[str]) -> str:
        return f' id="{prefix}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]*)"', rename, text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", text)
