"""Writes the matrix of docs/backbones.md from the code; `--check` only says whether it fits."""

from __future__ import annotations

import argparse
import copy
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import nn

from kinema.layers.contract import TemporalLayer
from kinema.models.backbones import create_backbone
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.models.temporalize import temporalize

PAGE = Path(__file__).with_suffix(".md")
BLOCK = re.compile(r"(<!-- matrix -->\n).*?(<!-- /matrix -->)", re.DOTALL)
LAYERS = [name for name, kind in TEMPORAL_LAYERS.items() if kind is not None]
NUM_FRAMES = 8

TIMM = (
    "resnet18", "resnet26", "resnet34", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2",
    "res2net50_26w_4s", "regnety_002", "regnety_032", "vgg16_bn", "vgg16", "densenet121", "mobilenetv2_100",
    "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_conv_small", "efficientnet_b0",
    "efficientnetv2_rw_t", "convnext_tiny",
    "inception_v3", "inception_v4", "inception_resnet_v2", "test_resnet", "test_byobnet", "test_convnext",
    "test_efficientnet", "test_mambaout", "test_nfnet",
)  # fmt: skip
TORCHVISION = ("resnet18", "resnet50", "vgg16_bn", "densenet121", "mobilenet_v2")
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(create_backbone, name) for name in TIMM},
    **{f"torchvision {name}": getattr(torchvision.models, name) for name in TORCHVISION},
}
"""Row of the matrix -> makes the network."""


def main() -> int:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    filled = fill(page, {name: row(name) for name in NETWORKS})
    if check and filled != page:
        print(f"{PAGE.name} is out of date; run python docs/backbones.py")
        return 1
    if not check:
        PAGE.write_text(filled, encoding="utf-8")
    return 0


def row(name: str, layers: Sequence[str] = LAYERS) -> dict[str, str]:
    """Returns what happens to each layer in a network: in how many places it stands, or why it refuses."""
    with torch.device("meta"):
        network = NETWORKS[name]()
        return {layer: cell(copy.deepcopy(network), layer) for layer in layers}


def cell(network: nn.Module, layer: str) -> str:
    """Returns in how many places a layer then stands in a network, or the sentence with which it is refused."""
    try:
        temporalize(network, layer, num_frames=NUM_FRAMES)
    except ValueError as error:
        return str(error)
    return str(sum(isinstance(module, TemporalLayer) for module in network.modules()))


def fill(page: str, rows: dict[str, dict[str, str]]) -> str:
    """Puts the matrix of these rows into a page."""
    return BLOCK.sub(lambda match: f"{match[1]}{matrix(rows)}{match[2]}", page)


def matrix(rows: dict[str, dict[str, str]]) -> str:
    """Lays out the matrix, with a note for each reason to refuse."""
    notes: list[str] = []
    lines = [f"| backbone | {' | '.join(f'`{layer}`' for layer in LAYERS)} |", f"|---|{'---|' * len(LAYERS)}"]
    for name, cells in rows.items():
        for sentence in cells.values():
            if not sentence.isdigit() and sentence not in notes:
                notes.append(sentence)
        shown = [value if value.isdigit() else f"({notes.index(value) + 1})" for value in cells.values()]
        lines.append(f"| `{name}` | {' | '.join(shown)} |")
    listed = [f"{number}. `{sentence}`" for number, sentence in enumerate(notes, start=1)]
    return "\n".join([*lines, "", *listed, *([""] if listed else [])])


def read_matrix(page: str) -> dict[str, dict[str, str]]:
    """Reads the rows back from a page: the same as went into `fill`."""
    match = BLOCK.search(page)
    assert match is not None
    lines = match[0].splitlines()
    notes = {found[1]: found[2] for line in lines if (found := re.fullmatch(r"(\d+)\. `(.*)`", line))}
    table = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    layers = table[0][1:]
    return {
        name: {
            layer: notes.get(cell.strip("()"), cell) if "(" in cell else cell
            for layer, cell in zip(layers, cells, strict=True)
        }
        for name, *cells in table[2:]
    }


if __name__ == "__main__":
    sys.exit(main())
