"""The file of a video's decoded frames.

A header says length, rate and size; then come a mark for each frame, and the frames at fixed places, so that those that
are absent take no room. A mark holds its frame's checksum and is written last: processes may write at once, and what a
power cut or a kill left half done is as if it were not there.

Shapes: H height, W width, C channels (3, of flow 2).
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC: Final = b"kinema frames 1\n"
_MARK: Final = struct.Struct("<II")  # whether the frame is there, and its checksum
_PAGE: Final = 4096
HALF: Final = ".frames"
"""How the name of a file begins until it is whole."""


class KeptFrames:
    """The file of a video's frames."""

    def __init__(self, file: BinaryIO, header: dict[str, Any], *, start: int) -> None:
        """Takes over an open file, whose marks begin at a place."""
        self._file, self._marks = file, start
        self.fps: float = header["fps"]
        self.codec_name: str = header["codec_name"]
        self.container_name: str = header["container_name"]
        self.sequential_reason: str | None = header["sequential_reason"]
        self._length: int = header["length"]
        self._shape = tuple(header["shape"])
        self._bytes = int(np.prod(self._shape))
        self._frames = -(-(start + self._length * _MARK.size) // _PAGE) * _PAGE

    @classmethod
    def open(cls, path: Path) -> KeptFrames | None:
        """Opens a file; none where there is none, or another thing."""
        try:
            file = open(path, "r+b", buffering=0)  # noqa: PTH123, SIM115 (it stays open)
        except OSError:
            return None
        try:
            head = file.read(_PAGE)
            magic, line = head[: len(_MAGIC)], head[len(_MAGIC) :].partition(b"\n")[0]
            if magic == _MAGIC:
                return cls(file, json.loads(line), start=len(_MAGIC) + len(line) + 1)
        except (OSError, ValueError, LookupError, TypeError):
            pass
        file.close()
        return None

    @classmethod
    def create(cls, path: Path, header: dict[str, Any]) -> KeptFrames:
        """Makes a file without frames; one that another process has made meanwhile is replaced.

        Raises:
            OSError: If it cannot be written.
        """
        line = json.dumps(header).encode() + b"\n"
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=HALF)
        file = os.fdopen(handle, "r+b", buffering=0)
        try:
            kept = cls(file, header, start=len(_MAGIC) + len(line))
            file.write(_MAGIC + line)
            file.truncate(kept._frames)
            Path(name).replace(path)
        except BaseException:
            file.close()
            Path(name).unlink(missing_ok=True)
            raise
        return kept

    def __len__(self) -> int:
        return self._length

    def read(self, number: int) -> NDArray[np.uint8] | None:
        """Reads a frame [H, W, C]; none where it is not there, or not whole."""
        mark, frame = bytearray(_MARK.size), np.empty(self._shape, np.uint8)
        try:
            if not self._get(self._marks + number * _MARK.size, memoryview(mark)):
                return None
            there, checksum = _MARK.unpack(mark)
            if there != 1 or not self._get(self._frames + number * self._bytes, frame.data.cast("B")):
                return None
        except OSError:
            return None
        return frame if zlib.crc32(frame.data) == checksum else None

    def write(self, number: int, frame: NDArray[np.uint8]) -> None:
        """Writes a frame, and then its mark.

        Raises:
            OSError: If the disk is full.
        """
        pixels = np.ascontiguousarray(frame)
        if pixels.shape != self._shape:
            return
        self._put(self._frames + number * self._bytes, pixels.data.cast("B"))
        self._put(self._marks + number * _MARK.size, memoryview(_MARK.pack(1, zlib.crc32(pixels.data))))

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def _get(self, place: int, into: memoryview) -> bool:
        """Fills a buffer; says whether there was enough."""
        self._file.seek(place)
        done = 0
        while done < len(into):
            count = self._file.readinto(into[done:])  # type: ignore[attr-defined]
            if not count:
                return False
            done += count
        return True

    def _put(self, place: int, content: memoryview) -> None:
        self._file.seek(place)
        while content:
            content = content[self._file.write(content) :]
