"""A dataset that tells how much memory a worker process needed to get at a table of samples."""

from __future__ import annotations

import hashlib
import os
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from kinema.data.annotations import SampleTable


def private_mb() -> float:
    """Memory that this process shares with no other, and that no file stands for."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) / 1e3


class SharedTable(Dataset[dict[str, Any]]):
    """Each item says what was sent to its worker, and how its memory grew by that and by reading all names."""

    def __init__(self, table: SampleTable) -> None:
        self.table = table
        self.before: float | None = None
        self.num_bytes = 0

    def __getstate__(self) -> bytes:
        return bytes(ForkingPickler.dumps(self.table))

    def __setstate__(self, state: bytes) -> None:
        self.before, self.num_bytes = private_mb(), len(state)
        self.table = ForkingPickler.loads(state)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        before = private_mb() if self.before is None else self.before
        digest = hashlib.sha256()
        for name in self.table.names():
            digest.update(name.encode())
        growth = private_mb() - before
        return {
            "sample": self.table[index],
            "names": digest.hexdigest(),
            "growth": growth,
            "num_bytes": self.num_bytes,
            "pid": os.getpid(),
        }
