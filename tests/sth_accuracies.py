"""The accuracies that the STH paper (arXiv 2003.08042) prints of networks that kinema has: tables 2 to 8."""

from __future__ import annotations

ACCURACIES: dict[tuple[int, str, str, int], tuple[float, float | None]] = {
    (2, "something_v1", "none", 8): (19.7, 46.6),
    (2, "something_v1", "none", 16): (19.9, 47.3),
    (2, "something_v1", "tsm", 8): (45.6, 74.2),
    (2, "something_v1", "tsm", 16): (47.2, 77.1),
    (2, "something_v1", "stm", 16): (50.7, 80.4),
    (2, "something_v1", "sth", 8): (46.8, 76.5),
    (2, "something_v1", "sth", 16): (48.3, 78.1),
    (3, "something_v2", "none", 8): (30.0, 60.5),
    (3, "something_v2", "none", 16): (30.5, 61.2),
    (3, "something_v2", "tsm", 8): (61.2, 87.1),
    (3, "something_v2", "tsm", 16): (63.1, 88.2),
    (3, "something_v2", "stm", 8): (62.3, 88.8),
    (3, "something_v2", "sth", 8): (61.8, 88.1),
    (3, "something_v2", "sth", 16): (63.6, 88.9),
    (3, "jester", "none", 8): (83.9, 99.6),
    (3, "jester", "none", 16): (84.6, 99.6),
    (3, "jester", "tsm", 8): (97.0, 99.9),
    (3, "jester", "stm", 8): (96.6, 99.9),
    (3, "jester", "sth", 8): (96.2, 99.8),
    (3, "jester", "sth", 16): (96.5, 99.9),
    (4, "kinetics400", "stm", 16): (73.7, 91.6),
    (4, "kinetics400", "sth", 16): (74.1, 91.6),
    (5, "ucf101", "none", 16): (91.7, None),
    (5, "ucf101", "tsm", 16): (95.9, None),
    (5, "ucf101", "stm", 16): (96.2, None),
    (5, "ucf101", "sth", 16): (96.0, None),
    (5, "hmdb51", "none", 16): (65.1, None),
    (5, "hmdb51", "tsm", 16): (73.5, None),
    (5, "hmdb51", "stm", 16): (72.2, None),
    (5, "hmdb51", "sth", 16): (74.8, None),
}
"""(table, dataset, temporal layer, frames) -> top-1 and top-5 of a network on frames."""

FUSED: dict[tuple[int, str, str, int], tuple[float, float]] = {
    (2, "something_v1", "tsm", 24): (49.7, 78.5),
    (2, "something_v1", "tsm", 32): (52.6, 81.9),
    (2, "something_v1", "sth", 24): (50.4, 80.3),
    (2, "something_v1", "sth", 32): (53.2, 82.2),
}
"""The same of two networks, with the frames of both: 8 and 16 of RGB, or 16 of RGB and 16 of flow."""

ABLATIONS: dict[tuple[int, str], tuple[float, float]] = {
    (6, "p = 0"): (19.7, 46.6),
    (6, "p = 1/8"): (46.6, 76.8),
    (6, "p = 1/4"): (46.8, 77.1),
    (6, "p = 1/2"): (45.1, 76.0),
    (7, "(2+1)D sequential"): (42.7, 72.5),
    (7, "(2+1)D parallel"): (45.4, 76.3),
    (7, "merge"): (45.9, 76.5),
    (7, "hybrid"): (46.8, 77.1),
    (7, "hybrid with attention"): (47.8, 77.9),
    (8, "fixed"): (47.8, 77.9),
    (8, "dilated"): (48.4, 78.2),
}
"""(table, row) -> top-1 and top-5 on Something-Something V1 with 8 frames."""
