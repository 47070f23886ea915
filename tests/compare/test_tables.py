"""What the STH paper prints beside what we count."""

from __future__ import annotations

import pytest

from kinema.compare.sth_paper import ADDITION, SHAPES, TABLES, Network, Row
from kinema.compare.tables import count_row, output_shapes, print_tables


def rows(number: int) -> dict[str, Row]:
    return {row.name: row for table in TABLES for row in table.rows if table.number == number}


def test_output_sizes_are_those_of_table_1():
    ours = output_shapes()

    assert [ours[path] for _, path, _ in SHAPES] == [printed for _, _, printed in SHAPES]


# The paper's counts come out to the digit at p = 1/4, with batch norms and ReLUs, and not at the other three.
@pytest.mark.parametrize(
    ("name", "macs", "with_norms", "parameters", "to_the_digit"),
    [
        ("p = 0", 32_699_940_864, "32.955", 23_864_558, False),
        ("p = 1/8", 31_466_815_488, "31.722", 22_921_454, False),
        ("p = 1/4", 30_233_690_112, "30.488", 21_978_350, True),
        ("p = 1/2", 27_767_439_360, "28.022", 20_092_142, False),
    ],
)
def test_table_6(name: str, macs: int, with_norms: str, parameters: int, to_the_digit: bool):
    row = rows(6)[name]
    count = count_row(row)

    assert count is not None
    assert (count.macs, count.parameters) == (macs, parameters)
    assert f"{count.with_norms / 1e9:.3f}" == with_norms
    same = (round(count.with_norms / 1e9, 1), round(parameters / 1e6, 1)) == (row.gflops, row.mparams)
    assert same == to_the_digit


def test_an_ensemble_costs_what_its_networks_cost():
    count = count_row(rows(2)["STH, ensemble"])

    assert count is not None
    assert count.parameters == 2 * 23_235_822
    assert count.macs == 3 * 30_233_690_112 + 2 * 1_257_472


@pytest.mark.parametrize(
    "network", [Network(temporal="no such layer"), Network(temporal="sth", options={**ADDITION, "unheard_of": 1})]
)
def test_a_network_that_we_do_not_have_is_not_counted(network: Network):
    assert count_row(Row(name="one of a later day", ours=(network,))) is None


def test_every_table_is_printed_with_its_slips():
    printed = print_tables()
    lines = [" ".join(line.split()) for line in printed.splitlines()]

    assert [line.split(".")[0] for line in lines if line.startswith("Table ")] == [
        f"Table {n}" for n in (1, 2, 6, 7, 9)
    ]
    assert "Conv4_x 1024 x 8 x 14 x 14 1024 x 8 x 14 x 14 same" in lines
    assert "p = 1/4 8 30.5 30.23 -0.27 30.49 -0.01 22 21.98 -0.02" in lines
    assert "R(2+1)D-34 32 152 x 115 63.6" in lines
    assert "no one network gives all four" in printed.replace("\n    ", " ")
    assert max(map(len, printed.splitlines())) <= 120
