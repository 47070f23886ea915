"""Weights of other projects: reading them without letting them run, and turning them into our own."""

from kinema.models.foreign.convert import ImportReport, import_weights

__all__ = ["ImportReport", "import_weights"]
