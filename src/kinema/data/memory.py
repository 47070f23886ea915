"""How much memory a process may still take."""

from __future__ import annotations

import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Returns the bytes that can be had without others being pushed out; a container's limit counts.

    Where a system tells neither, it is half of what is built in.
    """
    bounds = [bound for bound in (_of_machine(), _of_group()) if bound is not None]
    return max(0, min(bounds)) if bounds else _built_in() // 2


def gigabytes(num_bytes: float) -> str:
    """Writes bytes for a person: `0.96 GB`, `23 GB`."""
    return f"{num_bytes / 1e9:.2g} GB" if num_bytes < 99e9 else f"{num_bytes / 1e9:.0f} GB"


def _of_machine() -> int | None:
    """Reads what the machine has to give."""
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _of_group() -> int | None:
    """Reads what a container's limit leaves; pages of files that can be let go are not counted as taken."""
    try:
        limit, used = (int((GROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return limit - used + int(stat["inactive_file"])
    except (OSError, ValueError, KeyError):  # `max` is no number, and no limit
        return None


def _built_in() -> int:
    """Returns the memory of the machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30
