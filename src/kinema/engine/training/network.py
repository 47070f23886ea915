"""The network of a run, with its first weights."""

from __future__ import annotations

from dataclasses import replace

import lightning as L
from rich.console import Console

from kinema.engine.recipe import Recipe
from kinema.engine.speech import say, warn
from kinema.engine.training.data import TrainingData, training_spec
from kinema.engine.training.optimizing.freezing import freeze
from kinema.models.classifier import VideoClassifier, create_model
from kinema.models.weights import initialize_from


def make_model(recipe: Recipe, data: TrainingData, *, fresh: bool, console: Console) -> tuple[VideoClassifier, Recipe]:
    """Builds the network with its first weights, of which some may be frozen; returns the recipe with that choice made.

    Where a checkpoint brings the weights (not fresh), none are looked for.
    """
    choice = recipe.model.pretrained if fresh and not recipe.model.init else False
    try:
        model = _create(recipe, data, pretrained=True if choice == "auto" else choice)
    except ValueError as error:
        if choice != "auto":
            raise
        model = _create(recipe, data, pretrained=False)
        choice = False
        name, reason = recipe.model.backbone, error.__cause__ or error
        warn(
            console,
            f"RANDOM WEIGHTS: the published weights of {name} cannot be had ({reason})",
            "  training takes longer and needs more data: connect to the network, or start from --model.init FILE",
        )
    lines = initialize_from(model, recipe.model.init) if recipe.model.init and fresh else model.notes
    for line in lines:
        say(console, line)
    freeze(model, recipe)
    if not fresh:
        return model, recipe
    choice = True if choice == "auto" else choice
    return model, replace(recipe, model=replace(recipe.model, pretrained=choice))


def _create(recipe: Recipe, data: TrainingData, *, pretrained: bool | str) -> VideoClassifier:
    """Builds the network of a recipe, always with the same random weights."""
    L.seed_everything(recipe.seed, verbose=False)
    model = create_model(
        recipe.model.backbone,
        temporal=recipe.model.temporal,
        num_frames=recipe.clip.num_frames,
        num_classes=len(data.class_names),
        modality=recipe.clip.modality,
        stack=recipe.clip.stack,
        pretrained=pretrained,
        dropout=recipe.model.dropout,
        causal=recipe.model.causal,
        head=recipe.model.head,
        **recipe.model.options,
    )
    model.spec = training_spec(model.spec, recipe, data)
    return model
