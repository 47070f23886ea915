"""The charts of a report, each a function from numbers to `Chart`; they hold for any number of runs and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from kinema.report.content import Chart
from kinema.report.svg import GRID, INK, MUTED, WIDTH, chart_style, inline_svg, new_figure, series_color, write_title


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A share with its interval."""

    label: str
    """Name of the bar, written above it."""
    value: float
    """In [0, 1]."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    color: int
    """Place in the palette."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A line that bars are read against."""

    value: float
    """In [0, 1]."""
    label: str
    """What stands at this line."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve."""

    name: str
    """Written at its right end."""
    x: Sequence[float]
    """Positions, ascending."""
    y: Sequence[float]
    """Values."""
    color: int
    """Place in the palette."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A mean with the range that most values lie in."""

    mean: float
    """The mean."""
    low: float
    """Lower end of the range."""
    high: float
    """Upper end of the range."""


def percent(value: float) -> str:
    """Formats a share as a reader expects it: one digit after the point, and no line break before the sign."""
    return f"{100 * value:.1f}\u00a0%"


def bar_chart(
    bars: Sequence[Bar], *, name: str, title: str, caption: str, references: Sequence[Reference] = ()
) -> Chart:
    """Draws horizontal bars from 0 to 100 % with intervals, each under its own label."""
    row, top, bottom = 40.0, 32.0 + 15.0 * len(references), 24.0
    height = top + row * len(bars) + bottom
    with chart_style():
        figure = new_figure(WIDTH, height)
        axes = figure.add_axes((8 / WIDTH, bottom / height, (WIDTH - 70) / WIDTH, row * len(bars) / height))
        write_title(axes, title, above=top - 12)
        for place, bar in enumerate(bars):
            y = place + 0.68
            axes.barh(y, bar.value, height=0.36, color=series_color(bar.color))
            axes.plot([bar.low, bar.high], [y, y], color=INK, linewidth=1.4, solid_capstyle="butt")
            axes.text(0.0, place + 0.40, bar.label, va="baseline", fontsize=11)
            axes.text(1.04, y, percent(bar.value), va="center", fontsize=12, fontweight="bold")
        for place, reference in enumerate(references):
            _draw_reference(axes, reference, above=8 + 15.0 * place)
        _percent_axis(axes)
        axes.set_ylim(len(bars), 0)
        axes.set_yticks([])
        svg = inline_svg(figure, name=name)
    said = "; ".join(
        f"{bar.label}: {percent(bar.value)} (95 % interval {percent(bar.low)} to {percent(bar.high)})" for bar in bars
    )
    lines = "".join(f" A line at {percent(line.value)}: {line.label}." for line in references)
    return Chart(svg=svg, alt=f"{title}. {said}.{lines}", caption=caption)


def line_chart(
    lines: Sequence[Line],
    *,
    name: str,
    title: str,
    x_label: str,
    caption: str,
    share: bool,
    references: Sequence[Reference] = (),
) -> Chart:
    """Draws curves with their names at their right ends.

    Args:
        lines: The curves.
        name: Distinct among the charts of a page.
        title: Heading of the chart.
        x_label: What the horizontal axis counts.
        caption: The sentence under the chart.
        share: Whether values are shares, shown from 0 to 100 %.
        references: Horizontal lines to read the curves against; their labels should be short.
    """
    height = 250.0
    with chart_style():
        figure = new_figure(WIDTH, height)
        axes = figure.add_axes((40 / WIDTH, 40 / height, (WIDTH - 100) / WIDTH, (height - 76) / height))
        write_title(axes, title, above=16, left=-34)
        for line in lines:
            color = series_color(line.color)
            axes.plot(line.x, line.y, color=color, linewidth=2, marker="o", markersize=4, clip_on=False)
        axes.set_ylim((0.0, 1.0) if share else (0.0, _ceiling(lines)))
        axes.grid(axis="y")
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if share:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %", decimals=0))
        for reference in references:
            axes.axhline(reference.value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        _label_ends(axes, lines, references)
        svg = inline_svg(figure, name=name)
    said = "; ".join(_say_line(line, share=share) for line in lines)
    return Chart(svg=svg, alt=f"{title}. {said}.", caption=caption)


def coefficient_chart(
    layers: Sequence[str],
    spreads: Sequence[Sequence[Spread]],
    *,
    series: Sequence[tuple[str, int]],
    name: str,
    title: str,
    caption: str,
    reference: float,
) -> Chart:
    """Draws, for each layer, the mean of each series as a dot and its spread as a line.

    Args:
        layers: Names of the rows, from the network's input to its output.
        spreads: One list a series, one `Spread` a layer.
        series: Name and place in the palette of each series.
        name: Distinct among the charts of a page.
        title: Heading of the chart.
        caption: The sentence under the chart.
        reference: The value at which no series is preferred.
    """
    row, top, bottom, left = 32.0, 62.0, 24.0, 96.0
    height = top + row * len(layers) + bottom
    with chart_style():
        figure = new_figure(WIDTH, height)
        size = ((WIDTH - left - 14) / WIDTH, row * len(layers) / height)
        axes = figure.add_axes((left / WIDTH, bottom / height, *size))
        write_title(axes, title, above=42, left=-left)
        axes.axvline(reference, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        offset = 0.32 / max(len(series) - 1, 1)
        for place, ((_, color), values) in enumerate(zip(series, spreads, strict=True)):
            for y, spread in enumerate(values):
                at = y + (place - (len(series) - 1) / 2) * offset
                axes.plot([spread.low, spread.high], [at, at], color=series_color(color), linewidth=5, alpha=0.3)
                axes.plot([spread.mean], [at], color=series_color(color), marker="o", markersize=8)
        _write_key(axes, series, left=-left + 8)
        axes.set_yticks(range(len(layers)), layers, color=INK)
        axes.set_ylim(len(layers) - 0.5, -0.5)
        ends = [value for values in spreads for spread in values for value in (spread.low, spread.high)]
        reach = 1.15 * max([abs(value - reference) for value in ends] + [0.05])
        axes.set_xlim(reference - reach, reference + reach)
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        svg = inline_svg(figure, name=name)
    said = "; ".join(
        f"{layer}: "
        + ", ".join(f"{label} {values[place].mean:.3f}" for (label, _), values in zip(series, spreads, strict=True))
        for place, layer in enumerate(layers)
    )
    return Chart(svg=svg, alt=f"{title}. {said}.", caption=caption)


def _write_key(axes: Axes, series: Sequence[tuple[str, int]], *, left: float) -> None:
    for label, color in series:
        axes.annotate(
            f"● {label}",
            (0.0, 1.0),
            xycoords="axes fraction",
            xytext=(left, 16),
            textcoords="offset points",
            color=series_color(color),
            fontweight="bold",
        )
        left += 7.2 * len(label) + 28


def _draw_reference(axes: Axes, reference: Reference, *, above: float) -> None:
    axes.axvline(reference.value, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    side = "left" if reference.value <= 0.5 else "right"
    axes.annotate(
        reference.label,
        (reference.value, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if side == "left" else 4, above - 4),
        textcoords="offset points",
        ha=side,
        color=MUTED,
        fontsize=10,
    )


def _percent_axis(axes: Axes) -> None:
    axes.set_xlim(0.0, 1.0)
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %", decimals=0))
    axes.grid(axis="x")
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_color(GRID)


def _label_ends(axes: Axes, lines: Sequence[Line], references: Sequence[Reference]) -> None:
    """Writes the names of curves and references at their right ends, moved apart where they would touch."""
    low, high = axes.get_ylim()
    ends = [(line.y[-1], line.name, series_color(line.color), "bold") for line in lines if len(line.y)]
    ends += [(reference.value, reference.label, MUTED, "normal") for reference in references]
    ends.sort(key=lambda end: end[0])
    places = _spread_out([value for value, *_ in ends], gap=0.075 * (high - low), high=high)
    for (_, label, color, weight), place in zip(ends, places, strict=True):
        axes.annotate(
            label,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontweight=weight,
        )


def _spread_out(values: Sequence[float], *, gap: float, high: float) -> list[float]:
    """Moves ascending values up, and from `high` back down, until neighbours are `gap` apart."""
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + gap) if places else value)
    limit = high
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - gap
    return places


def _ceiling(lines: Sequence[Line]) -> float:
    return 1.08 * max([value for line in lines for value in line.y] + [1e-6])


def _say_line(line: Line, *, share: bool) -> str:
    if not len(line.y):
        return f"{line.name} has no values"
    first, last = (percent(v) if share else f"{v:.3f}" for v in (line.y[0], line.y[-1]))
    return f"{line.name} goes from {first} to {last}"
