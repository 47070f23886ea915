"""Recipes: all numbers of a run."""

from __future__ import annotations

from kinema.engine.recipe.augment import AugmentRecipe
from kinema.engine.recipe.clip import ClipRecipe
from kinema.engine.recipe.data import DataPlace, DataRecipe
from kinema.engine.recipe.evaluation import EvaluationRecipe, EvaluationViews
from kinema.engine.recipe.model import ModelRecipe, check_layer_options
from kinema.engine.recipe.optimizer import OptimizerRecipe
from kinema.engine.recipe.run import Recipe
from kinema.engine.recipe.trainer import Accelerator, Precision, TrainerRecipe

__all__ = [
    "Accelerator",
    "AugmentRecipe",
    "ClipRecipe",
    "DataPlace",
    "DataRecipe",
    "EvaluationRecipe",
    "EvaluationViews",
    "ModelRecipe",
    "OptimizerRecipe",
    "Precision",
    "Recipe",
    "TrainerRecipe",
    "check_layer_options",
]
