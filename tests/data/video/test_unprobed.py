"""Files opened by their headers alone: what the headers say, and that nothing else is found than by decoding."""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from counting import rgb_of, write_counting_video
from kinema.data.video import indexing
from kinema.data.video.opening import open_video
from kinema.data.video.unprobed import Pictures, h264_pictures, open_unprobed, vp9_size

if TYPE_CHECKING:
    from pathlib import Path

# Of x264: 320x240 with B-frames and what they need; the parameters are the 24 bytes from the ninth on.
_X264 = bytes.fromhex("0164000dffe100186764000dacd94141fa10000003001000000303c0f142996001000668ebe3cb22c0fdf8f800")
_VP9 = bytes.fromhex("8249834200" + "13f0" + "0ef6" + "00")  # 320x240


def _parameters(bits: str, *, number: int = 1) -> bytes:
    """Put a sequence parameter set, from its profile on, behind the head of a configuration."""
    bits = bits.replace(" ", "") + "1"
    unit = b"\x67" + int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return bytes([1, 66, 0, 10, 0xFF, 0xE0 | number]) + len(unit).to_bytes(2, "big") + unit + bytes(8)


_BASELINE = "01000010 00000000 00001010 1"  # profile 66, level 10, number 0
_HIGH = "01100100 00000000 00001010 1"
_COUNTS = "1 1 1 010 0"  # of frame numbers, order by type 0, 1 frame kept, no gaps
_SIZE = "00100 011 1 1"  # 4 x 3 macroblocks, frames, direct prediction
_USABLE = "1 0000 00 00 1 1 1 1 1 1 011 011"  # nothing but the restriction: 2 frames wait
_PLAIN = Pictures(64, 48, 2)


@pytest.mark.parametrize(
    ("extradata", "pictures"),
    [
        (_X264, Pictures(320, 240, 2)),
        (_parameters(_BASELINE + _COUNTS + _SIZE + "0" + _USABLE), _PLAIN),
        (_parameters(_BASELINE + _COUNTS + _SIZE + "1 1 010 1 00110" + _USABLE), Pictures(62, 38, 2)),  # cropped
        (_parameters(_HIGH + "010 1 1 0 0" + _COUNTS + _SIZE + "0" + _USABLE), _PLAIN),
        (_parameters(_BASELINE + "1 010 0 1 1 011 010 010 010 0" + _SIZE + "0" + _USABLE), _PLAIN),  # order by type 1
        (_parameters(_BASELINE + "1 011 010 0" + _SIZE + "0" + _USABLE), _PLAIN),  # and by type 2
        (  # shape, overscan, colours, chroma, timing, both buffers
            _parameters(
                _BASELINE + _COUNTS + _SIZE + "0 1" + "1 11111111" + "0" * 32 + "1 1" + "1 0000 1" + "0" * 24 + "1 1 1"
                "1" + "0" * 65 + ("1 010 00000000" + "1 1 0 1 1 0" + "0" * 20) * 2 + "0 0" + "1 1 1 1 1 1 011 011"
            ),
            _PLAIN,
        ),
        (_parameters(_HIGH + "1 1 1 0 0" + _COUNTS + _SIZE + "0" + _USABLE), None),  # no colours
        (_parameters(_HIGH + "010 011 1 0 0" + _COUNTS + _SIZE + "0" + _USABLE), None),  # 10 bits
        (_parameters(_HIGH + "010 1 1 0 1" + _COUNTS + _SIZE + "0" + _USABLE), None),  # scaling lists
        (_parameters("00101100" + _HIGH[8:] + "010 1 1 0 0" + _COUNTS + _SIZE + "0" + _USABLE), None),  # a profile
        (_parameters(_BASELINE + _COUNTS + "00100 011 0 0 1" + "0" + _USABLE), None),  # fields
        (_parameters(_BASELINE + _COUNTS + _SIZE + "0 0"), None),  # no usability information
        (_parameters(_BASELINE + _COUNTS + _SIZE + "0 1 0000 00 00 0"), None),  # no restriction in it
        (_parameters(_BASELINE + _COUNTS + _SIZE + "0" + _USABLE, number=2), None),
        (_X264[:24], None),  # cut off
        (b"\x00" + _X264[1:], None),  # not of MP4
        (_X264[:8] + b"\x68" + _X264[9:], None),  # a picture parameter set
        (b"", None),
    ],
)
def test_what_h264_states_of_its_pictures(extradata: bytes, pictures: Pictures | None) -> None:
    assert h264_pictures(extradata) == pictures


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (_VP9, (320, 240)),
        (b"\x80" + _VP9[1:], (320, 240)),  # hidden
        (b"\x86" + _VP9[1:], None),  # predicted from others
        (b"\x8a" + _VP9[1:], None),  # one shown again
        (b"\xa2" + _VP9[1:], None),  # profile 1
        (_VP9[:3] + b"\x43" + _VP9[4:], None),
        (_VP9[:4] + b"\xe0" + _VP9[5:], None),  # RGB
        (_VP9[:9], None),
        (b"", None),
    ],
)
def test_the_size_in_a_vp9_keyframe(data: bytes, size: tuple[int, int] | None) -> None:
    assert vp9_size(data) == size


@given(st.binary(max_size=40), st.integers(0, len(_X264)))
@example(b"\xff" * 40, 12)
@example(bytes(40), 12)
def test_any_bytes_give_pictures_or_none(data: bytes, kept: int) -> None:
    assert isinstance(h264_pictures(_X264[:kept] + data), Pictures | None)
    assert isinstance(vp9_size(_VP9[: kept % 10] + data), tuple | None)


def _found(path: Path) -> tuple[Any, ...]:
    file = indexing.index_file(path, kept_bytes=2**25)
    index, context = file.index, file.source.context
    columns = [list(getattr(index, name)) for name in ("pts", "dts", "positions", "sizes", "shown", "keys", "frames")]
    file.source.close()
    return asdict(file.facts), columns, index.disposable, index.plain, context.width, context.extradata


def _found_by_decoding(path: Path) -> tuple[Any, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "open_unprobed", lambda _: None)
        return _found(path)


def _is_unprobed(path: Path) -> bool:
    opened = open_unprobed(path)
    if opened is not None:
        opened[0].close()
    return opened is not None


@pytest.mark.parametrize(
    ("name", "codec", "settings", "unprobed"),
    [
        ("a.mp4", "libx264", {"b_frames": 3, "gop_size": 25}, True),
        ("a.mp4", "libx264", {"b_frames": 0, "gop_size": 250}, True),
        ("a.mp4", "libx264", {"b_frames": 2, "options": {"x264-params": "open-gop=1:keyint=12"}}, True),
        ("a.mp4", "libx264", {"width": 62, "height": 50}, True),
        ("a.mp4", "libx264", {"times": [3 * number + number % 2 for number in range(40)]}, True),
        ("a.mp4", "libx264", {"rotation": 90}, True),
        ("a.mp4", "libx264", {"options": {"movflags": "+faststart"}}, True),
        ("a.mp4", "libx264", {"options": {"x264-params": "intra-refresh=1:bframes=0"}}, True),
        ("a.mp4", "libx264", {"options": {"x264-params": "fullrange=on:colormatrix=bt709"}}, True),
        ("a.mp4", "libx264", {"options": {"x264-params": "nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900"}}, True),
        ("a.mp4", "libx264", {"pix_fmt": "yuv422p"}, False),
        ("a.mp4", "libx264", {"pix_fmt": "yuv420p10le"}, False),
        ("a.mp4", "libx264", {"options": {"x264-params": "interlaced=1"}}, False),
        ("a.mkv", "libx264", {}, False),
        ("a.ts", "libx264", {}, False),
        ("a.mp4", "libx265", {"options": {"x265-params": "log-level=none"}}, False),
        ("a.mp4", "mpeg4", {}, False),
        ("a.webm", "libvpx-vp9", {"gop_size": 20}, True),
        ("a.webm", "libvpx-vp9", {"width": 62, "height": 50}, True),
        ("a.webm", "libvpx", {}, False),
        ("a.mp4", "libvpx-vp9", {}, False),
    ],
)
def test_the_same_is_found_as_by_decoding(
    name: str, codec: str, settings: dict[str, Any], *, unprobed: bool, tmp_path: Path
) -> None:
    path = write_counting_video(tmp_path / name, codec=codec, **settings)
    assert _is_unprobed(path) == unprobed
    assert _found(path) == _found_by_decoding(path)
    with av.open(str(path)) as file:
        plain = np.stack([rgb_of(frame) for frame in file.decode(video=0)])
    numbers = random.Random(f"{name} {settings}").sample(range(len(plain)), 6)
    with open_video(path) as video:
        turns = settings.get("rotation", 0) // 90
        assert np.array_equal(video.frames(numbers), np.rot90(plain[numbers], turns, axes=(1, 2)))


def test_a_size_that_the_pictures_do_not_have_is_found_out(tmp_path: Path) -> None:
    mp4 = write_counting_video(tmp_path / "a.mp4")
    content = mp4.read_bytes()
    place = content.index(b"avc1", 64) + 28  # width and height in the sample entry
    assert content[place : place + 4] == b"\x00\x40\x00\x40"
    mp4.write_bytes(content[:place] + b"\x00\x60\x00\x60" + content[place + 4 :])
    assert not _is_unprobed(mp4)
    webm = write_counting_video(tmp_path / "a.webm", codec="libvpx-vp9")
    webm.write_bytes(webm.read_bytes().replace(b"\xb0\x81\x40", b"\xb0\x81\x60", 1))
    assert _is_unprobed(webm)  # only the first packet shows it
    for path in (mp4, webm):
        assert _found(path) == _found_by_decoding(path)
        assert _found(path)[0]["width"] == 64


def test_parameters_in_the_first_packet_are_found_out(tmp_path: Path) -> None:
    path = write_counting_video(tmp_path / "a.mp4", options={"x264-params": "repeat-headers=1"})
    with open_video(path) as video:
        first = video._index.first  # type: ignore[attr-defined]
    opened = open_unprobed(path)
    assert opened is not None
    container, stream = opened
    assert 7 in [first[place] & 31 for place in _unit_starts(first)]
    assert not indexing.is_as_stated(stream.codec_context, first)
    assert not indexing.is_as_stated(stream.codec_context, first[:-1])
    assert not indexing.is_as_stated(stream.codec_context, b"")
    container.close()
    assert _found(path) == _found_by_decoding(path)


def _unit_starts(data: bytes) -> list[int]:
    starts, place = [], 0
    while place < len(data):
        starts.append(place + 4)
        place += 4 + int.from_bytes(data[place : place + 4], "big")
    return starts


@pytest.mark.slow
def test_the_same_is_found_in_every_real_file(shared_dir: Path) -> None:
    paths = [path for path in sorted(shared_dir.glob("clips/**/*.*")) if path.suffix in (".mp4", ".mkv", ".webm")]
    unprobed = [path for path in paths if _is_unprobed(path)]
    for path in unprobed:
        assert _found(path) == _found_by_decoding(path), path
    assert len(unprobed) > 10
