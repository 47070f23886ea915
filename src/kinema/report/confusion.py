"""The chart of which classes are taken for which.

Shapes: K classes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from kinema.report.content import Chart
from kinema.report.svg import INK, ON_ACCENT, WIDTH, chart_style, inline_svg, new_figure, series_color, write_title

_MAX_LABELLED_CLASSES = 40
_MAX_NUMBERED_CELLS = 16
_MAX_WRAPPED_CLASSES = 12


def confusion_chart(
    confusion: np.ndarray, class_names: Sequence[str], *, name: str, title: str, caption: str, color: int
) -> Chart:
    """Draws a confusion matrix, darker the larger a cell's share of its row.

    Args:
        confusion: Counts [K, K]: row the true class, column the predicted one.
        class_names: One a row.
        name: Distinct among the charts of a page.
        title: Heading of the chart.
        caption: The sentence under the chart.
        color: Place in the palette.

    Raises:
        ValueError: If there is not one name a row.
    """
    num_classes = len(class_names)
    if confusion.shape != (num_classes, num_classes):
        raise ValueError(
            f"confusion must be square with a side per class, got {confusion.shape} for {num_classes} classes; "
            "give the names of all classes"
        )
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    labels = _class_labels(class_names)
    font = min(10.0, 170.0 / num_classes)
    left = 18 + 0.57 * font * max((len(part) for label in labels for part in label.split("\n")), default=0)
    side = WIDTH - left - 4
    height = side + 56
    with chart_style():
        figure = new_figure(WIDTH, height)
        axes = figure.add_axes((left / WIDTH, 8 / height, side / WIDTH, side / height))
        write_title(axes, title, above=34, left=-left)
        _draw_cells(axes, confusion, shares, color=color)
        axes.set_xlabel("predicted class", fontsize=10, labelpad=3)
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(labels)), labels, fontsize=font, color=INK, linespacing=1.0)
        every = 1 if num_classes <= 20 else 5
        ticks = range(every - 1, len(labels), every)
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks], fontsize=min(10.0, every * font))
        axes.tick_params(length=0, pad=3)
        svg = inline_svg(figure, name=name)
    return Chart(svg=svg, alt=f"{title}. {_say_confusion(confusion, class_names)}", caption=caption)


def _draw_cells(axes: Axes, confusion: np.ndarray, shares: np.ndarray, *, color: int) -> None:
    num_classes = len(confusion)
    rows, columns = np.nonzero(confusion)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        share = float(shares[row, column])
        corner = (column - 0.47, row - 0.47)
        axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=series_color(color), alpha=0.08 + 0.92 * share))
        if num_classes <= _MAX_NUMBERED_CELLS:
            ink = ON_ACCENT if share > 0.7 else INK
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=ink, fontsize=10)
    axes.set_xlim(-0.5, num_classes - 0.5)
    axes.set_ylim(num_classes - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(True)


def _class_labels(class_names: Sequence[str]) -> list[str]:
    """Names rows by class and number, cut to what a small picture holds; nothing where classes are too many."""
    if len(class_names) > _MAX_LABELLED_CLASSES:
        return []
    width, lines = (16, 2) if len(class_names) <= _MAX_WRAPPED_CLASSES else (22, 1)
    wrapped = [textwrap.wrap(name, width, max_lines=lines, placeholder="…") or [name[:width]] for name in class_names]
    return ["\n".join(parts) + f"  {number}" for number, parts in enumerate(wrapped, start=1)]


def _say_confusion(confusion: np.ndarray, class_names: Sequence[str]) -> str:
    total, right = int(confusion.sum()), int(np.trace(confusion))
    wrong = confusion - np.diag(np.diag(confusion))
    said = f"{right} of {total} clips lie on the diagonal."
    if wrong.any():
        row, column = divmod(int(wrong.argmax()), len(class_names))
        said += (
            f" The most frequent error takes {class_names[row]} for {class_names[column]}, {wrong[row, column]} times."
        )
    return said
