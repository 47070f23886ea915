"""Which packet of a video stream holds which frame, and whether the packets alone can prove it.

One pass over the packets, without decoding, tells for a regular stream which packet becomes frame i, at which
keyframe decoding has to start for it, and which pictures no other one needs. A stream is regular where nothing is left
to the decoder's discretion: one shown frame a packet, displayed in the order of timestamps that are all there and all
different, and no frame before the first keyframe. Where that is not proven, `irregularity` says why, and the stream
has to be decoded in sequence.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from kinema.data.video.disposable import Layer, disposable_packets, layer_reader

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_MPEG4_USER_DATA: Final = b"\x00\x00\x01\xb2"  # where encoders leave their names

UNEVEN: Final = 0.25  # of the usual gap, by which another differs that is uneven
NOTHING: Final = -(2**63)  # a time or a place that is not known


class PacketIndex:
    """The packets of one stream in decode order, numbered from 0."""

    def __init__(self) -> None:
        self.pts = array("q")
        self.dts = array("q")
        self.positions = array("q")
        self.places = array("q")  # where their bytes lie in the file, if that was found out
        self.sizes = array("q")
        self.shown = bytearray()
        self.keys = array("q")
        self.frames = array("q")  # the packet of each frame, in display order
        self.disposable: frozenset[int] = frozenset()  # packets whose pictures no other needs
        self.first = b""  # what is in the first packet
        self.first_tells_encoder = False  # on whose name the arithmetic of MPEG-4 depends
        self.plain = True  # whether a packet is no more than its bytes and times
        self._layers: list[Layer] = []
        self._troubles: list[str] = []
        self._ascending: bool | None = None

    def add(self, packets: Sequence[Packet[VideoStream]], stream: VideoStream) -> None:
        """Note the next packets of a stream, none of them empty."""
        context = stream.codec_context
        codec = context.codec.canonical_name
        first = len(self.pts)
        if not first:
            self.first = bytes(packets[0])
            self.first_tells_encoder = codec == "mpeg4" and _MPEG4_USER_DATA in self.first
        self.pts.extend([NOTHING if (time := packet.pts) is None else time for packet in packets])
        self.dts.extend([NOTHING if (time := packet.dts) is None else time for packet in packets])
        self.positions.extend([NOTHING if (place := packet.pos) is None else place for packet in packets])
        self.sizes.extend([packet.size for packet in packets])
        self.keys.extend([number for number, packet in enumerate(packets, first) if packet.is_keyframe])
        discarded = [packet.is_discard for packet in packets]
        if codec in ("vp8", "vp9"):
            hidden = [_is_hidden(packet, codec) for packet in packets]
            self.shown.extend([not (a or b) for a, b in zip(discarded, hidden, strict=True)])
        else:
            self.shown.extend([not dropped for dropped in discarded])
        # Without reordering there are as good as never pictures to skip, and looking for them has its cost.
        layer_of = layer_reader(codec, context.extradata) if context.reorder_depth else None
        if layer_of is not None:
            self._layers += [layer_of(memoryview(packet)) for packet in packets]
        side_data = {data.data_type for packet in packets for data in packet.iter_sidedata()}
        self.plain = self.plain and not side_data and not any(discarded)
        if side_data & {"new_extradata", "param_change"}:
            self._troubles.append("parameters change midway")
        if any(packet.is_corrupt for packet in packets):
            self._troubles.append("a packet is marked as damaged")
        if codec == "mpeg4" and min(self.sizes[first:]) <= _MPEG4_PLACEHOLDER_BYTES:
            self._troubles.append("DivX placeholders")

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
        pts = self.pts
        dts = [time for time in self.dts if time != NOTHING]  # Matroska stores none, the first stay unknown
        if not pts or min(pts) == NOTHING or len(set(pts)) < len(pts):
            return "missing or repeated timestamps"
        if any(later <= earlier for earlier, later in pairwise(dts)):
            return "decode timestamps that go backwards"
        if not self.keys or self.keys[0] != 0 or min(pts) < pts[0]:
            return "frames before the first keyframe"
        if by_heuristic and _reordering(pts) > reorder_depth:
            return "more reordering than the decoder expects"
        self.order_frames()
        self.disposable = disposable_packets(self._layers)
        self._layers = []
        return None

    def order_frames(self) -> None:
        """Number the frames in the order of their times."""
        shown = [number for number, shown in enumerate(self.shown) if shown]
        self.frames = array("q", sorted(shown, key=self.pts.__getitem__))

    def uneven_share(self) -> float:
        """Give the part of the gaps between shown frames that differ from the median gap by more than `UNEVEN` of it.

        One tick more or less is none: containers round times. Where times are missing or repeated it is not known, and
        0 is given.
        """
        times = np.sort(np.array(self.pts, np.int64)[np.array(self.shown, bool)])
        gaps = np.diff(times)
        if len(gaps) < 2 or times[0] == NOTHING or not gaps.all():
            return 0.0
        usual = np.median(gaps)
        return float((np.abs(gaps - usual) > max(UNEVEN * usual, 1)).mean())

    def start_of(self, packet: int) -> int:
        """Give the packet of the keyframe at which decoding starts for a packet's frame.

        It is the last keyframe that stands before it both in the stream and on the screen: pictures that lead an
        open group of pictures follow their keyframe in the stream but need what was before it.
        """
        place = bisect_right(self.keys, packet) - 1
        while self.pts[self.keys[place]] > self.pts[packet]:
            place -= 1
        return self.keys[place]

    def find(self, packet: Packet[VideoStream]) -> int | None:
        """Recognize a packet after a seek by its place in the file; None where that cannot be told."""
        if self._ascending is None:
            self._ascending = all(earlier < later for earlier, later in pairwise(self.positions))
        if not self._ascending or packet.pos is None:
            return None
        number = bisect_left(self.positions, packet.pos)
        if number == len(self.positions) or self.positions[number] != packet.pos:
            return None
        return number if self.sizes[number] == packet.size else None


def _reordering(pts: Sequence[int]) -> int:
    """Count, at worst, the frames that come before a frame in the stream but after it on the screen."""
    waiting: list[int] = []
    worst = 0
    for time in pts:
        if not waiting or time > waiting[-1]:
            waiting.append(time)
            continue
        place = bisect_right(waiting, time)
        worst = max(worst, len(waiting) - place)
        waiting.insert(place, time)
        del waiting[:-64]
    return worst


def _is_hidden(packet: Packet[VideoStream], codec: str) -> bool:
    """Say whether a VP8 or VP9 packet holds only a frame that is never shown (RFC 6386, 9.1; VP9 bitstream, 6.2)."""
    data = memoryview(packet)
    first = data[0]
    if codec == "vp8":
        return not first & 0x10
    if data[-1] & 0xE0 == 0xC0:  # a superframe: hidden frames travel with the one that is shown
        return False
    bits = first << 1 if first & 0x30 == 0x30 else first  # profile 3 has one bit more before these
    return not bits & 0x08 and not bits & 0x02
