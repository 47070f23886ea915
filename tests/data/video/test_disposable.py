"""Which packets are told to be needed by no other: by hand-made headers, and by decoding without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counting import rgb_of, write_counting_video
from kinema.data.video.disposable import UNKNOWN, disposable_packets, layer_reader
from kinema.data.video.opening import open_video
from kinema.data.video.packet_index import _reordering

if TYPE_CHECKING:
    from pathlib import Path

_AVCC = bytes([1, 100, 0, 10, 0xFF])  # lengths of 4 bytes
_HVCC = bytes([1]) + bytes(20) + b"\x03"


def _units(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def _hevc(kind: int, temporal: int = 0, spatial: int = 0) -> bytes:
    return bytes([kind << 1 | spatial >> 5, (spatial & 31) << 3 | (temporal + 1), 0])


_TABLE = [
    ("h264", _AVCC, _units(b"\x01x"), (0, True)),  # a slice with nal_ref_idc 0
    ("h264", _AVCC, _units(b"\x06x", b"\x09x", b"\x01x", b"\x01x"), (0, True)),
    ("h264", _AVCC, _units(b"\x21x"), (0, False)),
    ("h264", _AVCC, _units(b"\x61x"), (0, False)),
    ("h264", _AVCC, _units(b"\x65x"), (0, False)),
    ("h264", _AVCC, _units(b"\x01x", b"\x21x"), (0, False)),  # two fields, one of them needed
    ("h264", _AVCC, _units(b"\x67x", b"\x01x"), (0, False)),  # brings parameters
    ("h264", _AVCC, _units(b"\x02x"), (0, False)),  # a part of a slice
    ("h264", _AVCC, _units(b"\x06x"), (0, False)),  # no picture
    ("h264", _AVCC, b"\x00\x00\x00\x09\x01x", UNKNOWN),  # longer than the packet
    ("h264", _AVCC, _units(b"\x01x") + b"\x00", UNKNOWN),
    ("h264", None, b"\x00\x00\x00\x01\x09\xf0\x00\x00\x01\x01x", (0, True)),
    ("h264", None, b"\x00\x00\x01\x41x", (0, False)),
    ("h264", None, b"\x00\x00\x01\x01x\x00\x00\x01", UNKNOWN),
    ("hevc", _HVCC, _units(_hevc(0)), (0, True)),
    ("hevc", _HVCC, _units(_hevc(39), _hevc(8)), (0, True)),
    ("hevc", _HVCC, _units(_hevc(1)), (0, False)),
    ("hevc", _HVCC, _units(_hevc(19)), (0, False)),
    ("hevc", _HVCC, _units(_hevc(16)), (0, False)),
    ("hevc", _HVCC, _units(_hevc(2, 1)), (1, True)),
    ("hevc", _HVCC, _units(_hevc(3, 1)), (1, False)),
    ("hevc", _HVCC, _units(_hevc(32), _hevc(0)), (0, False)),
    ("hevc", _HVCC, _units(_hevc(0, spatial=1)), UNKNOWN),
    ("hevc", _HVCC, _units(_hevc(39)), UNKNOWN),
    ("hevc", None, b"\x00\x00\x01" + _hevc(0, 2), (2, True)),
    ("mpeg4", None, b"\x00\x00\x01\xb6\x80x", (0, True)),
    ("mpeg4", None, b"\x00\x00\x01\xb6\x40x", (0, False)),
    ("mpeg4", None, b"\x00\x00\x01\xb6\x00x", (0, False)),
    ("mpeg4", None, b"\x00\x00\x01\xb6\xc0x", (0, False)),
    ("mpeg4", None, b"\x00\x00\x01\xb6\x80x\x00\x00\x01\xb6\x40x", (0, False)),  # two in one packet
    ("mpeg4", None, b"\x00\x00\x01\xb3\x00\x00\x01\xb6\x80x", (0, False)),
    ("mpeg4", None, b"\x00\x00\x01\xb6", (0, False)),
]


@pytest.mark.parametrize(("codec", "extradata", "data", "layer"), _TABLE)
def test_a_packets_layer(codec: str, extradata: bytes | None, data: bytes, layer: tuple[int, bool]) -> None:
    read = layer_reader(codec, extradata)
    assert read is not None
    assert read(memoryview(data)) == layer


_CONTENT = st.one_of(st.binary(max_size=12), st.binary(min_size=1, max_size=4).map(lambda unit: _units(unit + b"x")))


@given(st.sampled_from([("h264", _AVCC), ("hevc", _HVCC), ("h264", None), ("mpeg4", None)]), st.lists(_CONTENT))
def test_any_bytes_have_a_layer_whatever_was_read_before(codec: tuple[str, bytes | None], packets: list[bytes]) -> None:
    read = layer_reader(*codec)
    assert read is not None
    layers = [read(memoryview(data)) for data in packets]
    for data, layer in zip(packets, layers, strict=True):
        alone = layer_reader(*codec)
        assert alone is not None
        assert alone(memoryview(data)) == layer


@given(st.lists(st.integers(0, 40), unique=True, max_size=40))
def test_how_many_frames_wait_for_another(times: list[int]) -> None:
    waiting = [sum(earlier > time for earlier in times[:place]) for place, time in enumerate(times)]
    assert _reordering(times) == max(waiting, default=0)


def test_other_codecs_have_no_pictures_to_skip() -> None:
    assert [layer_reader(codec, None) for codec in ("vp8", "vp9", "av1", "mjpeg")] == [None] * 4


@pytest.mark.parametrize(
    ("layers", "numbers"),
    [
        ([], set()),
        ([(0, False), (0, True), (0, False)], {1}),
        ([(0, False), (0, True), (1, True), (1, False)], {2}),  # those of a lower layer may be used by the higher
        ([(0, False), (0, True), (2, False)], set()),
        ([(0, False), (0, True), UNKNOWN], set()),
    ],
)
def test_only_pictures_of_the_highest_layer_can_be_skipped(layers: list[tuple[int, bool]], numbers: set[int]) -> None:
    assert disposable_packets(layers) == numbers


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        ("libx264", "mp4", {"x264-params": "b-adapt=0:b-pyramid=normal"}),
        ("libx264", "ts", {"x264-params": "b-adapt=0:open-gop=1"}),
        ("libx265", "mp4", {"x265-params": "b-adapt=0:log-level=none"}),
        ("libx265", "mkv", {"x265-params": "b-adapt=0:temporal-layers=3:bframes=3:log-level=none"}),
        ("mpeg4", "mp4", {}),
    ],
)
def test_frames_are_the_same_without_the_pictures_that_no_other_needs(
    codec: str, container: str, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_counting_video(
        tmp_path / f"a.{container}", codec=codec, num_frames=60, gop_size=30, b_frames=3, options=options
    )
    with av.open(str(path)) as file:
        plain = np.stack([rgb_of(frame) for frame in file.decode(video=0)])
    fed: list[int] = []
    with open_video(path) as video:
        feed = video._feed  # type: ignore[attr-defined]
        monkeypatch.setattr(video, "_feed", lambda packets: fed.append(len(packets)) or feed(packets))
        for number in range(60):
            assert np.array_equal(video.frames([number]), plain[[number]]), number
        skipping = list(fed)
        fed.clear()
        monkeypatch.setattr(video._index, "disposable", frozenset())  # type: ignore[attr-defined]
        for number in range(60):
            assert np.array_equal(video.frames([number]), plain[[number]]), number
        assert video.sequential_reason is None
    assert sum(skipping) < 0.8 * sum(fed)
