"""Which packets hold pictures that no other picture is predicted from, told by their headers, so they can be skipped.

H.264: a picture whose slices have nal_ref_idc 0 (ITU-T H.264, 7.4.1). HEVC: a sub-layer non-reference picture of the
highest temporal sub-layer in the stream (ITU-T H.265, 3.134 and table 7-1): higher sub-layers, and only these, may use
one of a lower sub-layer. MPEG-4 part 2: a B-VOP (ISO/IEC 14496-2, 6.3.5). A packet with anything else in it is kept.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# Of a packet: the temporal sub-layer it is in, and whether no other picture of that sub-layer is predicted from it.
Layer = tuple[int, bool]
UNKNOWN: Final[Layer] = (2**16, False)  # above every sub-layer there is, so that nothing below counts as the highest

_H264_SIDE: Final = frozenset({6, 9, 12})  # supplemental information, access unit delimiter, filler
_HEVC_SIDE: Final = frozenset({35, 38, 39, 40})  # the same
_VOP: Final = b"\x00\x00\x01\xb6"


def layer_reader(codec: str, extradata: bytes | None) -> Callable[[memoryview], Layer] | None:
    """Choose how to read a packet's layer.

    Args:
        codec: The codec's canonical name.
        extradata: The codec's configuration; it says how units are told apart.

    Returns:
        A function from the packet's bytes to its layer; None where the codec has no pictures that can be skipped.
    """
    if codec == "mpeg4":
        return _mpeg4_layer
    if codec not in ("h264", "hevc"):
        return None
    read = _h264_layer if codec == "h264" else _hevc_layer
    place = 4 if codec == "h264" else 21
    if extradata and len(extradata) > place and extradata[0] == 1:
        return _length_reader(read, (extradata[place] & 3) + 1)
    return lambda data: read(data, _by_start_code(data))


def disposable_packets(layers: list[Layer]) -> frozenset[int]:
    """Number the packets that no other needs: those unused in their own layer, where that is the highest."""
    highest = max((layer for layer, _ in layers), default=0)
    wanted = highest, True
    return frozenset([number for number, layer in enumerate(layers) if layer == wanted])


def _length_reader(read: Callable[[memoryview, Iterable[int]], Layer], num_bytes: int) -> Callable[[memoryview], Layer]:
    """Read packets of units behind their lengths; for one unit alone, as in most packets, its header tells all."""
    unpack = Struct(">IH").unpack_from
    known: dict[int, Layer] = {}

    def layer(data: memoryview) -> Layer:
        if num_bytes == 4 and len(data) > 5:
            size, header = unpack(data)
            if size == len(data) - 4:
                if header not in known:
                    known[header] = read(data, (4,))
                return known[header]
        return read(data, _by_length(data, num_bytes))

    return layer


def _by_length(data: memoryview, num_bytes: int) -> Iterator[int]:
    """Yield where units begin that stand behind their lengths; -1 where the lengths do not add up."""
    place, end = 0, len(data)
    while place < end:
        size = int.from_bytes(data[place : place + num_bytes], "big")
        start = place + num_bytes
        place = start + size
        if size < 2 or place > end:
            yield -1
            return
        yield start


def _by_start_code(data: memoryview) -> Iterator[int]:
    """Yield where units begin that stand behind 0, 0, 1."""
    content = bytes(data)
    place = content.find(b"\x00\x00\x01")
    while place >= 0:
        yield place + 3 if place + 5 <= len(content) else -1
        place = content.find(b"\x00\x00\x01", place + 3)


def _h264_layer(data: memoryview, starts: Iterable[int]) -> Layer:
    pictures = 0
    for start in starts:
        if start < 0:
            return UNKNOWN
        header = data[start]
        if header & 0x1F not in _H264_SIDE:
            if header != 1:  # not a slice with nal_ref_idc 0
                return 0, False
            pictures += 1
    return 0, pictures > 0


def _hevc_layer(data: memoryview, starts: Iterable[int]) -> Layer:
    temporal, unused = -1, True
    for start in starts:
        if start < 0:
            return UNKNOWN
        kind = data[start] >> 1 & 0x3F
        if data[start] & 1 or data[start + 1] & 0xF8:  # another spatial layer
            return UNKNOWN
        if kind < 32:
            temporal = max(temporal, (data[start + 1] & 7) - 1)
            unused = unused and kind < 16 and kind % 2 == 0
        elif kind not in _HEVC_SIDE:
            unused = False
    return (temporal, unused) if temporal >= 0 else UNKNOWN


def _mpeg4_layer(data: memoryview) -> Layer:
    """Say whether a packet is one B-VOP and nothing else."""
    begins = len(data) > 4 and data[4] >> 6 == 2
    return 0, begins and bytes(data).rfind(_VOP) == 0
