from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from kinema.report.confusion import confusion_chart
from kinema.report.contact_sheet import film_strip
from kinema.report.content import Charts, Clip, Clips, Code, Guess, Section, Table, Text, Tile
from kinema.report.html import write_report
from kinema.report.plots import Bar, Line, Reference, bar_chart, line_chart

NASTY = '<b>&" onload=alert(1)'
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Reads a page: its tags, its words, what it points at, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def charts(names):
    bars = [Bar(label=names[0], value=0.125, low=0.1, high=0.2, color=0)]
    lines = [Line(name=names[0], x=[1, 2, 3], y=[0.1, 0.5, 0.9], color=7)]
    confusion = np.array([[3, 1], [0, 4]])
    return [
        bar_chart(bars, name="a", title=names[0], caption="c", references=[Reference(value=0.5, label=names[1])]),
        line_chart(lines, name="b", title="curve", x_label="epoch", caption="c", share=True),
        line_chart(lines, name="b2", title="curve", x_label="epoch", caption="c", share=False),
        confusion_chart(confusion, names, name="c", title="confusion", caption="c", color=2),
    ]


@pytest.fixture
def page(tmp_path):
    names = [NASTY, "turning left"]
    strip = film_strip(np.random.default_rng(0).integers(0, 256, (4, 24, 32, 3), dtype=np.uint8))
    guess = Guess(name="STH", color=2, top=[(NASTY, 0.875), ("turning left", 0.125)], correct=True)
    clip = Clip(title=f"val/{NASTY}/1.mp4", picture=strip, num_frames=4, truth=NASTY, guesses=[guess])
    path = tmp_path / "deep" / "report.html"
    write_report(
        path,
        title=NASTY,
        subtitle="subtitle",
        verdict="a verdict of 98.6 %",
        tiles=[Tile(value="39.8 %", label="TSN", note="of 512", color=0)],
        sections=[
            Section(heading="Words", blocks=[Text(text=NASTY), Code(text=f"kinema {NASTY}")]),
            Section(heading="Charts", blocks=[Charts(charts=charts(names)), Charts(charts=charts(names), beside="x")]),
            Section(heading="Table", blocks=[Table(header=["class", "n"], rows=[[NASTY, "17"]], caption="counts")]),
            Section(heading="Clips", blocks=[Clips(clips=[clip])]),
        ],
    )
    return path.read_text(encoding="utf-8")


def test_the_page_asks_nothing_of_the_network(page):
    pointing = {"src", "href", "xlink:href", "srcset", "poster", "action", "data", "background", "cite", "manifest"}
    seen = 0
    for _, attributes in Page(page).tags:
        for name in pointing & attributes.keys():
            seen += 1
            assert (attributes[name] or "").startswith(("data:", "#"))
    assert seen >= 2
    without_data = re.sub(r"data:[\w/]+;base64,[\w+/=]+", "", page)
    assert set(re.findall(r"url\((.)", without_data)) <= {"#"}
    assert "@import" not in without_data
    assert "://" not in without_data
    assert "<script" not in without_data


def test_every_tag_is_closed_in_order(page):
    assert Page(page).open == []
    assert page.startswith("<!DOCTYPE html>")


def test_ids_in_charts_of_different_names_are_distinct():
    parsed = Page("".join(chart.svg for chart in charts(["left", "right"])))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert ids
    assert len(ids) == len(set(ids))


def test_every_reference_inside_a_chart_leads_to_an_id_of_the_same_chart():
    for chart in charts(["left", "right"]):
        ids = {attributes.get("id") for _, attributes in Page(chart.svg).tags}
        targets = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', chart.svg)
        assert {first or second for first, second in targets} <= ids


def test_names_are_shown_as_they_are_and_never_become_markup(page):
    parsed = Page(page)
    assert "b" not in {tag for tag, _ in parsed.tags}
    assert "onload" not in {name for _, attributes in parsed.tags for name in attributes}
    assert NASTY in " ".join(parsed.words)
    assert f"a clip of class {NASTY}" in next(a["alt"] for tag, a in parsed.tags if tag == "img")


def test_numbers_stand_in_the_page_as_given(page):
    text = Page(page).text
    for number in ("98.6 %", "39.8 %", "88 %", "12 %", "17", "12.5 %"):
        assert number in text


def test_pictures_have_words_for_those_who_cannot_see_them(page):
    tags = Page(page).tags
    pictures = [attributes for tag, attributes in tags if attributes.get("role") == "img"]
    assert len(pictures) == 8
    assert all(picture["aria-label"] for picture in pictures)
    assert "12.5" in pictures[0]["aria-label"]
    assert "7 of 8 clips lie on the diagonal" in pictures[3]["aria-label"]


def test_headings_descend_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in Page(page).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
