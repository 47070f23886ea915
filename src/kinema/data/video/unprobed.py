"""Opening a video file without decoding its first pictures, where its headers state what these would tell.

FFmpeg decodes pictures to learn their format, their size and how many wait for another, and decodes them again when
they are read. H.264 states all of it in its parameters (ITU-T H.264, 7.3.2.1.1 and E.1.1), VP9 in the header of its
first frame (VP9 bitstream, 6.2). Only plain 8-bit 4:2:0 of the size that the container states is taken so; what else
there is, is opened as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kinema.data.video.base import VideoError
from kinema.data.video.shards import open_bytes
from kinema.data.video.stream import open_stream

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

# What is likely to be at the start of such a file. Where it is and the file is another, opening it takes longer.
_HINTS: Final = (b"V_VP9", b"avc1")
_HINT_BYTES: Final = 2048
# Matroska stores no decode times, and those of H.264 are reckoned from what decoding showed.
_CONTAINERS: Final = {"h264": "mov,mp4,m4a,3gp,3g2,mj2", "vp9": "matroska,webm"}
_LOW_PROFILES: Final = (66, 77, 88)  # always 8-bit 4:2:0
_HIGH_PROFILES: Final = (100, 110, 118, 122, 128)  # of those that state it
_PARAMETERS: Final = 7  # nal_unit_type of a sequence parameter set


@dataclass(frozen=True)
class Pictures:
    """What an H.264 stream says of its pictures, which are 4:2:0 of 8 bits and no fields."""

    width: int
    """Of the picture shown."""
    height: int
    """Of the picture shown."""
    reorder_depth: int
    """How many frames may wait for another that is shown before them."""


def open_unprobed(path: Path) -> tuple[InputContainer, VideoStream] | None:
    """Open a file as `open_stream` does, but by its headers; None where they do not state enough.

    The first packet has to be held against them (`is_as_stated`).

    Args:
        path: A file that exists.

    Raises:
        VideoError: It is a member of a shard that cannot be read.
    """
    try:
        with open_bytes(path) as file:
            start = file.read(_HINT_BYTES)
    except OSError:  # opening it as ever says what is wrong, here and below
        return None
    if not any(hint in start for hint in _HINTS):
        return None
    try:
        container, stream = open_stream(path, probe=False)
    except VideoError:
        return None
    codec = stream.codec_context.codec.canonical_name
    if _CONTAINERS.get(codec) == container.format.name and (codec == "vp9" or _take_pictures(stream.codec_context)):
        stream.codec_context.pix_fmt = "yuv420p"
        return container, stream
    container.close()
    return None


def is_as_stated(context: VideoCodecContext, first: bytes) -> bool:
    """Say whether a stream's first packet agrees with the headers.

    Args:
        context: The decoder of a stream opened by its headers.
        first: The packet's bytes.
    """
    if context.codec.canonical_name == "vp9":
        return vp9_size(first) == (context.width, context.height)
    kinds = _unit_kinds(first, (context.extradata or bytes(5))[4] % 4 + 1)
    return bool(kinds) and _PARAMETERS not in kinds


def _take_pictures(context: VideoCodecContext) -> bool:
    """Set up an H.264 decoder by what its parameters state; say whether that is enough."""
    pictures = h264_pictures(context.extradata or b"")
    if pictures is None or (pictures.width, pictures.height) != (context.width, context.height):
        return False
    if pictures.reorder_depth < context.reorder_depth:
        return False
    context.reorder_depth = pictures.reorder_depth
    return True


def vp9_size(data: bytes) -> tuple[int, int] | None:
    """Read width and height of a VP9 keyframe of profile 0; None of anything else."""
    if len(data) < 10 or data[0] & 0xFC != 0x80 or data[1:4] != b"\x49\x83\x42":
        return None
    bits = int.from_bytes(data[4:9], "big")  # colour space, 3 bits, range, 1 bit, and the sizes less 1, 16 bits each
    return ((bits >> 20 & 0xFFFF) + 1, (bits >> 4 & 0xFFFF) + 1) if bits >> 37 != 7 else None


def h264_pictures(extradata: bytes) -> Pictures | None:
    """Read the one sequence parameter set of an H.264 stream in MP4 or Matroska (ISO/IEC 14496-15, 5.3.3).

    Args:
        extradata: The codec's configuration.

    Returns:
        What it says; None where it is not there, is cut off, or says anything unusual.
    """
    if len(extradata) < 12 or extradata[0] != 1 or extradata[5] & 0x1F != 1:
        return None
    unit = extradata[8 : 8 + int.from_bytes(extradata[6:8], "big")]
    if not unit or unit[0] & 0x1F != _PARAMETERS:
        return None
    try:
        return _pictures(_Bits(unit[1:].replace(b"\0\0\3", b"\0\0")))
    except EOFError:
        return None


def _pictures(bits: _Bits) -> Pictures | None:
    profile = bits.take(8)
    bits.take(16)
    bits.golomb()
    if profile in _HIGH_PROFILES:
        plain = bits.golomb() == 1 and bits.golomb() == 0 and bits.golomb() == 0
        bits.take(1)
        if not plain or bits.take(1):  # scaling lists
            return None
    elif profile not in _LOW_PROFILES:
        return None
    bits.golomb()
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1)
        bits.golomb(2)
        bits.golomb(bits.golomb())
    bits.golomb()
    bits.take(1)
    width, height = 16 * bits.golomb() + 16, 16 * bits.golomb() + 16
    whole = bits.take(1)  # no fields
    bits.take(1)
    if bits.take(1):
        width -= 2 * (bits.golomb() + bits.golomb())
        height -= 2 * (bits.golomb() + bits.golomb())
    depth = _reorder_depth(bits) if whole and bits.take(1) else None
    return None if depth is None else Pictures(width, height, depth)


def _reorder_depth(bits: _Bits) -> int | None:
    """Read `max_num_reorder_frames` from the usability information; None where it is not stated."""
    if bits.take(1) and bits.take(8) == 255:  # the shape of pixels
        bits.take(32)
    if bits.take(1):  # overscan
        bits.take(1)
    if bits.take(1):  # colours
        bits.take(4)
        if bits.take(1):
            bits.take(24)
    if bits.take(1):  # where chroma lies
        bits.golomb(2)
    if bits.take(1):  # timing
        bits.take(65)
    buffers = _skip_buffer(bits) + _skip_buffer(bits)
    bits.take(min(buffers, 1))
    bits.take(1)
    if not bits.take(1):
        return None
    bits.take(1)
    bits.golomb(4)
    return bits.golomb()


def _skip_buffer(bits: _Bits) -> int:
    """Pass over the parameters of a hypothetical reference decoder's buffers; say how many there were, 0 or 1."""
    if not bits.take(1):
        return 0
    count = bits.golomb() + 1
    bits.take(8)
    for _ in range(count):
        bits.golomb(2)
        bits.take(1)
    bits.take(20)
    return 1


def _unit_kinds(data: bytes, num_bytes: int) -> set[int]:
    """List the types of the units of an H.264 packet; none where their lengths do not add up."""
    kinds = set()
    place = 0
    while place < len(data):
        start = place + num_bytes
        place = start + int.from_bytes(data[place:start], "big")
        if not start < place <= len(data):
            return set()
        kinds.add(data[start] & 0x1F)
    return kinds


class _Bits:
    """Bits taken one after another."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Take so many bits as a number.

        Raises:
            EOFError: There are fewer.
        """
        if count > self._left:
            raise EOFError
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def golomb(self, count: int = 1) -> int:
        """Take so many Exp-Golomb numbers (ITU-T H.264, 9.1), the last of which is given."""
        number = 0
        for _ in range(count):
            zeros = 0
            while not self.take(1):
                zeros += 1
            number = (1 << zeros) - 1 + self.take(zeros)
        return number
