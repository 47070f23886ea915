"""Late fusion: the weighted mean of the probabilities of several networks, as two streams are put together since 2014.

Simonyan and Zisserman 2014, arXiv 1406.2199. What is fused was scored before: files of `kinema evaluate --json`.

Shapes: N videos, K classes, M networks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.data.annotations import Sample
from kinema.data.video.opening import without_extension
from kinema.engine.evaluate import Evaluation, Scores
from kinema.wording import check, listed

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better the top-1 of one evaluation is than that of another on the same videos."""

    mean: float
    """Part of the videos."""
    interval: tuple[float, float]
    """95 % interval of a paired bootstrap over videos."""


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Several evaluations of the same videos, and what they come to together."""

    singles: tuple[Evaluation, ...]
    """Each on its own; videos and classes in the order of the first, where all could read them."""
    weights: tuple[float, ...]
    """Weight of each."""
    fused: Evaluation
    """All of them together."""
    best: int
    """Place of the best single one by top-1; the first of equals."""
    gain: Difference
    """What the fused one has more than the best single one."""

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-able values; a file of it can be fused again."""
        scores = ("protocol", "top1", "top5", "mean_class")
        singles = [
            {"weight": weight, **{name: getattr(one, name) for name in scores}}
            for one, weight in zip(self.singles, self.weights, strict=True)
        ]
        gain = {"over": self.best, "top1": self.gain.mean, "top1_interval": list(self.gain.interval)}
        return {**self.fused.to_dict(), "fused": singles, "gain": gain}


def read_evaluation(path: str | Path) -> Evaluation:
    """Reads what `kinema evaluate --json` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; write it with kinema evaluate WEIGHTS --json {path}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        several = any("labels" in video for video in values["videos"])
        names = tuple(str(name) for name in values["class_names"])
        videos = {
            str(video["name"]): (int(video["label"]), [float(part) for part in video["probabilities"]])
            for video in ([] if several else values["videos"])
        }
        errors = {str(name): str(reason) for name, reason in values["errors"].items()}
        protocol, num_videos = str(values["protocol"]), len(values["videos"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must be a file of kinema evaluate --json, got another one ({type(error).__name__}: {error}); "
            "write it anew"
        ) from error
    check(not several, f"{path}", "hold one class a video", "several", "networks of several classes are not fused")
    check(
        len(videos) == num_videos > 0, f"{path}", "name at least one video, and each once", num_videos, "write it anew"
    )
    _check_rows(path, videos, num_classes=len(names))
    rows = {name: torch.tensor(row) for name, (_, row) in videos.items() if name not in errors}
    labels = {name: names[label] for name, (label, _) in videos.items()}
    return _evaluation(labels, rows, errors, class_names=names, protocol=protocol)


def fuse(evaluations: Sequence[Evaluation], weights: Sequence[float] | None = None) -> Fusion:
    """Puts networks together that were scored on the same videos.

    Videos are the same by their names, or, where these differ, by their names without the extension of a file: the flow
    of `a.mp4` is the folder `a`. Classes are by name. A video that one of the networks could not read counts as wrong.

    Args:
        evaluations: Two or more.
        weights: Weight of the probabilities of each; equal ones by default.

    Returns:
        Each one, and all together.

    Raises:
        ValueError: If videos, labels or classes differ, or the weights are none.
    """
    check(len(evaluations) >= 2, "evaluations", "be at least two", len(evaluations), "name a file for each stream")
    weights = tuple(weights or [1.0] * len(evaluations))
    rule = f"be {len(evaluations)}, one for each file"
    check(len(weights) == len(evaluations), "weights", rule, weights, "leave them out for equal ones")
    fine = all(math.isfinite(weight) and weight >= 0 for weight in weights) and sum(weights) > 0
    check(fine, "weights", "be 0 or more, and not all 0", weights, "1 and 1.5 are usual for frames and flow")
    first, *rest = evaluations
    singles = (first, *(_aligned(first, other) for other in rest))
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    mixed = torch.einsum("m,mnk->nk", shares, torch.stack([one.probabilities.double() for one in singles]))  # [N, K]
    errors = {name: reason for one in reversed(singles) for name, reason in one.errors.items()}
    fused = _evaluation(
        {name: first.class_names[label] for name, label in zip(first.names, first.labels.tolist(), strict=True)},
        {name: row for name, row in zip(first.names, mixed, strict=True) if name not in errors},
        errors,
        class_names=first.class_names,
        protocol=_protocol(singles, weights),
    )
    best = max(range(len(singles)), key=lambda place: singles[place].top1)
    return Fusion(singles=singles, weights=weights, fused=fused, best=best, gain=compare_paired(fused, singles[best]))


def compare_paired(one: Evaluation, other: Evaluation, *, seed: int = 0) -> Difference:
    """Compares the top-1 of two evaluations of the same videos, by a paired bootstrap over them.

    Videos are drawn again and again with both of their outcomes; only how many are right by one alone matters, so that
    the counts are drawn from a multinomial distribution, which is the same.

    Args:
        one: An evaluation.
        other: Another one, of the same videos in the same order.
        seed: Of the draws.

    Returns:
        The difference of top-1 and its interval.
    """
    gains = _is_right(one).int() - _is_right(other).int()  # [N], -1, 0 or 1
    parts = [(gains == value).double().mean().item() for value in (-1, 0, 1)]
    counts = np.random.default_rng(seed).multinomial(len(gains), parts, size=NUM_RESAMPLES)
    differences = (counts[:, 2] - counts[:, 0]) / len(gains)
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return Difference(mean=gains.double().mean().item(), interval=(low, high))


def _is_right(evaluation: Evaluation) -> Tensor:
    """Tells of each video whether its label is the most probable one [N]."""
    readable = torch.tensor([name not in evaluation.errors for name in evaluation.names])
    return (evaluation.probabilities.argmax(dim=1) == evaluation.labels) & readable


def _aligned(first: Evaluation, other: Evaluation) -> Evaluation:
    """Returns an evaluation with videos and classes in the order of another one."""
    ours, theirs = _keys(first.names, other.names)
    apart = sorted(ours.keys() ^ theirs.keys())
    check(
        not apart,
        "videos",
        f"be the same in all files ({len(ours)} and {len(theirs)})",
        f"{listed(apart, 4)} in one alone",
        "evaluate on the same split",
    )
    classes = sorted({*first.class_names} ^ {*other.class_names})
    check(
        not classes,
        "classes",
        "be the same in all files",
        f"{listed(classes, 4)} in one alone",
        "evaluate networks of the same classes",
    )
    order = [other.class_names.index(name) for name in first.class_names]
    rows = [theirs[key] for key in ours]
    labels = [other.class_names[label] for label in other.labels[rows].tolist()]
    for name, ours_label, theirs_label in zip(first.names, first.labels.tolist(), labels, strict=True):
        check(
            first.class_names[ours_label] == theirs_label,
            f"label of {name}",
            "be the same in all files",
            f"{first.class_names[ours_label]} and {theirs_label}",
            "evaluate on the same annotations",
        )
    names = dict(zip((other.names[row] for row in rows), first.names, strict=True))
    return replace(
        other,
        class_names=first.class_names,
        names=first.names,
        labels=first.labels,
        probabilities=other.probabilities[rows][:, order],
        confusion=other.confusion[order][:, order],
        errors={names[name]: reason for name, reason in other.errors.items()},
    )


def _keys(first: Sequence[str], other: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the places of videos by names that both sides share."""
    exact = {*first} == {*other}
    ours, theirs = (
        {name if exact else without_extension(name): place for place, name in enumerate(names)}
        for names in (first, other)
    )
    for names, keys in ((first, ours), (other, theirs)):
        doubled = [name for place, name in enumerate(names) if place not in {*keys.values()}]
        check(not doubled, "names of videos", "differ by more than their extension", listed(doubled, 4), "rename them")
    return ours, theirs


def _protocol(singles: Sequence[Evaluation], weights: Sequence[float]) -> str:
    protocols = list(dict.fromkeys(one.protocol for one in singles))
    return f"{' and '.join(protocols)}, fused {' : '.join(f'{weight:g}' for weight in weights)}"


def _check_rows(path: Path, videos: Mapping[str, tuple[int, list[float]]], *, num_classes: int) -> None:
    for name, (label, row) in videos.items():
        right = len(row) == num_classes and 0 <= label < num_classes
        check(right, f"{path}: {name}", f"have {num_classes} probabilities and a label", label, "write the file anew")
        check(all(map(math.isfinite, row)), f"{path}: {name}", "have finite probabilities", row[:4], "write it anew")


def _evaluation(
    labels: Mapping[str, str],
    rows: Mapping[str, Tensor],
    errors: Mapping[str, str],
    *,
    class_names: Sequence[str],
    protocol: str,
) -> Evaluation:
    """Sums up probabilities by the name of their video."""
    samples = [Sample(path=Path(name), class_name=label, name=name) for name, label in labels.items()]
    scores = Scores(samples, class_names=class_names, protocol=protocol)
    for place, sample in enumerate(samples):
        if sample.name in errors:
            scores.errors[place] = errors[sample.name]
        else:
            scores.rows[place] = rows[sample.name].float()
    return scores.result()
