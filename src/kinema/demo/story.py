"""What the demo tells: its page for people, its numbers for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kinema.demo.config import DemoConfig
from kinema.report.comparison import (
    Run,
    accuracy_chart,
    attention_chart,
    confusion_charts,
    cost_table,
    curve_charts,
    order_charts,
)
from kinema.report.content import Charts, Clips, Code, Section, Table, Text, Tile
from kinema.report.html import write_report
from kinema.report.plots import Reference, percent

CEILING = 0.5
"""Each validation clip stands there with its reversal: of the two, a network blind to order names one at most."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where the numbers come from."""

    machine: str
    """Processor, threads, system."""
    precision: str
    """Arithmetic of training."""
    versions: Mapping[str, str | int | None]
    """Versions, commit and hash of the data."""
    seconds: float
    """How long the demo took."""


def write_story(path: Path, *, config: DemoConfig, runs: Sequence[Run], clips: Clips, environment: Environment) -> None:
    """Writes the report of the demo.

    Args:
        path: The file.
        config: The numbers of the demo.
        runs: The networks, the one that is blind to order first and the one the report is about last.
        clips: The contact sheet.
        environment: Where the numbers come from.
    """
    total = runs[0].evaluation.num_clips
    sections = [
        _order_section(runs),
        _clip_section(clips),
        _attention_section(runs[-1]),
        _confusion_section(runs),
        _curve_section(runs, config),
        _cost_section(runs),
        _origin_section(config, environment),
    ]
    write_report(
        path,
        title="Does a video network see time?",
        subtitle=(
            f"kinema demo · {len(runs[0].evaluation.class_names)} motions in "
            f"{len(runs[0].evaluation.class_names) // 2} time-reversed pairs · {total} held-out clips · "
            f"seed {config.seed}"
        ),
        verdict=verdict(runs),
        tiles=[
            Tile(
                value=percent(run.evaluation.top1),
                label=run.title,
                note=f"{run.evaluation.num_correct} of {total} held-out clips right, "
                f"95 % interval {percent(run.evaluation.interval[0])} to {percent(run.evaluation.interval[1])}",
                color=run.color,
            )
            for run in runs
        ],
        sections=sections,
    )


def verdict(runs: Sequence[Run]) -> str:
    """Says in plain words what came out.

    Args:
        runs: The network that is blind to order first.
    """
    blind, *others = runs
    scores = [f"{run.title} {percent(run.evaluation.top1)}" for run in reversed(others)]
    scores[0] = scores[0].replace(" ", " names ", 1)
    shown = f"{' and '.join(scores)} of {blind.evaluation.num_clips} clips right that they never saw in training"
    reason = "every clip stands beside its own reversal under another name"
    if min(run.evaluation.interval[0] for run in others) > CEILING:
        return (
            f"{shown}. {blind.title}, which sees the very same frames but not their order, names "
            f"{percent(blind.evaluation.top1)} right, and no network of its kind could pass 50\u00a0%, because "
            f"{reason}. Time is what makes the difference."
        )
    return (
        f"{shown}, and {blind.title}, which does not see the order of frames, {percent(blind.evaluation.top1)}. To "
        f"show that a network sees time, it must clearly pass 50\u00a0%, because {reason}; in so short a training, "
        "not all of these do. Train longer: networks stay at chance for the first few thousand clips, and then jump."
    )


def results_json(*, config: DemoConfig, runs: Mapping[str, Run], environment: Environment) -> str:
    """Returns all numbers of the demo."""
    first = next(iter(runs.values())).evaluation
    values = {
        "command": config.command,
        "config": asdict(config),
        "protocol": first.protocol,
        "num_clips": first.num_clips,
        "ceiling_without_order": CEILING,
        "class_names": list(first.class_names),
        "networks": {name: _network(run) for name, run in runs.items()},
        "environment": asdict(environment),
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _network(run: Run) -> dict[str, Any]:
    evaluation = run.evaluation
    return {
        "title": run.title,
        "weights": "last.safetensors",
        "top1": evaluation.top1,
        "top1_interval": list(evaluation.interval),
        "top5": evaluation.top5,
        "mean_class": evaluation.mean_class,
        "loss": evaluation.loss,
        "orders": {share.label: share.value for share in run.orders},
        "confusion": evaluation.confusion.tolist(),
        "history": [dict(row) for row in run.history],
        "parameters": run.cost.parameters,
        "macs": run.cost.macs,
        "train_seconds": run.train_seconds,
        "attention": {
            layer.name: {
                "alpha_t": float(layer.temporal_by_clip.mean()),
                "alpha_s": float(layer.spatial_by_clip.mean()),
            }
            for layer in run.attention
        },
    }


def _order_section(runs: Sequence[Run]) -> Section:
    text = (
        "Eight motions, drawn so that a single frame, or all frames without their order, say nothing about which of a "
        "pair is seen: moving left played in reverse is moving right. Three networks were trained on the same clips "
        "from the same seed, alike but for what joins their frames: TSN averages them, TSM shifts a part of the "
        "channels to the neighbouring frames, STH convolves a quarter of the input channels over time and the rest "
        "over space."
    )
    changed = (
        "Then time was changed. In reverse, a network that sees time should no longer give a clip its own name, but "
        "that of the reversed motion, its partner. Since every validation clip stands there with its exact reversal, "
        "the third bar must equal the first: it checks the machinery rather than adding a result. With frames "
        "shuffled, only what frames show without order is left. A network blind to order gives the same answer to all "
        "of them."
    )
    references = [Reference(value=CEILING, label="50 %: most without order")]
    chart = Charts(charts=[accuracy_chart(runs, references=references)], beside=text)
    return Section(
        heading="What if time is taken away?",
        blocks=[chart, Text(text=changed), order_charts(runs)],
    )


def _clip_section(clips: Clips) -> Section:
    text = (
        "Held-out clips as the networks see them, read from left to right, with the three best guesses of each. First "
        "come the most confident errors of STH, if it makes any, then clips of each class on which the networks differ."
    )
    return Section(heading="What do they say about a clip?", blocks=[Text(text=text), clips])


def _attention_section(run: Run) -> Section:
    text = (
        "In each layer STH adds a part that looks along time to a part that looks within frames, and weighs the two, "
        "channel by channel and clip by clip, by coefficients that add up to 2. Both start at 1."
    )
    if not run.attention:
        return Section(heading="What does STH weigh?", blocks=[Text(text="This network has no attention.")])
    most = max(run.attention, key=lambda layer: float(layer.temporal_by_clip.mean()))
    found = (
        f"Here {most.name.removeprefix('backbone.')} leans most on time, with a mean α_T of "  # noqa: RUF001
        f"{float(most.temporal_by_clip.mean()):.2f}."
    )
    chart = Charts(charts=[attention_chart(run)], beside=f"{text} {found}")
    return Section(heading="How much does STH look at time?", blocks=[chart])


def _confusion_section(runs: Sequence[Run]) -> Section:
    text = "Without order, a motion and its reversal are one and the same: the errors pile up inside the pairs."
    return Section(heading="What is taken for what?", blocks=[Text(text=text), confusion_charts(runs)])


def _curve_section(runs: Sequence[Run], config: DemoConfig) -> Section:
    text = (
        f"Each network saw {config.num_train} clips {config.epochs} times. The scores above are those of the weights "
        "after the last epoch, whether or not an earlier one was better. Dashed: the limit without order."
    )
    references = [Reference(value=CEILING, label="limit")]
    return Section(heading="How did they learn?", blocks=[Text(text=text), curve_charts(runs, references=references)])


def _cost_section(runs: Sequence[Run]) -> Section:
    return Section(heading="What does it cost?", blocks=[cost_table(runs)])


def _origin_section(config: DemoConfig, environment: Environment) -> Section:
    rows = [
        ["machine", environment.machine],
        ["precision", environment.precision],
        ["whole demo", f"{environment.seconds / 60:.1f} minutes"],
        *([name, "unknown" if value is None else str(value)] for name, value in environment.versions.items()),
    ]
    predict = f"kinema predict {config.out}/sth/last.safetensors FILE"
    return Section(
        heading="Do it again",
        blocks=[
            Text(text="The first command makes this page anew, the second asks the trained STH about any video file."),
            Code(text=f"{config.command}\n{predict}"),
            Table(header=["what", "value"], rows=rows, caption="Where the numbers come from."),
        ],
    )
