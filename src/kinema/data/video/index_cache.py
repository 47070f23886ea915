"""What the pass over a video file's packets found, kept between runs: opening the file again needs no second pass.

One entry a file, named by the hash of its absolute path, in `index` in the cache folder (`user_cache.py`). An entry is
of one state of the file (size, times of change, inode) and one FFmpeg; another one, or one that is damaged, is passed
over and written anew. A file changed less than some seconds ago is not remembered, for the clock of its file system may
be too coarse to show the next change.

Where the decoder gives the same first and last keyframe from the file's bytes as through the container, the container
is not even opened. The cache is never needed: where it cannot be written, files are indexed as if there were none.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import zlib
from array import array
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from kinema.data.user_cache import cache_folder
from kinema.data.video.indexing import IndexedFile, StreamFacts
from kinema.data.video.packet_index import PacketIndex
from kinema.data.video.packet_source import BarePackets, DecoderSettings, KeptPackets, PacketSource, SoughtPackets
from kinema.data.video.stream import display_matrix, open_stream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MAGIC: Final = b"kinema index 1\n"
_COLUMNS: Final = ("pts", "dts", "positions", "places", "sizes", "keys")
_SETTLED_NS: Final = 3_000_000_000
_MAX_HEADER: Final = 64  # of a Matroska block
_WHOLE_BYTES: Final = 64 * 2**20  # a larger file, with much sound beside the pictures, is not searched for packets
_BARE_CODECS: Final = ("h264", "hevc", "mpeg4", "vp8", "vp9", "av1")


@dataclass(frozen=True)
class CacheEntry:
    """A file's index with what decoding it needs."""

    facts: StreamFacts
    """What is in the file."""
    index: PacketIndex
    """Its packets, of a regular stream."""
    num_frames: int
    """How many frames it gives."""
    settings: DecoderSettings | None
    """How to decode it without its container; None where that is not proven to give the same."""

    def source(self, path: Path) -> PacketSource | None:
        """Open where the packets come from; None for a file that is decoded in sequence."""
        if self.facts.sequential_reason is not None:
            return None
        if self.settings is not None:
            return BarePackets(path, self.settings, self.index)
        return SoughtPackets(path, *open_stream(path), self.index)


def state_of(path: Path) -> dict[str, Any] | None:
    """Describe a file so that another state of it is described otherwise; None where it cannot be looked at."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return {
        "path": os.fsencode(path.absolute()).hex(),
        "size": stat.st_size,
        "mtime": stat.st_mtime_ns,
        "ctime": stat.st_ctime_ns,
        "inode": stat.st_ino,
        "ffmpeg": [av.__version__, *map(list, (av.library_versions[name] for name in sorted(av.library_versions)))],
    }


def load(path: Path, state: dict[str, Any]) -> CacheEntry | None:
    """Read a file's entry; None where there is none, or none for this state of the file.

    Args:
        path: The video file.
        state: The state that it is in.
    """
    entry_path = _entry_path(path)
    if entry_path is None:
        return None
    try:
        content = entry_path.read_bytes()
        return _unpack(content, state)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, zlib.error):
        return None


def store(path: Path, state: dict[str, Any], file: IndexedFile, num_frames: int) -> None:
    """Write a file's entry, whole or not at all; nothing is said where it cannot be written.

    Args:
        path: The video file.
        state: The state that it was in before it was read.
        file: What was found in it.
        num_frames: How many frames it gives.
    """
    entry_path = _entry_path(path)
    if entry_path is None or time.time_ns() - max(state["mtime"], state["ctime"]) < _SETTLED_NS:
        return
    with suppress(OSError):
        content = _pack(CacheEntry(file.facts, file.index, num_frames, _prove_bare(path, file)), state)
        entry_path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=entry_path.parent, prefix=".index")
        try:
            with os.fdopen(handle, "wb") as partial:
                partial.write(content)
            Path(name).replace(entry_path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def forget(path: Path) -> None:
    """Remove a file's entry."""
    entry_path = _entry_path(path)
    if entry_path is not None:
        with suppress(OSError):
            entry_path.unlink(missing_ok=True)


def _entry_path(path: Path) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    name = sha256(os.fsencode(path.absolute())).hexdigest()
    return folder / "index" / name[:2] / f"{name[2:40]}.index"


def _pack(entry: CacheEntry, state: dict[str, Any]) -> bytes:
    index = entry.index if entry.facts.sequential_reason is None else PacketIndex()
    columns = [np.frombuffer(getattr(index, name), np.int64) for name in _COLUMNS]
    columns += [np.frombuffer(index.shown, np.uint8).astype(np.int64), np.array(sorted(index.disposable), np.int64)]
    settings = None if entry.settings is None else asdict(entry.settings)
    if settings is not None and settings["extradata"] is not None:
        settings["extradata"] = settings["extradata"].hex()
    header = {
        "state": state,
        "facts": asdict(entry.facts),
        "num_frames": entry.num_frames,
        "settings": settings,
        "first_tells_encoder": index.first_tells_encoder,
        "lengths": [len(column) for column in columns],
    }
    # Steps are small numbers, which pack well.
    steps = np.concatenate([np.diff(column, prepend=np.int64(0)) for column in columns])
    body = json.dumps(header).encode() + b"\n" + zlib.compress(steps.tobytes(), 1)
    return _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def _unpack(content: bytes, state: dict[str, Any]) -> CacheEntry | None:
    start = len(_MAGIC) + 4
    crc = int.from_bytes(content[len(_MAGIC) : start], "little")
    if not content.startswith(_MAGIC) or zlib.crc32(content[start:]) != crc:
        return None
    end = content.index(b"\n", start)
    header = json.loads(content[start:end])
    if header["state"] != state:
        return None
    steps = np.frombuffer(zlib.decompress(content[end + 1 :]), np.int64)
    columns = [np.cumsum(column) for column in np.split(steps, np.cumsum(header["lengths"])[:-1])]
    index = PacketIndex()
    for name, column in zip(_COLUMNS, columns, strict=False):
        getattr(index, name).frombytes(column.tobytes())
    index.shown.extend(columns[-2].astype(np.uint8).tobytes())
    index.disposable = frozenset(columns[-1].tolist())
    index.first_tells_encoder = header["first_tells_encoder"]
    index.order_frames()
    if index.places and int((columns[3] + columns[4]).max()) > state["size"]:
        return None
    settings = header["settings"]
    if settings is not None and settings["extradata"] is not None:
        settings["extradata"] = bytes.fromhex(settings["extradata"])
    return CacheEntry(
        StreamFacts(**header["facts"]),
        index,
        header["num_frames"],
        None if settings is None else DecoderSettings(**settings),
    )


def _prove_bare(path: Path, file: IndexedFile) -> DecoderSettings | None:
    """Give the decoder's settings if the packets and frames are the same without the container."""
    facts, index, source = file.facts, file.index, file.source
    if (
        facts.sequential_reason is not None
        or facts.codec_name not in _BARE_CODECS
        or not index.plain
        or not isinstance(source, KeptPackets)
        or path.stat().st_size > _WHOLE_BYTES
    ):
        return None
    index.places = _places(path.read_bytes(), source.packets(range(len(index.sizes))), index.positions)
    if not index.places:
        return None
    try:
        settings = DecoderSettings.of(source.context)
        with closing(BarePackets(path, settings, index)) as bare:
            for key in sorted({index.keys[0], index.keys[-1]}):
                through, alone = (_decode_key(one, key, facts.reorder_depth) for one in (source, bare))
                if len(through) != len(alone) or not all(map(_look_alike, through, alone)):
                    return None
    except (av.FFmpegError, OSError, ValueError, TypeError):
        return None
    return settings


def _places(content: bytes, packets: Iterable[Packet[VideoStream]], positions: Iterable[int]) -> array[int]:
    """Find each packet's bytes in the file, at its position or a little behind; none where one is not there."""
    places = array("q")
    for packet, position in zip(packets, positions, strict=True):
        data = bytes(packet)
        place = content.find(data, position, position + len(data) + _MAX_HEADER) if position >= 0 else -1
        if place < 0:
            return array("q")
        places.append(place)
    return places


def _decode_key(source: PacketSource, key: int, reorder_depth: int) -> list[VideoFrame]:
    context: VideoCodecContext = source.context
    try:
        frames = [frame for packet in source.packets([key]) for frame in context.decode(packet)]
        return frames + context.decode(None)
    finally:
        context.flush_buffers()
        context.reorder_depth = reorder_depth


def _look_alike(one: VideoFrame, other: VideoFrame) -> bool:
    if (one.pts, one.format.name, display_matrix(one)) != (other.pts, other.format.name, display_matrix(other)):
        return False
    # By one thread: a worker that is forked while a converter has threads would wait for them when it lets go of it.
    pictures = [VideoReformatter().reformat(frame, format="rgb24", threads=1).to_ndarray() for frame in (one, other)]
    return np.array_equal(pictures[0], pictures[1])
