"""The error of a run that cannot go on, though nothing that it was given is wrong in itself."""

from __future__ import annotations


class RunError(RuntimeError):
    """Says in one sentence why a run cannot go on, and what to change."""
