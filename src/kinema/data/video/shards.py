"""Videos inside shards: members of tar files, on the disk or on an HTTP server, each read by its place in the file.

The path of such a video is `<shard>.tar/<offset>+<size>/<name of the member>`. The header that stands before a member
is read with it and held against that: a shard that is not the one of the index is found out, not decoded.
"""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

from kinema.data.video.base import VideoError
from kinema.data.video.http_range import read_url, url_of

BLOCK: Final = tarfile.BLOCKSIZE
_MEMBER: Final = re.compile(r"(?P<shard>.+\.tar)/(?P<offset>\d{1,15})\+(?P<size>\d{1,15})/(?P<name>.+)", re.DOTALL)


@dataclass(frozen=True)
class Member:
    """A file in a tar file."""

    shard: str
    """The tar file, or its address."""
    offset: int
    """Where its content begins."""
    size: int
    """Length of its content."""
    name: str
    """Its name in the tar file."""

    def path(self) -> Path:
        """Returns the path by which it is known."""
        return Path(f"{self.shard}/{self.offset}+{self.size}/{self.name}")

    def __str__(self) -> str:
        return f"{self.shard}/{self.name}"

    def open(self) -> BinaryIO:
        """Opens it for reading; one of a server is held in memory.

        Raises:
            VideoError: If it is not there.
        """
        if url_of(self.shard):
            return io.BytesIO(_fetch(self))
        try:
            file = open(self.shard, "rb")  # noqa: PTH123, SIM115 (the part closes it)
        except OSError as error:
            raise VideoError(f"{self}: the shard cannot be read ({error.strerror}); copy it again") from error
        try:
            file.seek(self.offset - BLOCK)
            self.check_header(file.read(BLOCK))
            end = file.seek(0, io.SEEK_END)
            if self.offset + self.size > end:
                raise VideoError(f"{self}: lies beyond the end of its shard; copy the shard again")
        except BaseException:
            file.close()
            raise
        return _Part(file, self)  # type: ignore[return-value]

    def check_header(self, header: bytes) -> None:
        """Holds the block before the content against what the index says.

        Raises:
            VideoError: If it is the header of something else.
        """
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self.changed() from error
        # A long name stands in a block before, and here only its beginning.
        own = self.name.encode("utf-8", "surrogateescape")[:90].isascii()
        if info.size != self.size or (own and not self.name.startswith(info.name.removeprefix("./")[:90])):
            raise self.changed()

    def changed(self) -> VideoError:
        """Returns the error that says that shard and index do not belong together."""
        return VideoError(f"{self}: is not where the index says, the shard has changed; copy shards and index again")


def member_of(path: str | Path) -> Member | None:
    """Returns what the path of a video in a shard says, or none for any other path."""
    text = str(path)
    match = _MEMBER.fullmatch(text) if ".tar/" in text else None
    if match is None or int(match["offset"]) < BLOCK:
        return None
    return Member(url_of(match["shard"]) or match["shard"], int(match["offset"]), int(match["size"]), match["name"])


def open_bytes(path: Path) -> BinaryIO:
    """Opens the bytes of a video: a file, or a member of a shard.

    Raises:
        VideoError: If a member is not there.
        OSError: If a file cannot be read.
    """
    member = member_of(path)
    return path.open("rb") if member is None else member.open()


def num_bytes(path: Path) -> int:
    """Returns the size of a video file, or of a member of a shard.

    Raises:
        OSError: If a file cannot be looked at.
    """
    member = member_of(path)
    return path.stat().st_size if member is None else member.size


@lru_cache(maxsize=1)
def _fetch(member: Member) -> bytes:
    """Reads a member from a server; kept until the next one is read, for a file may be opened twice."""
    try:
        content = read_url(member.shard, start=member.offset - BLOCK, size=BLOCK + member.size)
    except VideoError as error:
        raise VideoError(f"{member.name} in {error}") from error
    member.check_header(content[:BLOCK])
    return content[BLOCK:]


class _Part(io.RawIOBase):
    """A part of an open file, as a file of its own."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        self._file, self._start, self._size = file, member.offset, member.size
        self._place = 0
        self.name = str(member)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._place)
        wanted = left if size is None or size < 0 else min(size, left)
        self._file.seek(self._start + self._place)
        content = self._file.read(wanted)
        self._place += len(content)
        return content

    def close(self) -> None:
        self._file.close()
        super().close()
