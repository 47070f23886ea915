"""From views to probabilities, and from probabilities to a number with a name: the one path that all reports walk.

Shapes: N videos, V views, T frames, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_confusion_matrix

from kinema.data.annotations import Sample, names_of
from kinema.data.dataset import label_sets_of, labels_of, multi_hot
from kinema.engine.multi_label import average_precisions, mean_known
from kinema.engine.processes.ranks import gather, share_buffers
from kinema.engine.view_loader import ViewBatch, Views, evaluation_loader
from kinema.models.classifier import VideoClassifier
from kinema.models.modes import evaluation_mode
from kinema.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model scored, under which protocol, on which videos; one that cannot be read counts as wrong."""

    protocol: str
    """How the videos were looked at, as `protocol_name` words it."""
    class_names: tuple[str, ...]
    """Names in the order of the probabilities."""
    names: tuple[str, ...]
    """Name of each video."""
    labels: Tensor
    """True label of each video, the first one where it shows several classes [N]."""
    probabilities: Tensor
    """Probabilities of each video [N, K]; zeros for one that cannot be read."""
    confusion: Tensor
    """Counts [K, K] of (true label, predicted label) over the readable videos; empty where a video may show several
    classes."""
    errors: Mapping[str, str]
    """Why a video could not be read, by its name."""
    top1: float
    """Part of the videos whose label, or one of whose labels, is the most probable one."""
    top5: float
    """Part of the videos whose label, or one of whose labels, is among the min(5, K) most probable ones."""
    mean_class: float
    """Mean over the classes that occur of the part of their videos that is right."""
    loss: float
    """Mean negative logarithm of the probability of the label, over the readable videos; where a video may show several
    classes, the mean binary cross-entropy."""
    label_sets: tuple[tuple[int, ...], ...] = ()
    """All labels of each video, where it may show several classes."""
    average_precision: tuple[float | None, ...] = ()
    """Average precision of each class, where a video may show several; none for one that no video shows."""

    @property
    def num_clips(self) -> int:
        """Number N of videos, unreadable ones included."""
        return len(self.names)

    @property
    def num_correct(self) -> int:
        """Number of videos whose label is the most probable one."""
        return round(self.top1 * self.num_clips)

    @property
    def mean_average_precision(self) -> float | None:
        """Mean of the average precision over the classes that occur; none where a video shows one class."""
        return mean_known(self.average_precision) if self.average_precision else None

    @property
    def score(self) -> float:
        """The number that stands for all: top-1, or mean average precision where a video may show several classes."""
        return self.top1 if self.mean_average_precision is None else self.mean_average_precision

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of top-1."""
        return wilson_interval(self.num_correct, self.num_clips)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-able values, the scores of each video included."""
        multi_label = {
            "mean_average_precision": self.mean_average_precision,
            "average_precision": dict(zip(self.class_names, self.average_precision, strict=False)),
        }
        labels = self.label_sets or self.labels.tolist()
        return {
            "protocol": self.protocol,
            "num_clips": self.num_clips,
            "top1": self.top1,
            "top1_interval": list(self.interval),
            "top5": self.top5,
            "mean_class": self.mean_class,
            "loss": self.loss if math.isfinite(self.loss) else None,
            "class_names": list(self.class_names),
            "confusion": self.confusion.tolist(),
            "errors": dict(self.errors),
            **(multi_label if self.average_precision else {}),
            "videos": [
                {"name": name, "labels" if self.label_sets else "label": label, "probabilities": row}
                for name, label, row in zip(self.names, labels, self.probabilities.tolist(), strict=True)
            ],
        }


class Scores:
    """Collects the probabilities of videos, in any order, into an evaluation."""

    def __init__(
        self, samples: Sequence[Sample], *, class_names: Sequence[str], protocol: str, multi_label: bool = False
    ) -> None:
        """Starts with no video scored.

        Args:
            samples: All videos that are going to be scored.
            class_names: Names in the order of the labels.
            protocol: How the videos are looked at.
            multi_label: Whether a video may show several classes.

        Raises:
            ValueError: If a sample's class is none of the names.
        """
        self.samples = samples
        self.class_names = tuple(class_names)
        self.protocol = protocol
        self.labels = torch.from_numpy(labels_of(samples, class_names=class_names)).long()  # [N]
        self.label_sets = label_sets_of(samples, class_names=class_names) if multi_label else None
        self.rows: dict[int, Tensor] = {}
        self.errors: dict[int, str] = {}

    def add(self, batch: ViewBatch, model: nn.Module) -> None:
        """Scores a batch of videos with a model."""
        self.errors |= batch["errors"]
        if batch["indices"]:
            self.rows |= zip(batch["indices"], predict_views(model, batch["clips"]).cpu(), strict=True)

    def gather(self) -> None:
        """Adds what the other processes of a run have scored; all must do so."""
        for rows, errors in gather((self.rows, self.errors)):
            self.rows |= rows
            self.errors |= errors

    def result(self) -> Evaluation:
        """Sums up what was added: each sample once."""
        assert self.rows.keys() | self.errors.keys() == set(range(len(self.samples)))
        num_classes = len(self.class_names)
        absent = torch.zeros(num_classes)
        probabilities = torch.stack([self.rows.get(index, absent) for index in range(len(self.samples))])  # [N, K]
        readable = torch.tensor([index in self.rows for index in range(len(self.samples))])  # [N]
        targets = self._targets()  # [N, K]
        best = probabilities.topk(min(5, num_classes), dim=1).indices  # [N, 5]
        hits = targets.gather(1, best) & readable[:, None]  # [N, 5]
        classes = targets.any(dim=0).nonzero().flatten()
        several = self.label_sets is not None
        predicted = best[readable, 0]
        return Evaluation(
            protocol=self.protocol,
            class_names=self.class_names,
            names=tuple(names_of(self.samples)),
            labels=self.labels,
            probabilities=probabilities,
            confusion=_confusion(predicted, self.labels[readable], num_classes=0 if several else num_classes),
            errors={self.samples[index].name: message for index, message in sorted(self.errors.items())},
            top1=hits[:, 0].double().mean().item(),
            top5=hits.any(dim=1).double().mean().item(),
            mean_class=torch.stack([hits[targets[:, label], 0].double().mean() for label in classes]).mean().item(),
            loss=self._loss(probabilities[readable], targets[readable]),
            label_sets=tuple(self.label_sets or ()),
            average_precision=average_precisions(probabilities, targets) if several else (),
        )

    def _targets(self) -> Tensor:
        """Whether each video shows each class [N, K]."""
        sets = [(label,) for label in self.labels.tolist()] if self.label_sets is None else self.label_sets
        return multi_hot(sets, num_classes=len(self.class_names)).bool()

    def _loss(self, probabilities: Tensor, targets: Tensor) -> float:
        """Cross-entropy of the probabilities of videos [R, K], or the binary one where each class is by itself."""
        tiny = torch.finfo(probabilities.dtype).tiny
        if self.label_sets is None:
            return -probabilities[targets].clamp_min(tiny).log().mean().item()
        right = torch.where(targets, probabilities, 1 - probabilities)  # [R, K]
        return -right.clamp_min(tiny).log().mean().item()


def predict_views(model: nn.Module, clips: Tensor, *, chunk_size: int = 16) -> Tensor:
    """Turns the views of videos into probabilities: softmax of the mean over views of the logits.

    Where the model's spec says that a video may show several classes, the sigmoid of that mean.

    The model is run in evaluation mode and in the precision of its weights, and is then put back into the mode it was
    in.

    Args:
        model: Maps a clip [N, T, C, H, W] to logits [N, K].
        clips: Views of the videos [N, V, T, C, H, W].
        chunk_size: Clips that run through the model at once; bounds the memory, and changes nothing else.

    Returns:
        Probabilities [N, K].

    Raises:
        ValueError: If the clips have no views.
    """
    if clips.ndim != 6 or 0 in clips.shape[:2]:
        raise ValueError(f"clips must be [N, V, T, C, H, W], got {list(clips.shape)}; one clip is clip[None, None]")
    num_videos, num_views = clips.shape[:2]
    weight = next(model.parameters(), clips)
    with evaluation_mode(model), torch.inference_mode(), torch.autocast(weight.device.type, enabled=False):
        chunks = clips.flatten(0, 1).split(chunk_size)  # [N*V, T, C, H, W]
        logits = torch.cat([model(chunk.to(weight.device, weight.dtype)).float() for chunk in chunks])  # [N*V, K]
        means = logits.unflatten(0, (num_videos, num_views)).mean(dim=1)  # [N, K]
        spec = getattr(model, "spec", None)
        return means.sigmoid() if isinstance(spec, ClipSpec) and spec.multi_label else means.softmax(dim=1)


def evaluate(
    model: VideoClassifier,
    samples: Sequence[Sample],
    *,
    views: Views,
    protocol: str,
    batch_size: int = 8,
    num_workers: int = 0,
    progress: bool = False,
    together: bool = False,
) -> Evaluation:
    """Scores a model on videos.

    Args:
        model: Its spec says how a video becomes a clip and names the classes.
        samples: The videos.
        views: Where to look in each; the same for all, or by the index of the sample.
        protocol: The name of that, to stand beside the numbers.
        batch_size: Videos that are loaded at once.
        num_workers: Processes that decode videos.
        progress: Whether to show a bar.
        together: Whether the processes of a run share the videos out; all get the same scores, those of a single one.

    Returns:
        The scores; a video that cannot be read is named in them and counts as wrong.

    Raises:
        ValueError: If there is no sample, or one of a class that the model does not know.
    """
    if not samples:
        raise ValueError("samples must be at least one video to evaluate, got none; check the data and the split")
    spec = model.spec
    scores = Scores(samples, class_names=spec.class_names, protocol=protocol, multi_label=spec.multi_label)
    if together:
        share_buffers(model)
    loader = evaluation_loader(
        samples, spec=spec, views=views, batch_size=batch_size, num_workers=num_workers, together=together
    )
    for batch in track(loader, description="evaluating", transient=True, disable=not progress):
        scores.add(batch, model)
    if together:
        scores.gather()
    return scores.result()


def _confusion(predicted: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """Counts [K, K] of (label, predicted label), also for the one class of which torchmetrics would know nothing."""
    if num_classes == 0:
        return torch.zeros(0, 0, dtype=torch.int64)
    counts: Tensor = multiclass_confusion_matrix(predicted, labels, num_classes=max(2, num_classes))
    return counts[:num_classes, :num_classes]


def wilson_interval(num_correct: int, num_total: int) -> tuple[float, float]:
    """95 % confidence interval of a part, good for few trials and for parts near 0 and 1.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Args:
        num_correct: Successes.
        num_total: Trials, at least 1.

    Returns:
        Lower and upper bound.

    Raises:
        ValueError: If the counts are not 0 <= num_correct <= num_total, 1 <= num_total.
    """
    if not (num_total >= 1 and 0 <= num_correct <= num_total):
        raise ValueError(f"num_correct must lie in [0, num_total], got {num_correct} of {num_total}; count again")
    z = 1.959964
    part = num_correct / num_total
    center = part + z**2 / (2 * num_total)
    spread = z * math.sqrt(part * (1 - part) / num_total + z**2 / (4 * num_total**2))
    scale = 1 + z**2 / num_total
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)
