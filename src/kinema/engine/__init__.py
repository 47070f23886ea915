"""Recipes, training and evaluation: the lowest floor that sees both models and data."""
