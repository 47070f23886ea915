from __future__ import annotations

import pytest
import torch

from kinema.layers.hybrid import arrange, temporal_mask


@pytest.mark.parametrize(
    ("out_channels", "in_channels", "fraction", "rows"),
    [
        (4, 4, 1 / 2, ["TTss", "TTss", "ssTT", "ssTT"]),
        (4, 8, 1 / 4, ["TTssssss", "ssTTssss", "ssssTTss", "ssssssTT"]),
        (4, 6, 1 / 4, ["TTssss", "ssTsss", "sssTTs", "sssssT"]),
        (3, 5, 0.4, ["TTsss", "ssTTs", "TsssT"]),
    ],
)
def test_the_hybrid_arrangement(out_channels: int, in_channels: int, fraction: float, rows: list[str]):
    mask = temporal_mask(out_channels, in_channels, fraction=fraction)

    assert ["".join("T" if here else "s" for here in row) for row in mask.tolist()] == rows


@pytest.mark.parametrize(("fraction", "row"), [(1 / 2, "TTTsss"), (1 / 4, "TTssss"), (0.2, "Tsssss")])
def test_the_merge_arrangement_has_one_type(fraction: float, row: str):
    mask = temporal_mask(3, 6, fraction=fraction, arrangement="merge")

    assert ["".join("T" if here else "s" for here in line) for line in mask.tolist()] == [row] * 3


def test_every_group_is_mixed_inside_itself():
    arranged = arrange(in_channels=8, out_channels=8, groups=2, fraction=0.5)

    assert torch.equal(arranged.mask, temporal_mask(4, 4, fraction=0.5).repeat(2, 1))
    first, second = arranged.temporal
    assert (first.inputs, first.outputs, first.groups) == ((0, 1, 4, 5), (0, 1, 4, 5), 2)
    assert (second.inputs, second.outputs, second.groups) == ((2, 3, 6, 7), (2, 3, 6, 7), 2)


@pytest.mark.parametrize(
    ("channels", "fraction", "arrangement", "temporal"),
    [
        (8, 1 / 4, "hybrid", [0, 4]),
        (8, 1 / 2, "hybrid", [0, 2, 4, 6]),
        (10, 0.3, "hybrid", [0, 3, 6]),
        (7, 0.4, "hybrid", [0, 2, 5]),
        (8, 1 / 4, "merge", [0, 1]),
    ],
)
def test_a_depthwise_conv_has_temporal_channels(channels: int, fraction: float, arrangement: str, temporal: list[int]):
    conv = {"in_channels": channels, "out_channels": channels, "groups": channels}

    mask = arrange(**conv, fraction=fraction, arrangement=arrangement).mask

    assert mask[:, 0].nonzero()[:, 0].tolist() == temporal


def test_the_copies_of_a_depthwise_channel_are_of_one_kind():
    mask = arrange(in_channels=4, out_channels=8, groups=4, fraction=0.5).mask

    assert mask[:, 0].tolist() == [True, True, False, False, True, True, False, False]


def test_a_depthwise_conv_without_a_temporal_channel_is_refused():
    with pytest.raises(ValueError, match=r"fraction must give a depthwise conv a temporal channel, got 0.1 of 4"):
        arrange(in_channels=4, out_channels=4, groups=4, fraction=0.1)
