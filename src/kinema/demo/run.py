"""Runs the demo: dataset, trainings, evaluations with time changed, predictions, report."""

from __future__ import annotations

import csv
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from kinema.data.annotations import Sample, read_samples
from kinema.data.motion.dataset import PARTNER, make_motion_dataset
from kinema.data.views import View, grid_views, reversed_view, shuffled_view
from kinema.demo.config import NETWORKS, DemoConfig
from kinema.demo.story import Environment, results_json, write_story
from kinema.engine.device import choose_precision
from kinema.engine.evaluate import Evaluation, evaluate
from kinema.engine.fingerprint import fingerprint
from kinema.engine.machine import cpu_model
from kinema.engine.recipe import Recipe
from kinema.engine.training.choosing.epochs import batch_size_of
from kinema.engine.training.data import choose_workers
from kinema.engine.training.result import TrainingResult
from kinema.engine.training.run_folder import METRICS
from kinema.engine.training.train import train
from kinema.engine.view_loader import Views, evaluation_loader
from kinema.models.classifier import VideoClassifier
from kinema.models.cost import cost
from kinema.models.weights import load_model
from kinema.predict import Predictor
from kinema.report.attention import LayerAttention, record_attention
from kinema.report.comparison import Run, Share, choose_clips, clip_card
from kinema.report.content import Clips
from kinema.report.plots import percent

NUM_SHOWN = 8
"""Clips on the contact sheet."""


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo left behind."""

    report: Path
    """The page to open."""
    results: Path
    """The numbers, as JSON."""
    runs: dict[str, Run]
    """What is known of each network, by its temporal layer."""


def run_demo(config: DemoConfig, *, console: Console | None = None) -> DemoResult:
    """Trains a network that is blind to time and two that are not, and shows the difference.

    The dataset in `out` is used again if it is the same one; the three runs are made anew. Nothing else in `out` is
    touched.

    Args:
        config: The numbers.
        console: Where to say what happens; by default the terminal.

    Returns:
        Where the report lies, and the scores.

    Raises:
        ValueError: If a number is out of its range, or `out` holds another dataset.
    """
    console = console or Console()
    started = time.perf_counter()
    out = Path(config.out)
    recipes = {name: config.recipe(name) for name in NETWORKS}
    make_motion_dataset(out / "data", config.motion(), quiet=not console.is_terminal)
    samples = read_samples(out / "data")
    held_out = [sample for sample in samples if sample.split == "val"]
    runs, predictors = {}, {}
    for place, (name, recipe) in enumerate(recipes.items()):
        console.rule(f"{NETWORKS[name]} ({place + 1} of {len(recipes)})")
        runs[name], predictors[name] = _run_network(
            recipe, held_out, title=NETWORKS[name], color=place, console=console
        )
    clips = _predict(runs, predictors, held_out)
    seconds = time.perf_counter() - started
    environment = Environment(
        machine=f"{cpu_model()}, {torch.get_num_threads()} threads, {platform.system()}",
        precision=choose_precision(recipes["sth"].trainer),
        versions=fingerprint(samples, seed=config.seed),
        seconds=seconds,
    )
    report, results = out / "report.html", out / "results.json"
    write_story(report, config=config, runs=list(runs.values()), clips=clips, environment=environment)
    results.write_text(results_json(config=config, runs=runs, environment=environment), encoding="utf-8")
    _say_goodbye(config, runs, held_out, report=report, seconds=seconds, console=console)
    return DemoResult(report=report, results=results, runs=runs)


def share_of_partners(evaluation: Evaluation) -> float:
    """Part of the clips that are taken for their class's time-reversed partner."""
    names = evaluation.class_names
    partners = torch.tensor([names.index(PARTNER[name]) for name in names])
    predicted = evaluation.probabilities.argmax(dim=1)
    return (predicted == partners[evaluation.labels]).double().mean().item()


def _run_network(
    recipe: Recipe, samples: Sequence[Sample], *, title: str, color: int, console: Console
) -> tuple[Run, Predictor]:
    """Trains one network and scores it in all ways."""
    started = time.perf_counter()
    result = train(recipe, overwrite=True, console=console)
    seconds = time.perf_counter() - started
    assert result.held_out is not None
    model = load_model(result.last)
    with console.status(f"{title}: in reverse, and with frames shuffled"):
        orders = _score_orders(model, samples, forward=result.held_out, recipe=recipe)
        attention = _attention(model, samples, recipe=recipe)
    run = Run(
        title=title,
        color=color,
        evaluation=result.held_out,
        orders=orders,
        history=_history(result),
        cost=cost(model),
        train_seconds=seconds,
        attention=attention,
    )
    return run, Predictor(model)


def _score_orders(
    model: VideoClassifier, samples: Sequence[Sample], *, forward: Evaluation, recipe: Recipe
) -> list[Share]:
    """Scores a model with frames as filmed, in reverse, and each clip's frames in an order of its own."""
    view = grid_views(model.spec)[0]

    def shuffled(index: int) -> list[View]:
        return [shuffled_view(view, np.random.default_rng((recipe.seed, index)))]

    def score(views: Views, protocol: str) -> Evaluation:
        workers = choose_workers(recipe.data.num_workers, num_videos=len(samples))
        size = batch_size_of(recipe.trainer)
        return evaluate(model, samples, views=views, protocol=protocol, batch_size=size, num_workers=workers)

    backward = score([reversed_view(view)], f"{forward.protocol}, in reverse")
    mixed = score(shuffled, f"{forward.protocol}, frames shuffled")
    total = forward.num_clips
    partners = round(share_of_partners(backward) * total)
    return [
        Share(label="as filmed", num_correct=forward.num_correct, num_clips=total),
        Share(label="in reverse", num_correct=backward.num_correct, num_clips=total),
        Share(label="in reverse, named by the partner class", num_correct=partners, num_clips=total),
        Share(label="frames shuffled", num_correct=mixed.num_correct, num_clips=total),
    ]


def _attention(model: VideoClassifier, samples: Sequence[Sample], *, recipe: Recipe) -> list[LayerAttention]:
    """Records what the STH layers weigh on the held-out clips."""
    loader = evaluation_loader(
        samples,
        spec=model.spec,
        views=grid_views(model.spec),
        batch_size=batch_size_of(recipe.trainer),
        num_workers=choose_workers(recipe.data.num_workers, num_videos=len(samples)),
    )
    return record_attention(model, (batch["clips"][:, 0] for batch in loader if batch["indices"]))


def _history(result: TrainingResult) -> list[dict[str, float]]:
    """Reads what the run logged after each epoch."""
    with (result.last.parent / METRICS).open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def _predict(runs: dict[str, Run], predictors: dict[str, Predictor], samples: Sequence[Sample]) -> Clips:
    """Predicts some held-out files with every network."""
    cards = []
    for index in choose_clips(list(runs.values()), limit=NUM_SHOWN):
        sample = samples[index]
        said = [(runs[name], predictor.predict(sample.path, top=3).top) for name, predictor in predictors.items()]
        cards.append(clip_card(sample, spec=predictors["sth"].spec, predictions=said))
    return Clips(clips=cards)


def _say_goodbye(
    config: DemoConfig,
    runs: dict[str, Run],
    samples: Sequence[Sample],
    *,
    report: Path,
    seconds: float,
    console: Console,
) -> None:
    """Prints the scores, where the report lies, and what to type next."""
    first = next(iter(runs.values()))
    table = Table("", *(share.label for share in first.orders), "training", title="Part of the held-out clips")
    for run in runs.values():
        table.add_row(run.title, *(percent(share.value) for share in run.orders), f"{run.train_seconds:.0f} s")
    console.print(table)
    weights, video = Path(config.out) / "sth" / "last.safetensors", samples[0].path
    for line in (
        f"A network blind to order cannot pass 50 %. All of it took {seconds / 60:.1f} minutes.",
        f"Open the report: {report}",
        f"Ask a network about a file: kinema predict {weights} '{video}'",
    ):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
