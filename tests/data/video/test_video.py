"""Frame i is frame i: in every codec and container that can be written here, and in strange files made on purpose."""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import VideoFrame
from PIL import Image

from counting import add_counting_stream, counting_frame, numbers_in, rgb_of, write_counting_video
from kinema.data.video import file as video_file
from kinema.data.video.opening import VideoError, is_video, open_video
from kinema.data.video.packet_index import PacketIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """A way to write a video, and whether its packets prove which frame is which."""

    codec: str
    container: str
    sequential: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [self.codec, self.container, *(f"{name}{value}" for name, value in self.settings.items())]
        return "-".join(word for word in words if "{" not in word)


def _x264(**parameters: object) -> dict[str, str]:
    return {"x264-params": ":".join(f"{name.replace('_', '-')}={value}" for name, value in parameters.items())}


def _x265(**parameters: object) -> dict[str, str]:
    fixed = {"log-level": "none", "scenecut": 0, "min-keyint": 1}
    return {
        "x265-params": ":".join(f"{name.replace('_', '-')}={value}" for name, value in (fixed | parameters).items())
    }


_LOOK_AHEAD = {"auto-alt-ref": "1", "lag-in-frames": "16"}  # hidden reference frames
_PYRAMID = {"gop_size": 12, "b_frames": 3, "options": _x264(b_adapt=0, b_pyramid="normal")}
_OPEN = {"gop_size": 8, "b_frames": 3, "options": _x264(open_gop=1, b_adapt=0)}
CASES = [
    *(Case("libx264", box, settings={"gop_size": 1, "b_frames": 0}) for box in ("mp4", "mkv", "mov", "ts", "avi")),
    *(Case("libx264", box, settings={"gop_size": 12, "b_frames": 0}) for box in ("mp4", "mkv", "avi")),
    *(Case("libx264", box, settings={"gop_size": 250, "b_frames": 3}) for box in ("mp4", "mkv", "mov", "ts")),
    *(Case("libx264", box, settings=_PYRAMID) for box in ("mp4", "mkv", "ts")),
    *(Case("libx264", box, settings=_OPEN) for box in ("mp4", "mkv", "ts")),
    Case("libx264", "avi", sequential=True, settings=_PYRAMID),
    Case("libx264", "mp4", sequential=True, settings={"pix_fmt": "yuv444p"}),
    *(Case("libx265", box, settings={"options": _x265(keyint=1)}) for box in ("mp4", "mkv")),
    *(Case("libx265", box, settings={"options": _x265(keyint=8, open_gop=1)}) for box in ("mp4", "mkv", "ts")),
    *(Case("libx265", box, settings={"options": _x265(keyint=8, open_gop=0)}) for box in ("mp4", "mkv")),
    Case("libx265", "mp4", settings={"pix_fmt": "yuv420p10le", "options": _x265(keyint=12)}),
    *(Case("mpeg4", box, settings={"gop_size": 12, "b_frames": 0}) for box in ("mp4", "mkv", "avi", "ts")),
    *(Case("mpeg4", box, settings={"gop_size": 12, "b_frames": 2}) for box in ("mp4", "mkv", "mov", "ts")),
    Case("mpeg4", "avi", sequential=True, settings={"gop_size": 12, "b_frames": 2}),
    *(Case("libvpx", box, settings={"gop_size": 10, "options": _LOOK_AHEAD}) for box in ("webm", "mkv")),
    *(Case("libvpx-vp9", box, settings={"gop_size": 10, "options": _LOOK_AHEAD}) for box in ("webm", "mkv", "mp4")),
    *(Case("libsvtav1", box, settings={"gop_size": 16}) for box in ("mp4", "mkv", "webm")),
    *(Case("ffv1", box, settings={"gop_size": 10}) for box in ("mkv", "avi")),
    *(Case("mjpeg", box, settings={"pix_fmt": "yuvj420p"}) for box in ("avi", "mov", "mkv")),
    Case("prores_ks", "mov"),
    Case("huffyuv", "avi"),
    Case("ffvhuff", "avi"),
    Case("utvideo", "avi"),
    Case("png", "mov"),
    Case("rawvideo", "mkv"),
    Case("gif", "gif", sequential=True),
    *(Case("mpeg2video", box, True, {"gop_size": 8, "b_frames": 2}) for box in ("ts", "mpg", "mkv")),
    Case("mpeg1video", "mpg", sequential=True, settings={"gop_size": 8, "b_frames": 2}),
    *(Case(codec, "avi", sequential=True) for codec in ("msmpeg4", "wmv2", "h263p", "svq1", "cinepak", "snow")),
    Case("wmv2", "wmv", sequential=True),
    Case("libx264", "flv", sequential=True),
    Case("flv", "flv", sequential=True),
    Case("qtrle", "mov", sequential=True),
]


def _decoded_plainly(path: Path) -> NDArray[np.uint8]:
    """Every frame by PyAV's own loop: [T, H, W, 3]."""
    with av.open(str(path)) as container:
        return np.stack([rgb_of(frame) for frame in container.decode(video=0)])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_read_that_asks_for_frame_i_gets_frame_i(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_counting_video(
        tmp_path / f"counting.{case.container}", codec=case.codec, num_frames=30, **case.settings
    )
    plain = _decoded_plainly(path)
    assert numbers_in(plain) == list(range(30))
    order = [*range(30), 7, 7, 29]
    random.Random(0).shuffle(order)
    for kept_bytes in (video_file._KEPT_BYTES, 0):  # packets kept in memory, and read again by seeking
        monkeypatch.setattr(video_file, "_KEPT_BYTES", kept_bytes)
        with open_video(path) as video:
            assert isinstance(video, video_file.VideoFile)
            assert len(video) == 30
            assert video.fps == pytest.approx(25, rel=0.01)
            assert np.array_equal(video.frames(order), plain[order])
            for number in order[:8]:
                assert np.array_equal(video.frames([number]), plain[[number]])
            assert np.array_equal(video.frames([28, 2, 15]), plain[[28, 2, 15]])
            assert (video.sequential_reason is not None) == case.sequential, video.sequential_reason


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_few_frames_of_a_long_file_are_cheap(container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_counting_video(
        tmp_path / f"long.{container}", num_frames=240, gop_size=20, b_frames=3, options=_x264(scenecut=0)
    )
    monkeypatch.setattr(video_file, "_KEPT_BYTES", 0)
    landed: list[int | None] = []
    find = PacketIndex.find
    monkeypatch.setattr(PacketIndex, "find", lambda index, packet: landed.append(find(index, packet)) or landed[-1])
    with open_video(path) as video:
        assert isinstance(video, video_file.VideoFile)
        decoded: list[int] = []
        feed = video._feed
        monkeypatch.setattr(video, "_feed", lambda packets: decoded.append(len(packets)) or feed(packets))
        assert numbers_in(video.frames([130, 225, 131])) == [130, 225, 131]
    assert landed == [120, 220]
    assert sum(decoded) <= 2 * 20


def test_a_video_knows_its_length_rate_and_duration(counting_video: Path) -> None:
    with open_video(str(counting_video)) as video:
        assert (len(video), video.fps, video.duration_seconds) == (40, 25.0, 1.6)
        assert video.path == counting_video
        assert video.frames(np.array([3, 1])).shape == (2, 64, 64, 3)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_and_mirroring_tags_are_applied(rotation: int, mirrored: bool, tmp_path: Path) -> None:
    path = write_counting_video(tmp_path / "turned.mp4", width=96, num_frames=3, rotation=rotation, mirrored=mirrored)
    upright = np.rot90(_decoded_plainly(path), rotation // 90, axes=(1, 2))
    with open_video(path) as video:
        assert np.array_equal(video.frames(range(3)), upright[:, :, ::-1] if mirrored else upright)


def test_a_variable_frame_rate_keeps_every_frame(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).choice([20, 40, 130], 29)
    times = [0, *np.cumsum(steps).tolist()]
    path = write_counting_video(tmp_path / "varying.mp4", num_frames=30, times=times)
    with open_video(path) as video:
        assert numbers_in(video.frames(range(30))) == list(range(30))
        assert video.fps == pytest.approx(29 / (times[-1] / 1000), rel=0.02)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_a_first_timestamp_that_is_not_zero_shifts_nothing(container: str, tmp_path: Path) -> None:
    times = range(4000, 4000 + 30 * 40, 40)
    path = write_counting_video(tmp_path / f"late.{container}", num_frames=30, gop_size=8, times=times)
    with open_video(path) as video:
        assert numbers_in(video.frames([0, 29, 13])) == [0, 29, 13]
        assert video.fps == pytest.approx(25, rel=0.01)


def test_the_default_one_of_several_video_streams_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [add_counting_stream(container, codec="libx264", width=width) for width in (64, 96)]
        streams[0].disposition = Disposition(0)
        streams[1].disposition = Disposition.default
        for number in range(10):
            for stream in streams:
                width = stream.codec_context.width
                frame = VideoFrame.from_ndarray(counting_frame(number, width=width), format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    with open_video(path) as video:
        frames = video.frames(range(10))
    assert frames.shape == (10, 64, 96, 3)
    assert numbers_in(frames) == list(range(10))


def test_leading_frames_that_an_edit_list_drops_are_not_counted(counting_video: Path, tmp_path: Path) -> None:
    path = tmp_path / "edited.mp4"
    with av.open(str(counting_video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                packet.pts -= int(5 / 25 / packet.time_base)
                packet.dts -= int(5 / 25 / packet.time_base)
                packet.stream = stream
                target.mux(packet)
    with av.open(str(path)) as container:
        assert any(packet.is_discard for packet in container.demux(video=0))
    with open_video(path) as video:
        assert numbers_in(video.frames(range(len(video)))) == list(range(5, 40))
        assert numbers_in(video.frames([30, 0])) == [35, 5]


@pytest.mark.parametrize("claimed", [3, 1000])
def test_a_header_that_lies_about_the_number_of_frames_is_not_believed(claimed: int, tmp_path: Path) -> None:
    path = write_counting_video(tmp_path / "lying.avi", num_frames=30, gop_size=8, b_frames=0)
    data = bytearray(path.read_bytes())
    for chunk, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        place = data.index(chunk) + offset
        assert int.from_bytes(data[place : place + 4], "little") == 30
        data[place : place + 4] = claimed.to_bytes(4, "little")
    path.write_bytes(data)
    with open_video(path) as video:
        assert len(video) == 30
        assert numbers_in(video.frames([29, 0])) == [29, 0]


def test_metadata_that_is_not_utf_8_does_no_harm(tmp_path: Path) -> None:
    path = write_counting_video(tmp_path / "title.avi", num_frames=5, metadata={"title": "TITLE"})
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"T\xff\xfe\xe9E"))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    with open_video(path) as video:
        assert numbers_in(video.frames(range(5))) == list(range(5))


@pytest.mark.parametrize("width", [64, 65, 66, 70, 92, 35])
def test_every_column_of_an_odd_size_is_exact(width: int, tmp_path: Path) -> None:
    path = tmp_path / "gray.mkv"
    levels = np.random.default_rng(0).integers(16, 236, (51, width), np.uint8)
    planes = [levels, np.full((26, (width + 1) // 2), 128, np.uint8), np.full((26, (width + 1) // 2), 128, np.uint8)]
    with av.open(str(path), "w") as container:
        stream = add_counting_stream(container, codec="ffv1", width=width, height=51)
        frame = VideoFrame(width, 51, "yuv420p")
        for plane, values in zip(frame.planes, planes, strict=True):
            padded = np.zeros((values.shape[0], plane.line_size), np.uint8)
            padded[:, : values.shape[1]] = values
            plane.update(padded.tobytes())
        container.mux([*stream.encode(frame), *stream.encode(None)])
    expected = (levels.astype(float) - 16) * 255 / 219  # ITU-R BT.601, gray
    with open_video(path) as video:
        clip = video.frames([0])
    assert clip.shape == (1, 51, width, 3)
    # swscale's fast way with even widths gives up to 2 levels less.
    assert np.abs(clip[0] - expected[..., None]).max() < 3


def test_frames_keep_one_size_where_the_picture_size_changes_midway(tmp_path: Path) -> None:
    parts = [
        write_counting_video(tmp_path / f"{width}.ts", width=width, height=width, num_frames=10) for width in (64, 96)
    ]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_video(path) as video:
        frames = video.frames(range(len(video)))
    assert frames.shape == (20, 64, 64, 3)
    assert numbers_in(frames) == [*range(10), *range(10)]


def test_a_video_of_one_frame_has_a_rate(tmp_path: Path) -> None:
    for container in ("mp4", "mkv", "avi"):
        with open_video(write_counting_video(tmp_path / f"one.{container}", num_frames=1, rate=10)) as video:
            assert len(video) == 1
            assert video.fps == pytest.approx(10)
            assert numbers_in(video.frames([0, 0])) == [0, 0]


def test_names_with_colons_percents_and_blanks_are_names(tmp_path: Path, counting_video: Path) -> None:
    for name in ("concat:a.mp4", "100%03d.mp4", "a clip 'one'.mp4"):
        path = tmp_path / name
        path.write_bytes(counting_video.read_bytes())
        with open_video(path) as video:
            assert len(video) == 40


def _one_sentence(error: pytest.ExceptionInfo[VideoError], path: Path) -> str:
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    again = pickle.loads(pickle.dumps(error.value))
    assert type(again) is VideoError
    assert str(again) == message
    return message.removeprefix(f"{path}: ")


def _unreadable_files(folder: Path) -> dict[str, Path]:
    """Make files that cannot be opened: what the sentence says, and the file."""
    whole = write_counting_video(folder / "whole.mp4").read_bytes()
    early = write_counting_video(folder / "early.mp4", container_options={"movflags": "faststart"}).read_bytes()
    contents = {
        "the file is empty": b"",
        "not a video that can be opened": b"This is a letter, not a video.\n" * 100,
        "without a readable index": whole[: len(whole) // 2],
        "the file is cut off": early[: len(early) * 3 // 4],
    }
    paths = {}
    for number, (fragment, content) in enumerate(contents.items()):
        paths[fragment] = folder / f"{number}.mp4"
        paths[fragment].write_bytes(content)
    paths["only audio"] = folder / "sound.mp4"
    with av.open(str(paths["only audio"]), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    paths["no such file"] = folder / "absent.mp4"
    paths["no numbered frames"] = folder / "empty"
    paths["no numbered frames"].mkdir()
    return paths


def test_what_cannot_be_opened_gives_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = _unreadable_files(tmp_path)
    capfd.readouterr()
    for fragment, path in paths.items():
        with pytest.raises(VideoError) as error:
            open_video(path)
        assert fragment in _one_sentence(error, path)
    assert capfd.readouterr() == ("", "")


def test_a_file_without_permission_gives_one_sentence(counting_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise av.error.PermissionError(13, "Permission denied", str(counting_video))

    monkeypatch.setattr(av, "open", refuse)  # the one who runs the tests may be root, whom no file refuses
    with pytest.raises(VideoError) as error:
        open_video(counting_video)
    assert "permission denied" in _one_sentence(error, counting_video)


@pytest.mark.parametrize(("codec", "container"), [("libx264", "mp4"), ("libsvtav1", "mp4"), ("mpeg4", "avi")])
def test_damage_spoils_only_its_own_group_of_pictures(
    codec: str, container: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_counting_video(tmp_path / f"damaged.{container}", codec=codec, num_frames=40, gop_size=10, b_frames=0)
    plain = _decoded_plainly(path)
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    group = next((first, following) for first, following in pairwise(keys) if first <= 14 < following)
    data = bytearray(path.read_bytes())
    spoilt = packets[14]
    assert spoilt.pos is not None
    data[spoilt.pos : spoilt.pos + spoilt.size] = random.Random(0).randbytes(spoilt.size)
    path.write_bytes(data)
    capfd.readouterr()
    with open_video(path) as video:
        assert len(video) == 40
        good = [number for number in range(40) if not group[0] <= number < group[1]]
        assert np.array_equal(video.frames(good), plain[good])
        with pytest.raises(VideoError) as error:
            video.frames([3, group[1] - 1])
        assert any(f"frame {number}" in _one_sentence(error, path) for number in range(*group))
        assert np.array_equal(video.frames(good), plain[good])
    assert capfd.readouterr() == ("", "")


def test_a_picture_cut_short_is_not_filled_in(tmp_path: Path) -> None:
    path = write_counting_video(
        tmp_path / "cut.avi", codec="mjpeg", pix_fmt="yuvj420p", num_frames=8, width=160, height=128
    )
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][4]
    data = bytearray(path.read_bytes())
    assert packet.pos is not None
    middle = packet.pos + packet.size * 2 // 3
    data[middle : middle + 2] = b"\xff\xd9"  # JPEG's end of image
    path.write_bytes(data)
    with open_video(path) as video:
        assert numbers_in(video.frames([0, 3, 5, 7])) == [0, 3, 5, 7]
        with pytest.raises(VideoError) as error:
            video.frames([4])
    assert "frame 4 (0.16 s)" in _one_sentence(error, path)


@pytest.mark.parametrize("index", [-1, 40])
def test_a_frame_number_outside_the_video_is_refused(index: int, counting_video: Path) -> None:
    with open_video(counting_video) as video:
        with pytest.raises(
            ValueError, match=rf"indices must lie between 0 and 39, got {index}; .*counting\.mp4 has 40"
        ):
            video.frames([3, index])
        with pytest.raises(ValueError, match="indices must hold at least one frame number, got none"):
            video.frames([])


def test_what_looks_like_a_video(tmp_path: Path) -> None:
    frames = tmp_path / "frames.d"
    frames.mkdir()
    assert not is_video(frames)
    (frames / "img_00001.jpg").touch()
    table = {"a.mp4": True, "B.AVI": True, "c.webm": True, "._a.mp4": False, "a.txt": False, "labels.csv": False}
    for name, expected in table.items():
        assert is_video(Path(name)) == expected, name
    assert is_video(frames)


def test_rates_are_exact_fractions_where_the_file_states_them(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = add_counting_stream(container, codec="libx264", rate=Fraction(24000, 1001))
        for number in range(12):
            frame = VideoFrame.from_ndarray(counting_frame(number), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_video(path) as video:
        assert video.fps == 24000 / 1001


def _write_with_cover(path: Path, *, num_frames: int) -> Path:
    """Write a file whose first stream is a cover picture, and a counting video after it if it is to have frames."""
    with av.open(str(path), "w") as container:
        cover = add_counting_stream(container, codec="mjpeg", pix_fmt="yuvj420p", width=32, height=32)
        cover.disposition = Disposition.attached_pic
        streams = [cover]
        if num_frames:
            streams.append(add_counting_stream(container, codec="libx264"))
        for stream, count in zip(streams, (1, num_frames), strict=False):
            width, height = stream.codec_context.width, stream.codec_context.height
            for number in range(count):
                frame = VideoFrame.from_ndarray(counting_frame(number, width=width, height=height), format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame.reformat(format=stream.codec_context.pix_fmt, threads=1)))
            container.mux(stream.encode(None))
    return path


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    with open_video(_write_with_cover(tmp_path / "film.mp4", num_frames=6)) as video:
        assert numbers_in(video.frames(range(6))) == list(range(6))
    path = _write_with_cover(tmp_path / "cover.mp4", num_frames=0)
    with pytest.raises(VideoError) as error:
        open_video(path)
    assert "only a cover picture" in _one_sentence(error, path)


def test_a_closed_video_says_so(counting_video: Path) -> None:
    video = open_video(counting_video)
    video.close()
    video.close()
    with pytest.raises(ValueError, match="must be open"):
        video.frames([0])


def test_a_playlist_under_a_videos_name_does_not_open_the_file_it_names(counting_video: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(counting_video.read_bytes())
    for name, text in {
        "list.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
        "stream.mp4": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(VideoError, match=rf"{name}: (a playlist that names|not a video)"):
            open_video(tmp_path / name)


def test_a_video_tells_what_a_check_needs(counting_video: Path, tmp_path: Path) -> None:
    turned = write_counting_video(tmp_path / "turned.mp4", width=96, num_frames=3, rotation=90)
    flash = write_counting_video(tmp_path / "flash.flv", codec="flv", num_frames=3)
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.fromarray(counting_frame(0, width=32)).save(folder / "1.JPG")
    table = {
        counting_video: ((64, 64), "h264", "mov,mp4,m4a,3gp,3g2,mj2", None),
        turned: ((96, 64), "h264", "mov,mp4,m4a,3gp,3g2,mj2", None),
        flash: ((64, 64), "flv1", "flv", "codec flv1"),
        folder: ((64, 32), "jpg", "folder", None),
    }
    for path, expected in table.items():
        with open_video(path) as video:
            assert (video.size, video.codec_name, video.container_name, video.sequential_reason) == expected
