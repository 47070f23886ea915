"""What a run depended on: machine, versions, commit, data, seed; no local paths, no names of machines."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kinema.data.annotations import Sample, by_name
from kinema.data.annotations.overview import facts_of
from kinema.data.video.shards import member_of
from kinema.engine.machine import cpu_model, gpu_facts, num_cores

PACKAGES = ("kinema", "torch", "torchvision", "timm", "lightning", "av", "numpy")
MAX_SIZES = 10_000
"""Sizes of videos that the hash of a dataset holds, at most."""


def fingerprint(samples: Sequence[Sample], *, seed: int) -> dict[str, str | int | None]:
    """Returns what the numbers of a run depend on, beside its recipe."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": num_cores(),
        **gpu_facts(),
        "python": platform.python_version(),
        **versions,
        "commit": commit(),
        "data": hash_data(samples),
        "seed": seed,
    }


def hash_data(samples: Sequence[Sample]) -> str:
    """Hashes name, classes, split, group and size of each sample, none for a missing one; contents are not read.

    Of more than `MAX_SIZES` samples, the sizes of so many are taken, spread evenly over their names: asking a file
    server for a million of them would take longer than an epoch.
    """
    ordered = by_name(samples)
    num_sizes = min(len(ordered), MAX_SIZES)
    measured = iter([*(place * len(ordered) // num_sizes for place in range(num_sizes)), -1])
    digest = hashlib.sha256()
    following = next(measured)
    for place, facts in enumerate(facts_of(ordered)):
        size = None
        if place == following:
            size, following = size_of(ordered[place].path), next(measured)
        digest.update(repr((*facts, size)).encode())
    return digest.hexdigest()[:16]


def size_of(path: Path) -> int | None:
    """Returns the bytes of a file, or how many entries a folder of frames has; none if there is nothing to be read."""
    member = member_of(path)
    if member is not None:
        return member.size
    try:
        return path.stat().st_size if path.is_file() else len(os.listdir(path))  # noqa: PTH208 (names alone: fast)
    except OSError:
        return None


def commit() -> str | None:
    """Returns the git commit of the running code, with `+changes` if it was edited since; none if git knows neither."""
    folder = Path(__file__).resolve().parents[1]
    if _git(folder, "ls-files", "--error-unmatch", "spec.py") is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--", ".")
    head = _git(folder, "rev-parse", "HEAD")
    return f"{head}+changes" if head and changed else head


def _git(folder: Path, *arguments: str) -> str | None:
    """Returns what git prints, or none if it fails or is not there."""
    try:
        run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def _version(package: str) -> str | None:
    """Returns the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
