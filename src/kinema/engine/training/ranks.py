"""Which of several processes of one run this is, as torchrun tells it."""

from __future__ import annotations

import os


def rank() -> int:
    """Returns the number of this process, from 0 on over all machines; 0 where it is alone."""
    return int(os.environ.get("RANK", "0"))


def num_ranks() -> int:
    """Returns how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Says whether this process is the one that writes files and speaks to a person."""
    return rank() == 0
