"""Writes down what a network costs, whole and layer by layer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kinema.models.cost import Cost
from kinema.report.text_table import aligned


def costs_as_dict(cost: Cost, *, by_layer: bool) -> dict[str, Any]:
    """Returns the cost as JSON values.

    Args:
        cost: What was counted.
        by_layer: Whether to include each layer's share.

    Returns:
        `parameters`, `macs`, `flops` (two for each multiply-add), `activation_bytes`, `num_frames`, `size`; `layers`.
    """
    values = asdict(cost)
    layers = values.pop("layers")
    values["flops"] = cost.flops
    if by_layer:
        values["layers"] = [{**layer, "flops": 2 * layer["macs"]} for layer in layers]
    return values


def costs_in_words(cost: Cost, *, by_layer: bool) -> str:
    """Lays the cost out for reading.

    Args:
        cost: What was counted.
        by_layer: Whether to include each layer's share.

    Returns:
        Lines of text.
    """
    totals = [
        ("parameters", f"{cost.parameters / 1e6:.2f} M", f"{cost.parameters:,}", ""),
        ("MACs", f"{cost.macs / 1e9:.2f} G", f"{cost.macs:,}", "  multiply-adds, which papers print as FLOPs"),
        ("FLOPs", f"{cost.flops / 1e9:.2f} G", f"{cost.flops:,}", "  two for each multiply-add"),
        (
            "activations",
            f"{cost.activation_bytes / 2**20:.2f} MiB",
            f"{cost.activation_bytes:,}",
            "  bytes in training",
        ),
    ]
    lines = [f"one clip of {cost.num_frames} frames of {cost.size} x {cost.size}, the head included"]
    lines += [f"  {name:11}  {short:>12}  {exact:>18}{note}" for name, short, exact, note in totals]
    if by_layer:
        header = ("layer", "class", "parameters", "MACs", "share", "activations")
        rows = [
            (
                layer.path or "(model)",
                layer.kind,
                f"{layer.parameters:,}",
                f"{layer.macs:,}",
                f"{layer.macs / max(cost.macs, 1):.1%}",
                f"{layer.activation_bytes:,}",
            )
            for layer in cost.layers
        ]
        lines += ["", *aligned([header, *rows], left=2)]
    return "\n".join(lines)
