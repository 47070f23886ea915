"""A video file, decoded by FFmpeg through PyAV, frame by frame number.

Opening reads all packets once without decoding. Where they prove which packet holds which frame (`packet_index.py`),
only the groups of pictures that hold wanted frames are decoded, and each is held against what the packets promised;
where they do not prove it, or a promise is broken, the file is decoded in sequence from its start.

Rotation and mirroring tags are applied, the pixel's aspect ratio is not. Where the picture size changes midway, frames
are scaled to the size that the file states. A frame that FFmpeg reports as damaged, or loses, is a `VideoError`; frames
of other groups of pictures can still be read. What no one can see is damage that decodes to other pixels without
complaint (flipped bits in H.264, HEVC, VP8 or VP9 may do so), or that a Matroska file's reader skips.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from kinema.data.packet_index import PacketIndex
from kinema.data.shards import num_bytes
from kinema.data.video_base import ASSUMED_FPS, Video, VideoError
from kinema.data.video_stream import all_frames, open_stream, upright

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# Packets of a file up to this size stay in memory, so that reading needs no seek.
_KEPT_BYTES: Final = 32 * 2**20


class _BrokenPromiseError(Exception):
    """Decoding did not give the frames that the packets promised."""


class VideoFile(Video):
    """A video file."""

    def __init__(self, path: Path) -> None:
        """Open the file and index its packets.

        Raises:
            VideoError: It is no video, holds none, or is cut off or damaged so that its frames cannot be counted.
        """
        self.path = path
        self._closed = False
        self._container, self._stream = open_stream(path)
        try:
            self._index = PacketIndex()
            self._packets = self._index_packets()
            self.sequential_reason = self._index.irregularity(self._stream, self._container.format.name)
            context = self._stream.codec_context
            self._size = context.width, context.height
            self._reorder_depth = context.reorder_depth
            self._primed = False
            self._reformatter = VideoReformatter()
            self.fps = self._rate()
            self._length = len(self._index.frames) if self.sequential_reason is None else self._count()
            if not self._length:
                raise VideoError(f"{path}: the video stream holds no frame; replace the file")
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        """Let go of the file and the packets kept."""
        self._packets = None
        self._closed = True
        self._container.close()

    def _index_packets(self) -> list[Packet[VideoStream]] | None:
        """Read all packets once; keep them if the file is small."""
        codec = self._stream.codec_context.codec.canonical_name
        packets: list[Packet[VideoStream]] | None = []
        kept_bytes = 0
        try:
            for packet in self._container.demux(self._stream):
                if not packet.size:
                    if packet.dts is not None:
                        self._index.note_empty_packet()
                    continue
                self._index.add(packet, codec)
                kept_bytes += packet.size
                if packets is not None and kept_bytes <= _KEPT_BYTES:
                    packets.append(packet)
                else:
                    packets = None
        except av.FFmpegError as error:
            raise VideoError(
                f"{self.path}: the file is damaged after packet {len(self._index.sizes)} ({error.strerror}); replace it"
            ) from error
        missing = self._stream.frames - len(self._index.sizes)
        if missing > 0 and "mp4" in self._container.format.name and self._ends_early():
            raise VideoError(
                f"{self.path}: the file is cut off, {missing} of its {self._stream.frames} frames lie beyond its end; "
                "copy or download it again"
            )
        return packets

    def _ends_early(self) -> bool:
        end = num_bytes(self.path)
        return any(entry.pos + entry.size > end for entry in self._stream.index_entries)

    def _rate(self) -> float:
        """Take the container's average rate where the timestamps agree within 2 %, and theirs where they do not."""
        stated = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        shown = self._index.frames
        if len(shown) > 1 and self._stream.time_base:
            ticks = self._index.time(shown[-1]) - self._index.time(shown[0])
            measured = (len(shown) - 1) / float(ticks * self._stream.time_base)
            return stated if abs(stated - measured) <= 0.02 * measured else measured
        return stated if 0 < stated <= 1000 else ASSUMED_FPS

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        if self._closed:
            raise ValueError(f"video must be open to be read, got a closed one ({self.path}); open it again")
        if self.sequential_reason is None:
            try:
                for number, frame in self._decode_groups(numbers):
                    yield number, self._to_rgb(frame)
            except (_BrokenPromiseError, av.FFmpegError) as error:
                self._settle(error)
            else:
                return
        wanted = set(numbers)
        for number, frame in self._decode_in_sequence():
            if number in wanted:
                yield number, self._to_rgb(frame)
            if number == numbers[-1]:
                return
        raise VideoError(
            f"{self.path}: the file holds {self._length} frames, frame {numbers[-1]} is not there; replace it"
        )

    def _settle(self, error: Exception) -> None:
        """After a broken promise: is the file damaged, or are its packets to be counted otherwise?"""
        length = self._count()  # a VideoError where damage is reported
        if length < self._length:
            raise VideoError(
                f"{self.path}: decoding gives {length} frames where the file holds {self._length} ({error}); "
                "the file is damaged, replace it"
            ) from error
        self._length = length
        self.sequential_reason = str(error)

    def _count(self) -> int:
        return sum(1 for _ in self._decode_in_sequence())

    def _decode_in_sequence(self) -> Iterator[tuple[int, VideoFrame]]:
        """Decode the whole file from a fresh start, as a player would."""
        container, stream = open_stream(self.path)
        number = 0
        try:
            for frame in all_frames(container, stream):
                if frame.is_corrupt:
                    raise self._damage(number, "damaged data")
                yield number, frame
                number += 1
        except av.FFmpegError as error:
            raise self._damage(number, error.strerror) from error
        finally:
            container.close()

    def _damage(self, number: int, reason: str | None) -> VideoError:
        return VideoError(
            f"{self.path}: frame {number} ({number / self.fps:.2f} s) cannot be decoded ({reason}); "
            "replace or re-encode the file"
        )

    def _decode_groups(self, numbers: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Decode, for each wanted frame, from its keyframe to it, and no further."""
        number_of = {self._index.time(self._index.frames[number]): number for number in numbers}
        last_of: dict[int, int] = {}  # from the packet at which to start to the last packet needed
        for number in numbers:
            packet = self._index.frames[number]
            start = self._index.start_of(packet)
            last_of[start] = max(packet, last_of.get(start, 0))
        for start, last in sorted(last_of.items()):
            for frame in self._decode_group(start, last):
                if frame.pts in number_of:
                    yield number_of[frame.pts], frame

    def _decode_group(self, start: int, last: int) -> Iterator[VideoFrame]:
        """Decode packets start..last on their own; the frames must be those that the packets promise."""
        index = self._index
        first_time = index.time(start)
        promised = sorted(
            index.time(packet)
            for packet in range(start, last + 1)
            if index.shown[packet] and index.time(packet) >= first_time
        )
        place = 0
        for frame in self._feed(start, last):
            if frame.pts is not None and frame.pts < first_time:
                continue  # leads an open group of pictures: belongs to the group before
            if place == len(promised) or frame.pts != promised[place]:
                raise self._broken("is not where its packet says", promised, place)
            if frame.is_corrupt or (frame.pts == first_time and not frame.key_frame):
                raise self._broken("is damaged or no keyframe", promised, place)
            place += 1
            yield frame
        if place < len(promised):
            raise self._broken("is missing", promised, place)

    def _broken(self, what: str, promised: Sequence[int], place: int) -> _BrokenPromiseError:
        index = self._index
        number = bisect_left(index.frames, promised[min(place, len(promised) - 1)], key=index.time)
        return _BrokenPromiseError(f"frame {number}, at {number / self.fps:.2f} s, {what}")

    def _feed(self, start: int, last: int) -> Iterator[VideoFrame]:
        if not self._primed:
            self._primed = True
            if start and self._stream.codec_context.codec.canonical_name == "mpeg4":
                # The encoder's name, on which the arithmetic depends, may stand in the first packet only.
                for _ in self._feed(0, 0):
                    pass
        packets = self._packets[start : last + 1] if self._packets is not None else self._seek(start, last)
        try:
            for packet in packets:
                yield from self._stream.codec_context.decode(packet)
            yield from self._stream.codec_context.decode(None)
        finally:
            self._stream.codec_context.flush_buffers()
            self._stream.codec_context.reorder_depth = self._reorder_depth  # which flushing may forget

    def _seek(self, start: int, last: int) -> Iterator[Packet[VideoStream]]:
        """Read packets start..last from the file again, each recognized by its place in the file."""
        self._container.seek(self._index.time(start), stream=self._stream)
        packets = self._container.demux(self._stream)
        number = self._index.find(packet := next(packets))
        if number is None or number > start:
            self._container.close()
            self._container, self._stream = open_stream(self.path)
            packets = self._container.demux(self._stream)
            number, packet = 0, next(packets)
        while number <= last:
            if packet.size:
                if (packet.pos, packet.size) != (self._index.positions[number], self._index.sizes[number]):
                    raise _BrokenPromiseError("packets after a seek are not those of the first pass")
                if number >= start:
                    packet.pts, packet.dts = self._index.pts[number], self._index.dts[number]
                    yield packet
                number += 1
            elif packet.dts is None:
                break
            packet = next(packets)

    def _to_rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        width, height = self._size
        scaling = Interpolation.BILINEAR if (frame.width, frame.height) == self._size else Interpolation.BICUBIC
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=scaling, threads=1
        )
        return upright(np.asarray(rgb.to_ndarray(), np.uint8), frame)
