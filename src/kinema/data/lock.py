"""Keeps a second process out of a folder that one fills."""

from __future__ import annotations

from typing import IO, Any


def lock_file(file: IO[Any], *, refusal: str) -> None:
    """Locks a file until it is closed, or its process ends, however it ends; on Windows nothing is locked.

    Args:
        file: An open file.
        refusal: The sentence to refuse with.

    Raises:
        ValueError: If another process, or another open file of this one, has locked it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ValueError(refusal) from error
