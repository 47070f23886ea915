"""Lays out what several networks score alone and together."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from kinema.engine.evaluate import Evaluation
from kinema.engine.fuse import Fusion


def fusion_table(fusion: Fusion, names: Sequence[str]) -> Table:
    """Lays out the scores of each network and of all together, with the names of their protocols.

    Args:
        fusion: What was fused.
        names: A name for each network.
    """
    best = fusion.singles[fusion.best]
    top = f"top-{min(5, len(best.class_names))}"
    table = Table("", "weight", "top-1", "95 % interval", top, "mean class")
    protocols = dict.fromkeys(one.protocol for one in fusion.singles)
    table.title = f"{best.num_clips} videos of {len(best.labels.unique())} classes, {' and '.join(protocols)}"
    for name, weight, one in zip(names, fusion.weights, fusion.singles, strict=True):
        table.add_row(name if len(protocols) == 1 else f"{name}, {one.protocol}", f"{weight:g}", *_scores(one))
    table.add_row("all together", "", *_scores(fusion.fused), style="bold")
    low, high = fusion.gain.interval
    table.caption = (
        f"top-1 of all together minus that of the best single one, {names[fusion.best]}: {fusion.gain.mean:+.1%} "
        f"(95 % interval {low:+.1%} to {high:+.1%}, paired bootstrap over videos)"
    )
    return table


def _scores(evaluation: Evaluation) -> list[str]:
    low, high = evaluation.interval
    interval = f"{low:.1%} to {high:.1%}"
    return [f"{evaluation.top1:.1%}", interval, f"{evaluation.top5:.1%}", f"{evaluation.mean_class:.1%}"]
