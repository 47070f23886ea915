"""Words that the messages of all rooms share."""

from __future__ import annotations

import pytest

from kinema.wording import counted, listed, nearest, one_line


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b, c"), (["a", "b", "c", "d", "e"], "a, b, c and 2 more")],
)
def test_long_lists_are_cut(names, text):
    assert listed(names, 3) == text


@pytest.mark.parametrize(
    ("name", "known", "advice"),
    [
        ("trian", ["train", "predict"], "did you mean train?"),
        ("sht", ["none", "sth", "stm", "stsm"], "did you mean sth?"),
        ("zzzz", ["train", "predict"], "known are predict, train"),
        ("zzzz", [], "known are none"),
        ("zzzz", [f"class {number:03}" for number in range(400)], "class 011 and 388 more"),
    ],
)
def test_an_unknown_name_is_told_the_nearest_or_all(name, known, advice):
    assert nearest(name, known).endswith(advice)


def test_names_that_would_break_a_line_are_escaped():
    assert one_line("a b é 'x' \"y\"") == "a b é 'x' \"y\""
    assert one_line("a\nb\t\x1b[31m\udcff\u2028") == r"a\nb\t\x1b[31m\udcff\u2028"


def test_things_are_counted_in_their_number():
    said = [counted(0, "row"), counted(1, "row"), counted(2000, "row"), counted(1, "class"), counted(2, "class")]
    assert said == ["0 rows", "1 row", "2,000 rows", "1 class", "2 classes"]
