"""What every result says beside its numbers: machine, versions, commit; and where it is kept."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kinema.engine.fingerprint import commit
from kinema.engine.machine import cpu_model, num_cores

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("kinema", "torch", "torchvision", "timm", "numpy")


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
