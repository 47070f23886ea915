"""Where what was found out about files is kept for the next time."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Returns the folder that `KINEMA_CACHE` names, or else kinema's in the user's cache folder; none if turned off."""
    named = os.environ.get("KINEMA_CACHE")
    if named is not None:
        return None if named.lower() in ("", "0", "off") else Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "kinema"
    except RuntimeError:  # a user without a home, as in some containers
        return None
