"""Sets our own counts beside the costs that the STH paper prints.

Shapes: T frames, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from kinema.compare.sth_paper import (
    BACKBONE,
    NUM_CLASSES,
    SHAPE_SLIPS,
    SHAPES,
    SIZE,
    STH_8,
    TABLES,
    Network,
    PaperTable,
    Row,
)
from kinema.models.classifier import VideoClassifier, create_model
from kinema.models.cost import cost
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.report.text_table import aligned

HEADER = ("", "frames", "paper G", "ours", "off by", "+ norms", "off by", "paper M", "ours", "off by")
LEGEND = (
    f"The STH paper's costs beside ours: {BACKBONE}, {SIZE} x {SIZE}, {NUM_CLASSES} classes, one view.",
    "G: billions of multiply-adds. The paper's own seem to count two more operations for each number that leaves a "
    "batch norm and one for each that leaves a ReLU; `+ norms` is ours with these. M: millions of parameters. "
    "`off by` is ours less the paper's. Of a row without our numbers kinema has no network, or not just that one.",
)
WIDTH = 110


Options = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Count:
    """Our numbers for a row."""

    parameters: int
    macs: int
    with_norms: int
    """Multiply-adds, two for each number that leaves a batch norm, and one for each that leaves a ReLU."""


def print_tables() -> str:
    """Lays out the complexity columns of tables 1, 2, 6, 7 and 9.

    Returns:
        Text of many lines.
    """
    legend = [line for text in LEGEND for line in textwrap.wrap(text, WIDTH)]
    return "\n".join([*legend, *_shape_lines(), *(line for table in TABLES for line in _table_lines(table))])


def tables_as_dicts() -> list[dict[str, Any]]:
    """Gives tables 1, 2, 6, 7 and 9 as JSON values.

    Returns:
        Of each row: table, name, the paper's numbers and ours; in table 1 shapes, in the others frames, views, billions
        and millions, ours exact, or null. What the paper gets wrong is in rows of its own, with a slip.
    """
    ours = output_shapes()
    shapes = [{"table": 1, "name": name, "paper": printed, "ours": ours[path]} for name, path, printed in SHAPES]
    slips = [{"table": 1, "slip": slip} for slip in SHAPE_SLIPS]
    slips += [{"table": table.number, "slip": slip} for table in TABLES for slip in table.slips]
    rows = [
        {
            "table": table.number,
            "name": row.name,
            "frames": row.frames,
            "views": row.views,
            "paper_gflops": row.gflops,
            "paper_mparams": row.mparams,
            "ours": None if (count := count_row(row)) is None else asdict(count),
        }
        for table in TABLES
        for row in table.rows
    ]
    return [*shapes, *rows, *slips]


def count_row(row: Row) -> Count | None:
    """Counts the networks of ours that a row is about.

    Args:
        row: A row of the paper.

    Returns:
        Our numbers; none if kinema has no such network.
    """
    if not row.ours or not all(map(is_known, row.ours)):
        return None
    counts = [_count(network.temporal, network.num_frames, tuple(network.options.items())) for network in row.ours]
    return Count(
        parameters=sum(count.parameters for count in counts),
        macs=sum(count.macs for count in counts),
        with_norms=sum(count.with_norms for count in counts),
    )


def is_known(network: Network) -> bool:
    """Tells whether kinema has the layer and its options."""
    kind = TEMPORAL_LAYERS.get(network.temporal)
    known = set() if kind is None else set(kind.option_names)
    return network.temporal in TEMPORAL_LAYERS and set(network.options) <= known


def output_shapes() -> dict[str, str]:
    """Runs the network of table 1 without numbers.

    Returns:
        Dotted path of each of its layers -> the shape of what leaves it: C x T x H x W; T x K of the head, on
        each frame, and 1 x K of the whole, their mean.
    """
    model = _build(STH_8.temporal, STH_8.num_frames, ())
    shapes: dict[str, str] = {}

    def note(path: str, output: Tensor) -> None:
        frames, *rest = output.shape
        shapes[path] = " x ".join(map(str, [rest[0], frames, *(rest[1:] or [1, 1])]))

    for path in [path for _, path, _ in SHAPES if path.startswith("backbone")]:
        module = model.get_submodule(path)
        module.register_forward_hook(lambda _, __, output, path=path: note(path, output))
    with torch.no_grad():
        logits, frame_logits = model(_clip(model)), model.frame_logits(_clip(model))  # [1, K], [1, T, K]
    return {**shapes, "head": " x ".join(map(str, frame_logits.shape[1:])), "": " x ".join(map(str, logits.shape))}


@cache
def _count(temporal: str, num_frames: int, options: Options) -> Count:
    model = _build(temporal, num_frames, options)
    counted = cost(model, size=SIZE)
    extra = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal extra
        extra += output.numel() * (1 if isinstance(module, nn.ReLU) else 2)

    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.BatchNorm2d):
            module.register_forward_hook(add)
    _run(model)
    return Count(parameters=counted.parameters, macs=counted.macs, with_norms=counted.macs + extra)


def _build(temporal: str, num_frames: int, options: tuple[tuple[str, object], ...]) -> VideoClassifier:
    with torch.device("meta"):
        named: dict[str, Any] = dict(options)
        return create_model(BACKBONE, temporal=temporal, num_frames=num_frames, num_classes=NUM_CLASSES, **named).eval()


def _run(model: VideoClassifier) -> None:
    with torch.no_grad():
        model(_clip(model))


def _clip(model: VideoClassifier) -> Tensor:
    return torch.empty(1, model.config.num_frames, 3, SIZE, SIZE, device="meta")


def _shape_lines() -> Iterator[str]:
    ours = output_shapes()
    yield from ("", "Table 1. Output sizes of STH-ResNet-50, C x T x H x W")
    rows = [
        (name, printed, ours[path], "same" if printed == ours[path] else "DIFFERENT") for name, path, printed in SHAPES
    ]
    yield from aligned([("", "paper", "ours", ""), *rows], left=1)
    yield from _slip_lines(SHAPE_SLIPS)


def _table_lines(table: PaperTable) -> Iterator[str]:
    yield from ("", f"Table {table.number}. {table.title}")
    yield from aligned([HEADER, *map(_cells, table.rows)], left=1)
    yield from _slip_lines(table.slips)


def _slip_lines(slips: tuple[str, ...]) -> Iterator[str]:
    for slip in slips:
        yield from textwrap.wrap(slip, WIDTH, initial_indent="  ! ", subsequent_indent="    ")


def _cells(row: Row) -> tuple[str, ...]:
    count = count_row(row)
    paper_g = _printed(row.gflops) + (f" x {row.views}" if row.views > 1 else "")
    paper_m = _printed(row.mparams)
    if count is None:
        return row.name, row.frames, paper_g, "", "", "", "", paper_m, "", ""
    giga = [cell for ours in (count.macs, count.with_norms) for cell in _beside(ours / 1e9, row.gflops)]
    return row.name, row.frames, paper_g, *giga, paper_m, *_beside(count.parameters / 1e6, row.mparams)


def _printed(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _beside(ours: float, paper: float | None) -> tuple[str, str]:
    """Formats our number, and how far it is from the paper's."""
    return f"{ours:.2f}", "" if paper is None else f"{ours - paper:+.2f}"
