"""Where the packets of an indexed video file come from when a part of it is decoded: memory, a seek, or the bytes.

Each source has the decoder that its packets are for. All of them give the same packets, in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, cast

import av
from av.packet import Packet

from kinema.data.video.packet_index import NOTHING, PacketIndex
from kinema.data.video.stream import limit_decoder, open_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream


class BrokenPromiseError(Exception):
    """Decoding did not give the frames that the packets promised."""


class PacketSource(ABC):
    """Packets by number, and their decoder."""

    context: VideoCodecContext

    @abstractmethod
    def packets(self, numbers: Sequence[int]) -> Iterable[Packet[VideoStream]]:
        """Give the packets of these numbers, which ascend from a keyframe's."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


class KeptPackets(PacketSource):
    """All packets of a small file, kept in memory."""

    def __init__(self, container: InputContainer, stream: VideoStream, packets: Sequence[Packet[VideoStream]]) -> None:
        self.context = stream.codec_context
        self._container = container
        self._packets = packets

    def packets(self, numbers: Sequence[int]) -> Iterable[Packet[VideoStream]]:
        """Give packets by number."""
        return [self._packets[number] for number in numbers]

    def close(self) -> None:
        """Let go of the packets and the file."""
        self._packets = ()
        self._container.close()


class SoughtPackets(PacketSource):
    """Packets read from the file by seeking, each recognized by its place in the file."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream, index: PacketIndex) -> None:
        self.context = stream.codec_context
        self._path = path
        self._container, self._stream = container, stream
        self._index = index

    def packets(self, numbers: Sequence[int]) -> Iterator[Packet[VideoStream]]:
        """Seek to the first packet and read on to the last."""
        index = self._index
        start, last, wanted = numbers[0], numbers[-1], frozenset(numbers)
        self._container.seek(index.pts[start], stream=self._stream)
        packets = self._container.demux(self._stream)
        number = index.find(packet := next(packets))
        if number is None or number > start:
            self._container.close()
            self._container, self._stream = open_stream(self._path)
            self.context = self._stream.codec_context
            packets = self._container.demux(self._stream)
            number, packet = 0, next(packets)
        while number <= last:
            if packet.size:
                position = NOTHING if packet.pos is None else packet.pos
                if (position, packet.size) != (index.positions[number], index.sizes[number]):
                    raise BrokenPromiseError("packets after a seek are not those of the first pass")
                if number in wanted:
                    packet.pts, packet.dts = _time(index.pts[number]), _time(index.dts[number])
                    yield packet
                number += 1
            elif packet.dts is None:
                break
            packet = next(packets)

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()


class BarePackets(PacketSource):
    """Packets read as bytes from where they lie in the file; the container is not opened."""

    def __init__(self, path: Path, settings: DecoderSettings, index: PacketIndex) -> None:
        """Open the file.

        Args:
            path: The file.
            settings: How the decoder is set up.
            index: The packets, with their places; none of them is more than its bytes and times.
        """
        self.context = settings.make_decoder()
        self._index = index
        self._keys = frozenset(index.keys)
        self._file = path.open("rb", buffering=0)

    def packets(self, numbers: Sequence[int]) -> Iterator[Packet[VideoStream]]:
        """Read packets by number."""
        index = self._index
        for number in numbers:
            packet = cast("Packet[VideoStream]", Packet(index.sizes[number]))
            self._file.seek(index.places[number])
            if self._file.readinto(memoryview(packet)) != index.sizes[number]:
                raise BrokenPromiseError("the file is shorter than its index")
            packet.pts, packet.dts = _time(index.pts[number]), _time(index.dts[number])
            packet.is_keyframe = number in self._keys
            yield packet

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@dataclass(frozen=True)
class DecoderSettings:
    """What a decoder learns from the container."""

    codec: str
    """FFmpeg's name of the decoder."""
    codec_tag: str
    """What the container calls the codec."""
    extradata: bytes | None
    """The codec's configuration."""
    width: int
    """Of the picture as stored."""
    height: int
    """Of the picture as stored."""
    pix_fmt: str | None
    """Pixel format."""
    reorder_depth: int
    """How many frames may wait for another that is shown before them."""
    color_range: int
    """Of the pixel values."""
    colorspace: int
    """How pixel values are to be made into RGB."""
    color_trc: int
    """Transfer characteristic."""
    color_primaries: int
    """Primaries."""

    @classmethod
    def of(cls, context: VideoCodecContext) -> DecoderSettings:
        """Read the settings of a decoder that a container has set up."""
        values = {field.name: getattr(context, field.name) for field in fields(cls) if field.name != "codec"}
        return cls(codec=context.codec.name, **values)

    def make_decoder(self) -> VideoCodecContext:
        """Set up a decoder alike, for one thread."""
        context = cast("VideoCodecContext", av.CodecContext.create(self.codec, "r"))
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "codec" and value is not None:
                setattr(context, field.name, value)
        limit_decoder(context)
        return context


def _time(ticks: int) -> int | None:
    return None if ticks == NOTHING else ticks
