"""A video file, decoded by FFmpeg through PyAV, frame by frame number.

Opening reads all packets once without decoding (`indexing.py`). Where they prove which packet holds which frame
(`packet_index.py`), only the groups of pictures that hold wanted frames are decoded, without the pictures that no other
needs, and each frame is held against what the packets promised; where they do not prove it, or a promise is
broken, the file is decoded in sequence from its start. With the cached index (`index_cache.py`) that pass is skipped.

Rotation and mirroring tags are applied, the pixel's aspect ratio is not. Where the picture size changes midway, frames
are scaled to the size that the file states. A frame that FFmpeg reports as damaged, or loses, is a `VideoError`; frames
of other groups of pictures can still be read. What no one can see is damage that decodes to other pixels without
complaint (flipped bits in H.264, HEVC, VP8 or VP9 may do so), or that a Matroska file's reader skips.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from kinema.data.user_cache import cache_folder
from kinema.data.video import index_cache as cache
from kinema.data.video.base import Video, VideoError
from kinema.data.video.indexing import index_file
from kinema.data.video.packet_source import BrokenPromiseError
from kinema.data.video.shards import member_of
from kinema.data.video.stream import all_frames, open_stream, turn_of, upright

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from kinema.data.video.indexing import StreamFacts
    from kinema.data.video.packet_index import PacketIndex
    from kinema.data.video.packet_source import PacketSource

# Packets of a file up to this size stay in memory, so that reading needs no seek. What is larger (4K of more than some
# seconds) is read again by seeking, a packet at a time.
_KEPT_BYTES: Final = 32 * 2**20


class VideoFile(Video):
    """A video file."""

    def __init__(self, path: Path, *, index_cache: bool = False) -> None:
        """Open the file and index its packets.

        Args:
            path: A file that exists.
            index_cache: Whether the index is looked up in the cache first, and kept there.

        Raises:
            VideoError: It is no video, holds none, or is cut off or damaged so that its frames cannot be counted.
        """
        self.path = path
        self._reformatter = VideoReformatter()
        self._closed = False
        self._upright_size: tuple[int, int] | None = None
        self.is_turned = False
        """Whether a frame that was read had to be turned or mirrored."""
        cached = index_cache and member_of(path) is None and cache_folder()
        state = cache.state_of(path) if cached else None
        self._from_cache = state is not None and self._open_cached(state)
        if not self._from_cache:
            self._open_anew(state)

    def _open_cached(self, state: dict[str, Any]) -> bool:
        """Open the file by what an earlier pass found; say whether that was there."""
        entry = cache.load(self.path, state)
        try:
            source = entry.source(self.path) if entry is not None else None
        except (OSError, ValueError, TypeError, av.FFmpegError):
            return False
        if entry is None or cache.state_of(self.path) != state:  # changed since: what is open may be either state
            if source is not None:
                source.close()
            return False
        self._take(entry.facts, entry.index, source)
        self._length = entry.num_frames
        return True

    def _open_anew(self, state: dict[str, Any] | None) -> None:
        """Open the file by a pass over its packets, and keep what it found under a state of the file."""
        file = index_file(self.path, kept_bytes=_KEPT_BYTES)
        self._take(file.facts, file.index, file.source)
        try:
            self._length = len(self._index.frames) if self.sequential_reason is None else self._count()
            if not self._length:
                raise VideoError(f"{self.path}: the video stream holds no frame; replace the file")
            if state is not None:
                cache.store(self.path, state, file, self._length)
        except BaseException:
            self.close()
            raise

    def _take(self, facts: StreamFacts, index: PacketIndex, source: PacketSource | None) -> None:
        self._index, self._source = index, source
        self._primed = False
        self.codec_name, self.container_name = facts.codec_name, facts.container_name
        self.fps, self.sequential_reason = facts.fps, facts.sequential_reason
        self._stored_size = facts.width, facts.height
        self._reorder_depth = facts.reorder_depth

    def __len__(self) -> int:
        return self._length

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upright frames; the first use of it decodes a frame, to see how it is turned."""
        if self._upright_size is None:
            self._upright_size = super().size
        return self._upright_size

    @property
    def uneven_share(self) -> float:
        """Part of the gaps between frames that are unlike the usual one, by the times of the packets."""
        return self._index.uneven_share()

    def close(self) -> None:
        """Let go of the file and the packets kept."""
        self._closed = True
        if self._source is not None:
            self._source.close()

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        if self._closed:
            raise ValueError(f"video must be open to be read, got a closed one ({self.path}); open it again")
        while self.sequential_reason is None:
            try:
                for number, frame in self._decode_groups(numbers):
                    yield number, self._to_rgb(frame)
            except (BrokenPromiseError, av.FFmpegError) as error:
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
        """After a broken promise: is the file damaged, or are its packets to be counted otherwise?

        One that the cache has made is tried again with an index of its own.
        """
        if self._from_cache:
            self.close()
            cache.forget(self.path)
            self._from_cache = self._closed = False
            length = self._length
            self._open_anew(None)
            if self._length == length:
                return
            raise VideoError(f"{self.path}: the file changed while it was open; open it again") from error
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
        wanted_from: dict[int, dict[int, int]] = {}  # where to start: packet wanted: number of its frame
        for number in numbers:
            packet = self._index.frames[number]
            wanted_from.setdefault(self._index.start_of(packet), {})[packet] = number
        for start, wanted in sorted(wanted_from.items()):
            yield from self._decode_group(start, wanted)

    def _decode_group(self, start: int, wanted: Mapping[int, int]) -> Iterator[tuple[int, VideoFrame]]:
        """Decode from a keyframe to the last wanted packet; the frames must be those that the packets promise."""
        index, times = self._index, self._index.pts
        first_time = times[start]
        number_of = {times[packet]: number for packet, number in wanted.items()}
        unneeded = index.disposable
        fed = [
            packet
            for packet in range(start, max(wanted) + 1)
            if packet not in unneeded or packet in wanted or packet == start
        ]
        promised = sorted(times[packet] for packet in fed if index.shown[packet] and times[packet] >= first_time)
        place = 0
        for frames in self._feed(fed):
            for frame in frames:
                time = frame.pts
                if time is not None and time < first_time:
                    continue  # leads an open group of pictures: belongs to the group before
                if place == len(promised) or time != promised[place]:
                    raise self._broken("is not where its packet says", promised, place)
                if frame.is_corrupt or (time == first_time and not frame.key_frame):
                    raise self._broken("is damaged or no keyframe", promised, place)
                place += 1
                if time in number_of:
                    yield number_of[time], frame
        if place < len(promised):
            raise self._broken("is missing", promised, place)

    def _broken(self, what: str, promised: Sequence[int], place: int) -> BrokenPromiseError:
        index = self._index
        number = bisect_left(index.frames, promised[min(place, len(promised) - 1)], key=index.pts.__getitem__)
        return BrokenPromiseError(f"frame {number}, at {number / self.fps:.2f} s, {what}")

    def _feed(self, packets: Sequence[int]) -> Iterator[list[VideoFrame]]:
        """Decode some packets on their own, from a keyframe on; yield what each gives."""
        if not self._primed:
            self._primed = True
            if packets[0] and self._index.first_tells_encoder:
                for _ in self._feed([0]):
                    pass
        assert self._source is not None
        context = None
        try:
            for packet in self._source.packets(packets):
                context = self._source.context  # of the container that a seek may have opened again
                yield context.decode(packet)
            if context is not None:
                yield context.decode(None)
        finally:
            if context is not None:
                context.flush_buffers()
                context.reorder_depth = self._reorder_depth  # which flushing may forget

    def _to_rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        width, height = self._stored_size
        scaling = Interpolation.BILINEAR if (frame.width, frame.height) == self._stored_size else Interpolation.BICUBIC
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=scaling, threads=1
        )
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        turn = turn_of(frame)
        self.is_turned = self.is_turned or any(turn)
        return upright(rows[:, : 3 * width].reshape(height, width, 3), turn)
