"""Opening a video file with PyAV: which stream, with one decoder thread; and turning its frames upright."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Discard, Disposition

from kinema.data.video.base import MAX_PIXELS, VideoError, check_size
from kinema.data.video.shards import member_of, open_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from av.sidedata.sidedata import SideDataContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# The containers that are opened, by FFmpeg's names. A playlist, a manifest or a pattern of names is none of them: what
# they name could be any file of the machine. Those of sound alone are here to be refused by what they hold.
_CONTAINERS: Final = (
    *("asf", "avi", "dv", "flv", "gif", "h264", "hevc", "ivf", "m4v", "matroska", "mjpeg", "mov", "mpeg", "mpegts"),
    *("mpegvideo", "mxf", "nut", "obu", "ogg", "rm", "vc1", "wtv", "yuv4mpegpipe"),
    *("aac", "flac", "mp3", "wav"),
)
_PLAYLIST_STARTS: Final = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0", b"[playlist]", b"[Reference]")
_LFS_START: Final = b"version https://git-lfs"
_OPTIONS: Final = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(_CONTAINERS),
    "enable_drefs": "0",  # other files that a MOV names
    "use_absolute_path": "0",
    "max_pixels": str(MAX_PIXELS),
}
_PICTURES: Final = Disposition.attached_pic | Disposition.timed_thumbnails


def open_stream(path: Path, *, probe: bool = True) -> tuple[InputContainer, VideoStream]:
    """Open a file and choose its video stream, for decoding by one thread.

    It is the first stream marked as default among those that are no cover picture, or the first of these. The packets
    of all others are skipped.

    Args:
        path: A file that exists.
        probe: Whether first pictures are decoded, to learn what the container does not state.

    Raises:
        VideoError: It is no video, holds none that can be decoded, or one whose pictures are too large.
    """
    try:
        container = _open_container(path, _OPTIONS if probe else _OPTIONS | {"codec_whitelist": "none"})
    except av.FFmpegError as error:
        raise VideoError(_opening_sentence(path, error)) from error
    try:
        chosen = _choose(path, container)
    except BaseException:
        container.close()
        raise
    for stream in container.streams:
        if stream is not chosen:
            stream.discard = Discard.all
    limit_decoder(chosen.codec_context)
    return container, chosen


def _choose(path: Path, container: InputContainer) -> VideoStream:
    pictures = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    default = [stream for stream in pictures if stream.disposition & Disposition.default]
    if not pictures:
        kinds = {"a cover picture" if stream.type == "video" else stream.type for stream in container.streams}
        found = ", ".join(sorted(kinds)) or "nothing"
        raise VideoError(f"{path}: no video stream in the file, only {found}; give a file with moving pictures")
    chosen = (default or pictures)[0]
    if chosen.codec_context is None:
        raise VideoError(f"{path}: the video's codec is unknown to this FFmpeg; re-encode the file as H.264")
    check_size(path, width=chosen.codec_context.width, height=chosen.codec_context.height)
    return chosen


def limit_decoder(context: VideoCodecContext) -> None:
    """Let a decoder not yet open use one thread, and no more memory than the largest picture takes."""
    context.thread_type = "NONE"
    context.thread_count = 1
    options = {"max_pixels": str(MAX_PIXELS)}
    if context.codec.canonical_name == "mjpeg":
        # The only decoder that fills in a picture cut short and does not mark it.
        options["err_detect"] = "explode"
    context.options = options


def _open_container(path: Path, options: dict[str, str]) -> InputContainer:
    """Open a file by its name, or the bytes of a member of a shard; nothing that it names is opened."""
    member = member_of(path)
    if member is not None:
        return av.open(member.open(), "r", metadata_errors="ignore", options=options | {"protocol_whitelist": "none"})
    # "file:" keeps a colon in the name from being taken for a protocol.
    return av.open(f"file:{path}", metadata_errors="ignore", options=options)


def _opening_sentence(path: Path, error: av.FFmpegError) -> str:
    if isinstance(error, PermissionError):
        return f"{path}: permission denied; make the file readable"
    with open_bytes(path) as file:
        start = file.read(64)
    if start.startswith(_LFS_START):
        return f"{path}: a pointer that git-lfs left in the file's place; run `git lfs pull`"
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(_PLAYLIST_STARTS):
        return f"{path}: a playlist that names other files, not a video; give the files it names"
    if start[4:8] == b"ftyp":
        return f"{path}: an MP4 file without a readable index, cut off or never finished; copy or record it again"
    if not start.strip(b"\0"):
        return f"{path}: nothing but zero bytes at its start; copy or download it again"
    return f"{path}: not a video that can be opened ({error.strerror}); check the file"


def all_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode a stream just opened, from the start to the end.

    Args:
        container: The open file.
        stream: One of its streams.

    Yields:
        The frames in display order.
    """
    for packet in container.demux(stream):
        if packet.size:  # an empty packet would tell the decoder that the stream ends
            yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


class Turn(NamedTuple):
    """How a picture is brought upright: rows and columns are exchanged, then each is reversed or not."""

    transposed: bool
    down: bool
    across: bool


def turn_of(frame: VideoFrame) -> Turn:
    """Read how a frame is to be turned and mirrored from its display matrix.

    The matrix [[a, b, u], [c, d, v], [x, y, w]] takes a pixel to (a x + c y, b x + d y). Quarter turns and mirrorings
    are exact; another angle is taken to the nearest of these.
    """
    a, b, c, d = display_matrix(frame)
    transposed = abs(a) + abs(d) < abs(b) + abs(c)
    across, down = (c, b) if transposed else (a, d)
    return Turn(transposed, down < 0, across < 0)


def upright(rgb: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """Turn and mirror a frame.

    Args:
        rgb: The picture as stored, [H, W, 3].
        turn: How.

    Returns:
        The picture as it is meant to be seen, [H, W, 3] or, after a quarter turn, [W, H, 3].
    """
    if turn.transposed:
        rgb = rgb.transpose(1, 0, 2)
    return rgb[:: -1 if turn.down else 1, :: -1 if turn.across else 1]


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Read the four numbers of the display matrix that turn and mirror, [[a, b], [c, d]] row by row."""
    try:
        side_data = cast("SideDataContainer", frame.side_data)
        if SideDataType.DISPLAYMATRIX not in side_data:
            return 1, 0, 0, 1
        a, b, _, c, d = np.frombuffer(bytes(side_data[SideDataType.DISPLAYMATRIX]), np.int32)[:5].tolist()
    except ValueError:  # PyAV cannot list side data that has a kind newer than itself; then it knows the turn alone
        turns = round(frame.rotation / 90) % 4
        return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[turns]
    return a, b, c, d
