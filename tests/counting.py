"""Video files whose frame i carries i in its brightness, so that pixels tell which frames were decoded."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from av.container import OutputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

_BITS = 8


def rgb_of(frame: VideoFrame) -> NDArray[np.uint8]:
    """Convert a frame to RGB by one thread: a forked worker that frees a converter with threads waits forever."""
    return np.asarray(VideoReformatter().reformat(frame, format="rgb24", threads=1).to_ndarray(), np.uint8)


def counting_frame(number: int, *, width: int = 64, height: int = 64) -> NDArray[np.uint8]:
    """Draw 8 blocks, 4 across and 2 down, white where the bit of the number is one, lowest bit first: [H, W, 3].

    A texture that is new in every frame lies over them, so that no frame is a copy of another part by part.
    """
    frame = np.zeros((height, width, 3), np.uint8)
    for bit in range(_BITS):
        frame[_block(bit, width=width, height=height)] = 205 if number >> bit & 1 else 25
    grain = np.random.default_rng(number).integers(0, 25, (height // 4 + 1, width // 4 + 1, 1), np.uint8)
    return frame + grain.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]


def numbers_in(frames: NDArray[np.uint8]) -> list[int]:
    """Read the numbers from frames [T, H, W, 3]; blocks that are neither black nor white are an error."""
    height, width = frames.shape[1:3]
    numbers = [0] * len(frames)
    for bit in range(_BITS):
        rows, columns = _block(bit, width=width, height=height)
        inner = frames[:, rows, columns][:, 2:-2, 2:-2].mean(axis=(1, 2, 3))
        assert ((inner < 80) | (inner > 175)).all(), f"block {bit} is gray: {inner}"
        numbers = [number | int(bright > 128) << bit for number, bright in zip(numbers, inner, strict=True)]
    return numbers


def write_counting_video(
    path: Path,
    *,
    codec: str = "libx264",
    num_frames: int = 40,
    width: int = 64,
    height: int = 64,
    rate: int = 25,
    gop_size: int | None = None,
    b_frames: int | None = None,
    pix_fmt: str | None = None,
    times: Sequence[int] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Encode a counting video.

    Args:
        path: Where; the extension names the container.
        codec: FFmpeg's name of the encoder.
        num_frames: At most 256.
        width: Of the stored picture.
        height: Of the stored picture.
        rate: Frames per second.
        gop_size: Distance of keyframes; the encoder's default if None.
        b_frames: At most so many between two others; the encoder's default if None.
        pix_fmt: The pixel format; the codec's first one if None, 4:2:0 where it has it.
        times: Presentation times in ticks of 1 / (40 rate) seconds; steady if None.
        rotation: Degrees counter-clockwise that the display matrix asks for.
        mirrored: Whether the display matrix asks for left and right exchanged after the turn.
        options: Of the encoder.
        container_options: Of the writer of the file.
        metadata: Of the file.
    """
    with av.open(str(path), "w", container_options=dict(container_options or {})) as container:
        container.metadata.update(metadata or {})
        stream = add_counting_stream(
            container, codec=codec, width=width, height=height, rate=rate, pix_fmt=pix_fmt, options=options
        )
        if gop_size is not None:
            stream.codec_context.gop_size = gop_size
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 40 * rate)
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for number in range(num_frames):
            frame = VideoFrame.from_ndarray(counting_frame(number, width=width, height=height), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate) if times is None else Fraction(1, 40 * rate)
            frame.pict_type = PictureType.NONE
            container.mux(stream.encode(frame.reformat(format=stream.codec_context.pix_fmt, threads=1)))
        container.mux(stream.encode(None))
    return path


def add_counting_stream(
    container: OutputContainer,
    *,
    codec: str,
    width: int = 64,
    height: int = 64,
    rate: int | Fraction = 25,
    pix_fmt: str | None = None,
    options: Mapping[str, str] | None = None,
) -> VideoStream:
    """Add a video stream, encoded by one thread."""
    stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
    formats = [known.name for known in av.Codec(codec, "w").video_formats or ()]
    usual = "yuv420p" if "yuv420p" in formats or not formats else formats[0]
    stream.codec_context.width, stream.codec_context.height = width, height
    stream.codec_context.pix_fmt = pix_fmt or usual
    stream.codec_context.thread_count = 1
    return stream


def _block(bit: int, *, width: int, height: int) -> tuple[slice, slice]:
    row, column = divmod(bit, 4)
    rows = slice(row * height // 2, (row + 1) * height // 2)
    return rows, slice(column * width // 4, (column + 1) * width // 4)
