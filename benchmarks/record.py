"""What every result says beside its numbers: machine, versions, commit; and where it is kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kinema.engine.fingerprint import commit

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("kinema", "torch", "torchvision", "timm", "numpy")


def cpu_model() -> str:
    """Returns the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Returns minimum and median in milliseconds."""
    return {"min_ms": 1e3 * min(seconds), "median_ms": 1e3 * statistics.median(seconds)}


def write_result(name: str, *, kind: str, settings: dict[str, Any], gpu: str | None, **numbers: object) -> Path:
    """Writes `results/<name>.json`.

    Args:
        name: Name of the file; one for each machine and setting that is worth keeping.
        kind: Which script measured; `table.py` has a table for each kind.
        settings: What was asked for.
        gpu: Name of the GPU that was used.
        **numbers: What was measured.

    Returns:
        The file.
    """
    result = {
        "kind": kind,
        "machine": {"cpu": cpu_model(), "cores": num_cores(), "gpu": gpu, "system": platform.system()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "commit": commit(),
        "settings": settings,
        **numbers,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
