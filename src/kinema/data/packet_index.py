"""Which packet of a video stream holds which frame, and whether the packets alone can prove it.

One pass over the packets, without decoding, tells for a regular stream which packet becomes frame i and at which
keyframe decoding has to start for it. A stream is regular where nothing is left to the decoder's discretion: one
shown frame a packet, displayed in the order of timestamps that are all there and all different, and no frame before
the first keyframe. Where that is not proven, `irregularity` says why, and the stream has to be decoded in sequence.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

# Codecs whose packets are one frame each, except for the hidden frames of VP8 and VP9 that are looked for.
_REGULAR_CODECS: Final = {
    *("h264", "hevc", "mpeg4", "vp8", "vp9", "av1", "mjpeg", "ffv1", "prores", "dnxhd"),
    *("huffyuv", "ffvhuff", "utvideo", "png", "rawvideo"),
}
_REGULAR_CONTAINERS: Final = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "avi"}
# A DivX placeholder (a frame that was not coded, or one that travels in the packet before) takes at most 8 bytes.
_MPEG4_PLACEHOLDER_BYTES: Final = 16


class PacketIndex:
    """The packets of one stream in decode order, numbered from 0."""

    def __init__(self) -> None:
        self.pts: list[int | None] = []
        self.dts: list[int | None] = []
        self.positions: list[int | None] = []
        self.sizes: list[int] = []
        self.shown: list[bool] = []
        self.keys: list[int] = []
        self.frames: list[int] = []  # the packet of each frame, in display order
        self._troubles: list[str] = []
        self._packet_at: dict[int | None, int] = {}

    def add(self, packet: Packet[VideoStream], codec: str) -> None:
        """Note one packet.

        Args:
            packet: The packet, not empty.
            codec: The codec's canonical name.
        """
        if packet.is_keyframe:
            self.keys.append(len(self.pts))
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        self.positions.append(packet.pos)
        self.sizes.append(packet.size)
        self.shown.append(not packet.is_discard and not _is_hidden(packet, codec))
        if packet.is_corrupt:
            self._troubles.append("a packet is marked as damaged")
        if codec == "mpeg4" and packet.size <= _MPEG4_PLACEHOLDER_BYTES:
            self._troubles.append("DivX placeholders")
        if any(data.data_type in ("new_extradata", "param_change") for data in packet.iter_sidedata()):
            self._troubles.append("parameters change midway")

    def note_empty_packet(self) -> None:
        """Note a packet without data: a frame repeated, or one that travels in the packet before."""
        self._troubles.append("packets without data")

    def irregularity(self, stream: VideoStream, container_format: str) -> str | None:
        """Say why the packets do not prove which frame is which; None where they do, and then fill `frames`.

        Args:
            stream: The stream of the packets.
            container_format: FFmpeg's name of the container.
        """
        context = stream.codec_context
        codec = context.codec.canonical_name
        if self._troubles:
            return self._troubles[0]
        if codec not in _REGULAR_CODECS:
            return f"codec {codec}"
        if container_format not in _REGULAR_CONTAINERS:
            return f"container {container_format}"
        if codec == "h264" and "420" not in (context.pix_fmt or "") and "422" not in (context.pix_fmt or ""):
            return "H.264 4:4:4, whose decoding depends on the encoder's version in the first packet"
        if container_format == "avi" and context.reorder_depth:
            return "B-frames in AVI, which stores no display times"
        return self._irregular_times(reorder_depth=context.reorder_depth, by_heuristic=codec == "h264")

    def _irregular_times(self, *, reorder_depth: int, by_heuristic: bool) -> str | None:
        pts = [time for time in self.pts if time is not None]
        dts = [time for time in self.dts if time is not None]  # Matroska stores none, the first stay unknown
        if not pts or len(pts) < len(self.pts) or len(set(pts)) < len(pts):
            return "missing or repeated timestamps"
        if any(later <= earlier for earlier, later in pairwise(dts)):
            return "decode timestamps that go backwards"
        if not self.keys or self.keys[0] != 0 or min(pts) < pts[0]:
            return "frames before the first keyframe"
        if by_heuristic and _reordering(pts) > reorder_depth:
            return "more reordering than the decoder expects"
        self.frames = sorted((number for number, shown in enumerate(self.shown) if shown), key=pts.__getitem__)
        return None

    def start_of(self, packet: int) -> int:
        """Give the packet of the keyframe at which decoding starts for a packet's frame.

        It is the last keyframe that stands before it both in the stream and on the screen: pictures that lead an
        open group of pictures follow their keyframe in the stream but need what was before it.
        """
        place = bisect_right(self.keys, packet) - 1
        time = self.time(packet)
        while self.time(self.keys[place]) > time:
            place -= 1
        return self.keys[place]

    def time(self, packet: int) -> int:
        """Give a packet's presentation time in ticks of the stream, of a regular stream."""
        time = self.pts[packet]
        assert time is not None
        return time

    def find(self, packet: Packet[VideoStream]) -> int | None:
        """Recognize a packet after a seek by its place in the file; None where that cannot be told."""
        if not self._packet_at:
            self._packet_at = {position: number for number, position in enumerate(self.positions)}
        if len(self._packet_at) < len(self.positions) or packet.pos is None:
            return None
        number = self._packet_at.get(packet.pos)
        return number if number is not None and self.sizes[number] == packet.size else None


def _reordering(pts: list[int]) -> int:
    """Count, at worst, the frames that come before a frame in the stream but after it on the screen."""
    waiting: list[int] = []
    worst = 0
    for time in pts:
        place = bisect_right(waiting, time)
        worst = max(worst, len(waiting) - place)
        waiting.insert(place, time)
        if len(waiting) > 64:
            waiting.pop(0)
    return worst


def _is_hidden(packet: Packet[VideoStream], codec: str) -> bool:
    """Say whether a VP8 or VP9 packet holds only a frame that is never shown (RFC 6386, 9.1; VP9 bitstream, 6.2)."""
    if codec not in ("vp8", "vp9"):
        return False
    data = memoryview(packet)
    first = data[0]
    if codec == "vp8":
        return not first & 0x10
    if data[-1] & 0xE0 == 0xC0:  # a superframe: hidden frames travel with the one that is shown
        return False
    bits = first << 1 if first & 0x30 == 0x30 else first  # profile 3 has one bit more before these
    return not bits & 0x08 and not bits & 0x02
