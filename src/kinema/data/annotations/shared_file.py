"""Arrays that lie in a temporary file, which processes that are started afresh map instead of getting copies.

A file, because it has no bound of its own: the shared memory of a container is often 64 MB.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

_ALIGNMENT = 64


class SharedFile:
    """A value whose arrays were written to a temporary file; the file goes when this object does."""

    def __init__(self, value: object) -> None:
        """Writes the arrays of a value."""
        buffers: list[pickle.PickleBuffer] = []
        self._pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        self._spans: list[tuple[int, int]] = []
        with tempfile.NamedTemporaryFile(prefix="kinema-", delete=False) as file:
            weakref.finalize(self, _remove, Path(file.name), os.getpid())
            self._path = file.name
            for buffer in buffers:
                start = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
                file.seek(start)
                self._spans.append((start, file.write(buffer.raw())))

    @property
    def address(self) -> tuple[str, bytes, list[tuple[int, int]]]:
        """What another process passes to `open_shared`, in a few hundred bytes."""
        return self._path, self._pickled, self._spans


def open_shared(path: str, pickled: bytes, spans: list[tuple[int, int]]) -> Any:  # noqa: ANN401 (what was written)
    """Returns the value of a `SharedFile` of another process; its arrays are mapped, and cannot be written to."""
    whole: bytes | memoryview = b""
    if any(size for _, size in spans):
        with Path(path).open("rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return pickle.loads(pickled, buffers=[whole[start : start + size] for start, size in spans])


def _remove(path: Path, owner: int) -> None:
    """Removes a file, in the process that wrote it alone: a forked one drops a copy of the object."""
    if os.getpid() == owner:
        with suppress(OSError):  # some systems keep a file that is mapped; their temporary folder is cleared by itself
            path.unlink(missing_ok=True)
