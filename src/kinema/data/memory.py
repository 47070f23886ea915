"""How much memory a process may still take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

MEMINFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUP = Path("/sys/fs/cgroup")


class _Names(NamedTuple):
    """The files and the line in which a version of control groups says what memory a group has."""

    limit: str
    used: str
    inactive: str


_V2: Final = _Names("memory.max", "memory.current", "inactive_file")
_V1: Final = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory() -> int:
    """Returns the bytes that can be had without others being pushed out; limits of containers and groups count.

    Where a system tells neither, it is half of what is built in.
    """
    bounds = [bound for bound in (_of_machine(), _of_groups()) if bound is not None]
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


def _of_groups() -> int | None:
    """Reads what the limits of this process's groups leave, of the inner one and of all around it."""
    left = [_left_in(folder, names) for folders, names in _groups() for folder in folders]
    return min((bound for bound in left if bound is not None), default=None)


def _groups() -> Iterator[tuple[list[Path], _Names]]:
    """Gives the folders of the groups of this process, from the innermost up, and how their files are named."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = ["0::/"]
    for line in lines:
        _, kinds, path = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if kinds == "":
            yield _upwards(GROUP, path), _V2
        elif "memory" in kinds.split(","):
            yield _upwards(GROUP / "memory", path), _V1


def _upwards(root: Path, path: str) -> list[Path]:
    """Returns the folder of a group and those around it, up to the root; a container sees its own as the root."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return [root.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def _left_in(group: Path, names: _Names) -> int | None:
    """Reads what the limit of a group leaves; pages of files that can be let go are not counted as taken."""
    try:
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in (names.limit, names.used))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        return limit - used + int(stat[names.inactive])
    except (OSError, ValueError, KeyError):  # `max` is no number, and no limit
        return None


def _built_in() -> int:
    """Returns the memory of the machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30
