"""Writes the table of costs in docs/layers.md from the code; `--check` only says whether it fits."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import torch

from kinema.models.classifier import create_model
from kinema.models.cost import cost
from kinema.models.temporal_layers import TEMPORAL_LAYERS

PAGE = Path(__file__).with_name("layers.md")
BLOCK = re.compile(r"(<!-- costs -->\n).*?(<!-- /costs -->)", re.DOTALL)
BACKBONES = ("resnet50", "mobilenetv2_100")
NUM_FRAMES, SIZE, NUM_CLASSES = 8, 224, 174

Settings = dict[str, Any]
VARIANTS: tuple[Settings, ...] = (
    {"temporal": "sth", "fusion": "sum"},
    {"temporal": "stm", "motion": False},
    {"temporal": "tsm", "temporal_pool": True},
)
"""Arguments of `create_model` that have a row beside those of every layer by itself."""
ROWS: tuple[Settings, ...] = tuple(
    row for name in TEMPORAL_LAYERS for row in ({"temporal": name}, *(v for v in VARIANTS if v["temporal"] == name))
)


def main() -> int:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    filled = fill(page, [line(settings) for settings in ROWS])
    if check and filled != page:
        print(f"{PAGE.name} is out of date; run python docs/costs.py")
        return 1
    if not check:
        PAGE.write_text(filled, encoding="utf-8")
    return 0


def line(settings: Settings) -> str:
    """Lays out one row: parameters in millions and multiply-adds in billions, on each backbone."""
    cells = [cell for backbone in BACKBONES for cell in counted(backbone, settings)]
    return f"| {name_of(settings)} | {' | '.join(cells)} |"


def name_of(settings: Settings) -> str:
    """Names a row: the layers, and what else was asked for."""
    given = [f"`{key}={value!r}`" for key, value in settings.items() if key != "temporal"]
    return ", ".join([f"`{settings['temporal']}`", *given]).replace("'", '"')


def counted(backbone: str, settings: Settings) -> tuple[str, str]:
    """Counts a network without computing."""
    with torch.device("meta"):
        model = create_model(backbone, num_frames=NUM_FRAMES, num_classes=NUM_CLASSES, **settings)
    costs = cost(model, size=SIZE)
    return f"{costs.parameters / 1e6:.2f}", f"{costs.macs / 1e9:.2f}"


def fill(page: str, lines: list[str]) -> str:
    """Puts the table of these rows into a page."""
    titles = [f"{what}, `{backbone}`" for backbone in BACKBONES for what in ("M parameters", "G multiply-adds")]
    table = [f"| | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}", *lines]
    return BLOCK.sub(lambda match: "\n".join([match[1].rstrip(), *table, match[2]]), page)


def read_rows(page: str) -> dict[str, str]:
    """Reads the rows back from a page, by their names."""
    match = BLOCK.search(page)
    assert match is not None
    rows = [one for one in match[0].splitlines() if one.startswith("| `")]
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


if __name__ == "__main__":
    sys.exit(main())
