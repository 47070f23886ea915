"""The table of costs in docs/layers.md says what the code does."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import pytest

from kinema.models.temporal_layers import TEMPORAL_LAYERS
from pages import load_script


def script() -> ModuleType:
    """docs/costs.py."""
    return load_script("costs")


@cache
def rows() -> dict[str, str]:
    return script().read_rows(script().PAGE.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("settings", script().ROWS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_a_row_is_what_the_code_counts(settings: dict[str, object]):
    assert rows()[script().name_of(settings)] == script().line(settings), "run python docs/costs.py"


def test_there_is_a_row_for_every_layer_and_for_nothing_else():
    assert list(rows()) == [script().name_of(settings) for settings in script().ROWS], "run python docs/costs.py"
    assert {settings["temporal"] for settings in script().ROWS} == set(TEMPORAL_LAYERS)


def test_a_table_that_is_written_can_be_read():
    lines = ["| `a` | 1.00 | 2.00 |", '| `a`, `b="c"` | 3.00 | 4.00 |']

    read = script().read_rows(script().fill("x\n<!-- costs -->\nold\n<!-- /costs -->\ny", lines))

    assert read == {"`a`": lines[0], '`a`, `b="c"`': lines[1]}
