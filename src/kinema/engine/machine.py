"""What this machine computes with: processor, cores, GPUs."""

from __future__ import annotations

import os
import platform
from collections import Counter
from pathlib import Path

import torch


def cpu_model() -> str:
    """Returns the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_facts() -> dict[str, str | int | None]:
    """Returns the GPUs that torch sees, as in `2 x NVIDIA H200`, and with what it computes on them."""
    if not torch.cuda.is_available():
        return {"gpu": "none"}
    counts = Counter(torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count()))
    names = ", ".join(f"{count} x {name}" for name, count in counts.items())
    return {"gpu": names, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
