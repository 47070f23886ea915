"""One pass over the packets of a video file: what is in it, and from where its packets will be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import av

from kinema.data.video.base import ASSUMED_FPS, VideoError
from kinema.data.video.packet_index import PacketIndex
from kinema.data.video.packet_source import KeptPackets, PacketSource, SoughtPackets
from kinema.data.video.shards import num_bytes
from kinema.data.video.stream import open_stream
from kinema.data.video.unprobed import is_as_stated, open_unprobed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_BATCH_BYTES: Final = 2**20
_BATCH: Final = 512


@dataclass(frozen=True)
class StreamFacts:
    """What is known of a video stream once its packets were read."""

    codec_name: str
    """FFmpeg's name of the codec."""
    container_name: str
    """FFmpeg's name of the container."""
    width: int
    """Of the picture as stored."""
    height: int
    """Of the picture as stored."""
    reorder_depth: int
    """How many frames may wait for another that is shown before them."""
    fps: float
    """Frames per second."""
    sequential_reason: str | None
    """Why the packets do not prove which frame is which; None where they do."""


@dataclass(frozen=True)
class IndexedFile:
    """A file whose packets were read."""

    facts: StreamFacts
    """What is in it."""
    index: PacketIndex
    """Its packets."""
    source: PacketSource
    """Where they come from."""


def index_file(path: Path, *, kept_bytes: int) -> IndexedFile:
    """Open a file and read all its packets once, without decoding.

    Args:
        path: A file that exists.
        kept_bytes: Of packets that are kept in memory at most.

    Raises:
        VideoError: It is no video, or is cut off or damaged so that its frames cannot be counted.
    """
    opened = open_unprobed(path)
    if opened is not None:
        file = _index(path, *opened, kept_bytes=kept_bytes)
        if is_as_stated(file.source.context, file.index.first):
            return file
        file.source.close()
    return _index(path, *open_stream(path), kept_bytes=kept_bytes)


def _index(path: Path, container: InputContainer, stream: VideoStream, *, kept_bytes: int) -> IndexedFile:
    try:
        index = PacketIndex()
        kept = _read_packets(path, container, stream, index, kept_bytes)
        context = stream.codec_context
        container_name = container.format.name
        reason = index.irregularity(stream, container_name)
        facts = StreamFacts(
            codec_name=context.codec.canonical_name,
            container_name=container_name,
            width=context.width,
            height=context.height,
            reorder_depth=context.reorder_depth,
            fps=_rate(stream, index),
            sequential_reason=reason,
        )
    except BaseException:
        container.close()
        raise
    if kept is None:
        return IndexedFile(facts, index, SoughtPackets(path, container, stream, index))
    return IndexedFile(facts, index, KeptPackets(container, stream, kept))


def _read_packets(
    path: Path, container: InputContainer, stream: VideoStream, index: PacketIndex, kept_bytes: int
) -> list[Packet[VideoStream]] | None:
    """Index all packets; give them back if they are small together."""
    kept: list[Packet[VideoStream]] | None = []
    packed_bytes = 0
    try:
        for batch in _batches(container, stream, index):
            index.add(batch, stream)
            packed_bytes += sum(packet.size for packet in batch)
            if kept is not None and packed_bytes <= kept_bytes:
                kept += batch
            else:
                kept = None
    except av.FFmpegError as error:
        raise VideoError(
            f"{path}: the file is damaged after packet {len(index.sizes)} ({error.strerror}); replace it"
        ) from error
    missing = stream.frames - len(index.sizes)
    end = num_bytes(path)
    if missing > 0 and "mp4" in container.format.name and any(e.pos + e.size > end for e in stream.index_entries):
        raise VideoError(
            f"{path}: the file is cut off, {missing} of its {stream.frames} frames lie beyond its end; "
            "copy or download it again"
        )
    return kept


def _batches(container: InputContainer, stream: VideoStream, index: PacketIndex) -> Iterator[list[Packet[VideoStream]]]:
    """Gather packets, not too many bytes of them at a time."""
    batch: list[Packet[VideoStream]] = []
    room = _BATCH_BYTES
    try:
        for packet in container.demux(stream):
            if packet.size:
                batch.append(packet)
                room -= packet.size
                if room < 0 or len(batch) == _BATCH:
                    yield batch
                    batch, room = [], _BATCH_BYTES
            elif packet.dts is not None:
                index.note_empty_packet()
    except av.FFmpegError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _rate(stream: VideoStream, index: PacketIndex) -> float:
    """Take the container's average rate where the timestamps agree within 2 %, and theirs where they do not."""
    stated = float(stream.average_rate or stream.guessed_rate or 0)
    shown = index.frames
    if len(shown) > 1 and stream.time_base:
        ticks = index.pts[shown[-1]] - index.pts[shown[0]]
        measured = (len(shown) - 1) / float(ticks * stream.time_base)
        return stated if abs(stated - measured) <= 0.02 * measured else measured
    return stated if 0 < stated <= 1000 else ASSUMED_FPS
