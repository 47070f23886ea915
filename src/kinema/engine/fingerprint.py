"""What a run depended on, for the weights file: kind of machine, versions, commit, data, seed; no local paths."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kinema.data.annotations import Sample
from kinema.data.shards import member_of
from kinema.data.video import VideoError

PACKAGES = ("kinema", "torch", "torchvision", "timm", "lightning", "av", "numpy")


def fingerprint(samples: Sequence[Sample], *, seed: int) -> dict[str, str | int | None]:
    """Returns what the numbers of a run depend on, beside its recipe."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
        "commit": commit(),
        "data": hash_data(samples),
        "seed": seed,
    }


def hash_data(samples: Sequence[Sample]) -> str:
    """Hashes name, class, split, group and size in bytes of each sample; contents are not read."""
    digest = hashlib.sha256()
    for sample in sorted(samples, key=lambda item: item.name):
        size = _size(sample.path)
        digest.update(repr((sample.name, sample.class_name, sample.split, sample.group, size)).encode())
    return digest.hexdigest()[:16]


def _size(path: Path) -> int:
    """Returns the bytes of a file, or of all files of a folder of frames.

    Raises:
        VideoError: If there is nothing at the path.
    """
    member = member_of(path)
    if member is not None:
        return member.size
    try:
        return path.stat().st_size if path.is_file() else sum(entry.stat().st_size for entry in path.iterdir())
    except OSError as error:
        reason = "is a link to nothing" if path.is_symlink() else f"cannot be read ({error.strerror})"
        raise VideoError(f"{path}: {reason}; mend or remove it") from error


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
