from __future__ import annotations

import itertools
import re

import matplotlib as mpl
import numpy as np
import pytest

from kinema.report.confusion import confusion_chart
from kinema.report.plots import Bar, Line, Spread, bar_chart, coefficient_chart, line_chart, percent


def words(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def draw_bars(values):
    bars = [Bar(label=f"bar {place}", value=value, low=0, high=1, color=place) for place, value in enumerate(values)]
    return bar_chart(bars, name="bars", title="Title", caption="caption")


def draw_confusion(confusion, *, num_classes=None):
    names = [f"class {label}" for label in range(num_classes or len(confusion))]
    return confusion_chart(np.asarray(confusion), names, name="confusion", title="t", caption="c", color=1)


def test_a_bar_chart_says_each_value_in_the_picture_and_in_words():
    chart = draw_bars([0.398, 0.986])
    assert {percent(0.398), percent(0.986), "bar 0", "bar 1"} <= set(words(chart.svg))
    assert "bar 1: 98.6" in chart.alt


def test_drawing_twice_gives_the_same_picture():
    assert draw_bars([0.1, 0.5]).svg == draw_bars([0.1, 0.5]).svg


def test_drawing_leaves_matplotlibs_settings_alone():
    before = dict(mpl.rcParams)
    draw_bars([0.5])
    assert dict(mpl.rcParams) == before


def test_colours_and_fonts_are_the_pages():
    chart = draw_bars([0.1, 0.5])
    assert "var(--series-0)" in chart.svg
    assert "var(--series-1)" in chart.svg
    assert not re.search(r"#[0-9a-f]{6}\b", chart.svg.replace('"#', '"'))
    assert "DejaVu" not in chart.svg


def test_a_dollar_sign_in_a_name_is_a_dollar_sign():
    bars = [Bar(label="costs $5 or $6", value=0.5, low=0.4, high=0.6, color=0)]
    assert "costs $5 or $6" in words(bar_chart(bars, name="n", title="t", caption="c").svg)


@pytest.mark.parametrize("ends", [[0.99, 0.986, 0.4], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5]])
def test_names_at_the_ends_of_curves_do_not_touch(ends):
    lines = [Line(name=f"run{i}", x=[1, 2], y=[0.1, end], color=i) for i, end in enumerate(ends)]
    svg = line_chart(lines, name="n", title="t", x_label="epoch", caption="c", share=True).svg
    places = sorted(float(y) for y in re.findall(r"<text[^>]*translate\([\d.]+ ([\d.]+)\)[^>]*>run\d", svg))
    places = places or sorted(float(y) for y in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>run\d', svg))
    assert len(places) == len(ends)
    assert all(after - before > 10 for before, after in itertools.pairwise(places))


def test_a_curve_chart_says_where_each_curve_begins_and_ends():
    lines = [Line(name="STH", x=[1, 2, 3], y=[0.125, 0.5, 0.986], color=0)]
    chart = line_chart(lines, name="n", title="t", x_label="epoch", caption="c", share=True)
    assert "STH goes from 12.5\u00a0% to 98.6\u00a0%" in chart.alt


def test_a_confusion_chart_shows_counts_where_there_is_room():
    assert {"31", "9"} <= set(words(draw_confusion([[31, 9], [0, 40]]).svg))
    assert "71 of 80 clips lie on the diagonal" in draw_confusion([[31, 9], [0, 40]]).alt
    assert "takes class 0 for class 1, 9 times" in draw_confusion([[31, 9], [0, 40]]).alt


@pytest.mark.parametrize("num_classes", [2, 8, 13, 27, 101])
def test_a_confusion_chart_holds_for_any_number_of_classes(num_classes):
    chart = draw_confusion(np.eye(num_classes, dtype=int) * 5)
    assert chart.svg.count("var(--series-1)") == num_classes
    assert f"{5 * num_classes} of {5 * num_classes}" in chart.alt
    assert len(chart.svg) < 200_000


def test_a_class_without_clips_is_an_empty_row():
    assert "1 of 1" in draw_confusion([[1, 0], [0, 0]]).alt


def test_a_confusion_matrix_without_a_name_for_each_class_is_refused():
    with pytest.raises(ValueError, match=r"confusion must be square .* \(2, 2\) for 3 classes"):
        draw_confusion([[1, 0], [0, 1]], num_classes=3)


def test_a_coefficient_chart_says_every_mean():
    spreads = [[Spread(mean=0.75, low=0.5, high=1.0)], [Spread(mean=1.25, low=1.0, high=1.5)]]
    series = [("time", 3), ("space", 4)]
    chart = coefficient_chart(["layer1"], spreads, series=series, name="n", title="t", caption="c", reference=1.0)
    assert "layer1: time 0.750, space 1.250" in chart.alt
    assert "layer1" in words(chart.svg)
