"""Scores a weights file on a dataset: on the very split that it was trained with, where that split was ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinema.data.annotations import Sample, class_names_of, describe_format, select, split_mask
from kinema.data.mirror import Mirrors, find_mirrors
from kinema.data.views import grid_views, protocol_name
from kinema.engine.class_names import compare_classes
from kinema.engine.device import choose_device
from kinema.engine.evaluate import Evaluation, evaluate
from kinema.engine.fingerprint import hash_data
from kinema.engine.memory import enough_memory, evaluation_sentence
from kinema.engine.processes.joining import together
from kinema.engine.processes.ranks import is_main
from kinema.engine.read_data import read_place, read_place_quarantine
from kinema.engine.recipe import DataRecipe, EvaluationRecipe, Recipe
from kinema.engine.recipe.files import recipe_from_dict
from kinema.engine.training.data import choose_workers, split_recipe_samples
from kinema.models.weights import load_model, read_metadata
from kinema.wording import listed


def evaluate_weights(weights: str | Path, recipe: EvaluationRecipe, *, console: Console) -> Evaluation:
    """Scores a weights file and prints the scores with the name of their protocol; under torchrun in all processes.

    Args:
        weights: The file, or another name of it that `load_model` takes.
        recipe: Which videos, and how to look at them.
        console: Where to print.

    Returns:
        The scores.

    Raises:
        ValueError: If weights and data do not go together, or the split is not there.
        RunError: If memory is not enough.
    """
    with together(recipe.accelerator), enough_memory(partial(evaluation_sentence, recipe)):
        return _evaluate(weights, recipe, console=console if is_main() else Console(quiet=True))


def _evaluate(weights: str | Path, recipe: EvaluationRecipe, *, console: Console) -> Evaluation:
    """Scores a weights file in this process, which may be one of several."""
    model = load_model(weights).to(choose_device(recipe.accelerator))
    annotations = read_place(recipe.data)
    samples, format = annotations.samples, describe_format(annotations.format, annotations.files)
    for line in compare_classes(annotations, model.spec):
        console.print(f"data: {line}", soft_wrap=True, highlight=False, markup=False)
    metadata = read_metadata(weights)
    chosen, words = choose_samples(samples, split=recipe.split, metadata=metadata)
    check_answers(chosen, split=recipe.split)
    if (quarantine := read_place_quarantine(recipe.data)) is not None:
        words = f"{words}; {quarantine.describe(chosen)}"
        chosen = quarantine.keep(chosen)
    console.print(f"data: {recipe.data.root}: {format}: {words}", soft_wrap=True, highlight=False, markup=False)
    absent = sorted(set(model.spec.class_names) - class_names_of(chosen))
    if absent:
        console.print(f"data: no video of {listed(absent)}", soft_wrap=True, highlight=False, markup=False)
    evaluation = evaluate(
        model,
        chosen,
        views=grid_views(
            model.spec,
            num_clips=recipe.views.num_clips,
            num_crops=recipe.views.num_crops,
            mirrors=trained_mirrors(metadata, class_names=model.spec.class_names),
        ),
        protocol=protocol_name(recipe.views.num_clips, recipe.views.num_crops, sampling=model.spec.sampling),
        batch_size=recipe.batch_size,
        num_workers=choose_workers(recipe.data.num_workers, num_videos=len(chosen)),
        progress=console.is_terminal,
        together=True,
    )
    console.print(evaluation_table(evaluation))
    return evaluation


def choose_samples(
    samples: Sequence[Sample], *, split: str, metadata: Mapping[str, str]
) -> tuple[Sequence[Sample], str]:
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
    own = {split for split in ("train", "val", "test") if split_mask(samples, split).any()}
    cut = "val" not in own and ("train" in own or not own)  # nothing is held out but what a recipe cuts off
    recipe = _recipe_of_these(samples, metadata) if cut else Recipe(data=DataRecipe(val_fraction=0.0))
    if split == "auto" and recipe is None:
        split = "test" if "test" in own else "all"
    if split == "all":
        trained = _recipe_of_these(samples, metadata) is not None
        warning = ", some of which were trained on" if trained else ", some of which may have been trained on"
        return samples, f"all {len(samples)} videos{warning}"
    if split == "test":
        chosen = select(samples, split_mask(samples, "test"))
    elif recipe is None:
        raise ValueError(
            f"split must be {'test or ' if 'test' in own else ''}all for data that has no val part and was not trained "
            f"on by these weights as it is, got {split}; take that, or add a val part"
        )
    else:
        chosen = split_recipe_samples(samples, recipe)[0 if split == "train" else 1]
    if not chosen:
        raise ValueError(
            f"split must be a part of the data that has videos, got {split}; the data has "
            f"{listed(sorted(own)) or 'no parts of its own'}"
        )
    name = {"train": "training", "test": "test"}.get(split, "held-out")
    return chosen, f"{len(chosen)} {name} videos of {len(samples)}"


def trained_mirrors(metadata: Mapping[str, str], *, class_names: Sequence[str]) -> Mirrors:
    """Returns what a flip makes of the classes of weights: as the recipe in their metadata says, else as names tell."""
    recipe = json.loads(metadata.get("recipe", "{}"))
    return find_mirrors(class_names, overrides=recipe.get("data", {}).get("mirrors", {}))


def _recipe_of_these(samples: Sequence[Sample], metadata: Mapping[str, str]) -> Recipe | None:
    """Returns the recipe that weights were trained by, if that was on these very videos."""
    trained_on = json.loads(metadata.get("fingerprint", "{}")).get("data")
    if "recipe" not in metadata or trained_on != hash_data(samples):
        return None
    return recipe_from_dict(json.loads(metadata["recipe"]), source="the recipe of the weights")


def evaluation_table(evaluation: Evaluation) -> Table:
    """Lays out the scores, with the name of their protocol."""
    low, high = evaluation.interval
    table = Table("score", "value", title=evaluation.protocol)
    table.add_row("videos", f"{evaluation.num_clips} of {len(evaluation.labels.unique())} classes")
    if evaluation.errors:
        table.add_row("unreadable, counted as wrong", f"{len(evaluation.errors)}")
    if evaluation.mean_average_precision is not None:
        return _add_precision(table, evaluation)
    table.add_row("top-1", f"{evaluation.top1:.1%} (95 % interval {low:.1%} to {high:.1%})")
    table.add_row(f"top-{min(5, len(evaluation.class_names))}", f"{evaluation.top5:.1%}")
    table.add_row("mean class accuracy", f"{evaluation.mean_class:.1%}")
    return table


def check_answers(samples: Sequence[Sample], *, split: str) -> None:
    """Refuses to score videos whose classes are kept back, as in the test lists of some datasets.

    Raises:
        ValueError: If there are any.
    """
    blank = [sample.name for sample in samples if not sample.class_name]
    if blank:
        raise ValueError(
            f"split must be a part of the data whose classes are known, got {split}, with {len(blank)} videos without "
            f"one, such as {blank[0]}; take another split, or add the answers to the annotations"
        )


def _add_precision(table: Table, evaluation: Evaluation) -> Table:
    """Adds the scores of videos that may show several classes."""
    pairs = zip(evaluation.class_names, evaluation.average_precision, strict=True)
    known = {name: value for name, value in pairs if value is not None}
    best, worst = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    table.add_row("mean average precision", f"{evaluation.mean_average_precision:.1%} over {len(known)} classes")
    table.add_row("highest and lowest", f"{known[best]:.1%} ({best}) and {known[worst]:.1%} ({worst})")
    return table
