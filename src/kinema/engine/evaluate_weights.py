"""Scores a weights file on a dataset: on the very split that it was trained with, where that split was ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinema.data.annotations import Sample, read_samples
from kinema.data.views import grid_views, protocol_name
from kinema.engine.evaluate import Evaluation, evaluate
from kinema.engine.fingerprint import hash_data
from kinema.engine.recipe import EvaluationRecipe
from kinema.engine.recipe_files import recipe_from_dict
from kinema.engine.training_data import choose_workers, split_recipe_samples
from kinema.models.weights import load_model, read_metadata
from kinema.wording import listed, nearest


def evaluate_weights(weights: Path, recipe: EvaluationRecipe, *, console: Console) -> Evaluation:
    """Scores a weights file and prints the scores with the name of their protocol.

    Args:
        weights: The file.
        recipe: Which videos, and how to look at them.
        console: Where to print.

    Returns:
        The scores.

    Raises:
        ValueError: If weights and data do not go together, or the split is not there.
    """
    model = load_model(weights)
    annotations = recipe.data.annotations
    samples = read_samples(Path(recipe.data.root), annotations=Path(annotations) if annotations else None)
    _check_classes(samples, class_names=model.spec.class_names)
    chosen, words = choose_samples(samples, split=recipe.split, metadata=read_metadata(weights))
    console.print(f"data: {recipe.data.root}: {words}", soft_wrap=True, highlight=False, markup=False)
    absent = sorted(set(model.spec.class_names) - {sample.class_name for sample in chosen})
    if absent:
        console.print(f"data: no video of {listed(absent)}", soft_wrap=True, highlight=False, markup=False)
    evaluation = evaluate(
        model,
        chosen,
        views=grid_views(model.spec, num_clips=recipe.views.num_clips, num_crops=recipe.views.num_crops),
        protocol=protocol_name(recipe.views.num_clips, recipe.views.num_crops),
        batch_size=recipe.batch_size,
        num_workers=choose_workers(recipe.data.num_workers, num_videos=len(chosen)),
        progress=console.is_terminal,
    )
    console.print(evaluation_table(evaluation))
    return evaluation


def choose_samples(samples: Sequence[Sample], *, split: str, metadata: Mapping[str, str]) -> tuple[list[Sample], str]:
    """Picks the part of a dataset that is scored.

    Args:
        samples: All videos of the dataset.
        split: `auto`, `train`, `val`, `test` or `all`.
        metadata: Of the weights file: the recipe of its split, and the hash of the data it was trained on.

    Returns:
        The samples, and words for what they are.

    Raises:
        ValueError: If there is no such part.
    """
    own = sorted({sample.split for sample in samples if sample.split})
    same_data = json.loads(metadata.get("fingerprint", "{}")).get("data") == hash_data(samples)
    if split == "all" or (split == "auto" and not own and not same_data):
        reason = (
            ""
            if split == "all"
            else " (not the data trained on, though some of them may have been, and without a split of its own)"
        )
        return list(samples), f"all {len(samples)} videos{reason}"
    if split == "test":
        chosen = [sample for sample in samples if sample.split == "test"]
    elif "recipe" not in metadata:
        raise ValueError(f"split must be all for weights without a recipe, got {split}; add --split all")
    else:
        recipe = recipe_from_dict(json.loads(metadata["recipe"]), source="the recipe of the weights")
        parts = dict(zip(("train", "val"), split_recipe_samples(samples, recipe), strict=True))
        chosen = parts["train" if split == "train" else "val"]
    if not chosen:
        known = ", ".join(own) or "none of its own"
        raise ValueError(f"split must be a part of the data that has videos, got {split}; the data has {known}")
    name = "held-out" if split in ("auto", "val") else split
    warning = "" if same_data or own else "; not the data trained on, so that some of them may have been trained on"
    return chosen, f"{len(chosen)} {name} videos of {len(samples)}{warning}"


def evaluation_table(evaluation: Evaluation) -> Table:
    """Lays out the scores, with the name of their protocol."""
    low, high = evaluation.interval
    table = Table("score", "value", title=evaluation.protocol)
    table.add_row("videos", f"{evaluation.num_clips} of {len(evaluation.labels.unique())} classes")
    if evaluation.errors:
        table.add_row("unreadable, counted as wrong", f"{len(evaluation.errors)}")
    table.add_row("top-1", f"{evaluation.top1:.1%} (95 % interval {low:.1%} to {high:.1%})")
    table.add_row(f"top-{min(5, len(evaluation.class_names))}", f"{evaluation.top5:.1%}")
    table.add_row("mean class accuracy", f"{evaluation.mean_class:.1%}")
    return table


def _check_classes(samples: Sequence[Sample], *, class_names: Sequence[str]) -> None:
    """Refuses data with classes that the weights do not know.

    Raises:
        ValueError: If there are any; it names them.
    """
    unknown = sorted({sample.class_name for sample in samples} - set(class_names))
    if unknown:
        raise ValueError(
            f"classes of the data must be known to the weights, got {listed(unknown)}; "
            f"{nearest(unknown[0], class_names)}"
        )
