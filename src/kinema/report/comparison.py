"""Sections of a report on several runs that were evaluated on the same videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kinema.data.annotations import Sample
from kinema.data.dataset import load_views
from kinema.data.video.section import open_sample
from kinema.data.views import grid_views
from kinema.engine.evaluate import Evaluation, wilson_interval
from kinema.models.cost import Cost
from kinema.report.attention import LayerAttention
from kinema.report.confusion import confusion_chart
from kinema.report.contact_sheet import clip_frames, film_strip
from kinema.report.content import Chart, Charts, Clip, Guess, Table
from kinema.report.plots import Bar, Line, Reference, Spread, bar_chart, coefficient_chart, line_chart
from kinema.spec import ClipSpec

TEMPORAL_COLOR, SPATIAL_COLOR = 3, 4
EQUAL_WEIGHT = 1.0
"""Where neither part is preferred: an STH layer's two coefficients add up to 2."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A count of clips that answer a question."""

    label: str
    """The question, such as `frames shuffled`."""
    num_correct: int
    """Clips for which it holds."""
    num_clips: int
    """Clips that were asked."""

    @property
    def value(self) -> float:
        """The part of the clips for which it holds."""
        return self.num_correct / self.num_clips

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of that part."""
        return wilson_interval(self.num_correct, self.num_clips)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trained network and what is known of it."""

    title: str
    """Its name for the reader."""
    color: int
    """Its place in the palette."""
    evaluation: Evaluation
    """Its scores on the held-out videos."""
    orders: Sequence[Share]
    """Its accuracy with frames in several orders."""
    history: Sequence[Mapping[str, float]]
    """`epoch`, `val_top1` and `val_loss` of each epoch."""
    cost: Cost
    """Parameters and multiply-adds."""
    train_seconds: float
    """How long it trained."""
    attention: Sequence[LayerAttention] = ()
    """What its STH layers weigh; empty where it has none."""


def accuracy_chart(runs: Sequence[Run], *, references: Sequence[Reference] = ()) -> Chart:
    """Compares the held-out accuracy of the runs."""
    first = runs[0].evaluation
    bars = [
        _bar(Share(label=run.title, num_correct=run.evaluation.num_correct, num_clips=run.evaluation.num_clips), run)
        for run in runs
    ]
    caption = f"Top-1 accuracy on {first.num_clips} validation clips ({first.protocol}). Thin lines: 95 % intervals."
    return bar_chart(bars, name="accuracy", title="Held-out accuracy", caption=caption, references=references)


def order_charts(runs: Sequence[Run]) -> Charts:
    """Shows, for each run, what becomes of its accuracy when time is changed."""
    caption = "Thin lines: 95 % intervals."
    charts = [
        bar_chart(
            [_bar(share, run) for share in run.orders], name=f"order {run.title}", title=run.title, caption=caption
        )
        for run in runs
    ]
    return Charts(charts=charts)


def curve_charts(runs: Sequence[Run], *, references: Sequence[Reference] = ()) -> Charts:
    """Shows accuracy and loss on the held-out videos after each epoch."""

    def lines(key: str) -> list[Line]:
        return [
            Line(
                name=run.title,
                x=[row["epoch"] + 1 for row in run.history],
                y=[row[key] for row in run.history],
                color=run.color,
            )
            for run in runs
        ]

    top1 = line_chart(
        lines("val_top1"),
        name="val_top1",
        title="Validation accuracy",
        x_label="epoch",
        caption="Top-1 accuracy on the validation clips after each epoch.",
        share=True,
        references=references,
    )
    loss = line_chart(
        lines("val_loss"),
        name="val_loss",
        title="Validation loss",
        x_label="epoch",
        caption="Mean cross-entropy on the validation clips after each epoch, in nats; lower is better.",
        share=False,
    )
    return Charts(charts=[top1, loss])


def confusion_charts(runs: Sequence[Run]) -> Charts:
    """Shows which classes each run takes for which."""
    caption = "Rows: true class; columns: predicted class, by number. Numbers count clips."
    charts = [
        confusion_chart(
            run.evaluation.confusion.numpy(),
            run.evaluation.class_names,
            name=f"confusion {run.title}",
            title=run.title,
            caption=caption,
            color=run.color,
        )
        for run in runs
    ]
    return Charts(charts=charts)


def attention_chart(run: Run) -> Chart:
    """Shows how each STH layer of a run weighs its temporal against its spatial part."""
    names = [layer.name.removeprefix("backbone.") for layer in run.attention]
    return coefficient_chart(
        names,
        [
            [_spread(layer.temporal_by_channel) for layer in run.attention],
            [_spread(layer.spatial_by_channel) for layer in run.attention],
        ],
        series=[("α_T, time", TEMPORAL_COLOR), ("α_S, space", SPATIAL_COLOR)],  # noqa: RUF001 (the paper's letters)
        name=f"attention {run.title}",
        title=f"What {run.title} weighs, layer by layer",
        caption=(
            "Dots: mean over validation clips and channels. Bars: where the middle 80 % of the channels lie. "
            "Dashed: both parts weigh the same."
        ),
        reference=EQUAL_WEIGHT,
    )


def choose_clips(runs: Sequence[Run], *, limit: int) -> list[int]:
    """Chooses clips worth looking at, by their index: errors of the last run first, then one a class where runs differ.

    Args:
        runs: The last one is the one that the report is about.
        limit: Clips to choose; at most a quarter are errors of the last run.

    Returns:
        Distinct indices.
    """
    labels = runs[-1].evaluation.labels.numpy()
    confidence = runs[-1].evaluation.probabilities.max(dim=1).values.numpy()
    readable = confidence > 0
    right = np.stack([run.evaluation.probabilities.argmax(dim=1).numpy() == labels for run in runs])  # [runs, N]
    wrong = [index for index in np.argsort(-confidence, kind="stable").tolist() if not right[-1, index]]
    chosen = [index for index in wrong if readable[index]][: limit // 4]
    disagreement = np.asarray(right.any(axis=0) != right.all(axis=0))
    order = sorted(
        (index for index in range(len(labels)) if readable[index]),
        key=lambda index: (not disagreement[index], -confidence[index]),
    )
    queues = [[index for index in order if labels[index] == label] for label in sorted(set(labels.tolist()))]
    while len(chosen) < limit and any(queues):
        for queue in queues:
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < limit:
                chosen.append(queue.pop(0))
    return chosen


def clip_card(
    sample: Sample, *, spec: ClipSpec, predictions: Sequence[tuple[Run, Sequence[tuple[str, float]]]]
) -> Clip:
    """Lays out a video with what each run says of it.

    Args:
        sample: The video.
        spec: Says which frames are seen, and how.
        predictions: Of each run, the most probable class names with their probabilities, best first.

    Returns:
        The clip for a contact sheet.

    Raises:
        VideoError: If the video cannot be read.
    """
    with open_sample(sample) as video:
        frames = clip_frames(load_views(video, grid_views(spec), spec)[0], spec=spec)
    guesses = [
        Guess(name=run.title, color=run.color, top=top, correct=top[0][0] == sample.class_name)
        for run, top in predictions
    ]
    return Clip(
        title=sample.name,
        picture=film_strip(frames),
        num_frames=len(frames),
        truth=sample.class_name,
        guesses=guesses,
    )


def cost_table(runs: Sequence[Run]) -> Table:
    """Sets the costs of the runs side by side."""
    base = runs[0].train_seconds
    rows = [
        [
            run.title,
            f"{run.cost.parameters / 1e6:.3f} M",
            f"{run.cost.macs / 1e9:.3f} G",
            f"{run.train_seconds:.0f} s",
            f"{run.train_seconds / base:.2f} ×",  # noqa: RUF001 (the sign of multiplication)
        ]
        for run in runs
    ]
    first = runs[0].cost
    caption = f"Multiply-adds are for one clip of {first.num_frames} frames of {first.size} by {first.size} pixels."
    header = ["network", "parameters", "multiply-adds", "training", f"against {runs[0].title}"]
    return Table(header=header, rows=rows, caption=caption)


def _bar(share: Share, run: Run) -> Bar:
    low, high = share.interval
    return Bar(label=share.label, value=share.value, low=low, high=high, color=run.color)


def _spread(values: np.ndarray) -> Spread:
    low, high = np.quantile(values, (0.1, 0.9)).tolist()
    return Spread(mean=float(values.mean()), low=low, high=high)
