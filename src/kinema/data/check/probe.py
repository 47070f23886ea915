"""What one file gives when it is looked at: frames, rate, size, or why it cannot be read; and a hash of its content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import av

from kinema.data.video.file import VideoFile
from kinema.data.video.opening import Video, VideoError, modality_of, open_video
from kinema.data.video.stream import all_frames, open_stream

Decode = Literal["all", "ends", "none"]
"""How much of each video is decoded: every frame, the first and the last, or none: then its packets are counted."""
Beat = Callable[[], None]
"""Called now and then by long work, to say that it goes on."""

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a file gave."""

    num_frames: int = 0
    """Its frames; 0 where it cannot be read."""
    fps: float = 0.0
    """Its frames per second; 0 for a folder of frames, which states none."""
    width: int = 0
    """Of the upright frame; 0 where none was decoded."""
    height: int = 0
    """Of the upright frame; 0 where none was decoded."""
    changes_size: bool = False
    """Whether frames of several sizes are stored; known where all are decoded."""
    turned: bool = False
    """Whether a tag turns or mirrors it; known where frames are decoded."""
    uneven: float = 0.0
    """Part of the gaps between its frames that are unlike the usual one, by the times of the packets."""
    error: str = ""
    """Why it cannot be read, without its path; empty if it can."""
    lasting: bool = True
    """Whether it would give the same again as long as it is not changed: not so where it may not be opened."""


def signature(path: str) -> tuple[str, int]:
    """Tells a version of a file from others without reading it.

    Args:
        path: A file, or a folder whose own files are meant.

    Returns:
        Words that change with size and time of modification, and the size in bytes.

    Raises:
        OSError: If there is nothing, or it may not be looked at.
    """
    status = os.stat(path)  # noqa: PTH116 (a Path for each of a million is slow)
    if not os.path.isdir(path):  # noqa: PTH112
        return f"{status.st_size}:{status.st_mtime_ns}", status.st_size
    entries = sorted(_stated(path))
    words = hashlib.blake2b(repr(entries).encode(), digest_size=16).hexdigest()
    return f"folder:{words}", sum(size for _, size, _ in entries)


def _stated(folder: str) -> Iterator[tuple[bytes, int, int]]:
    with os.scandir(folder) as scan:
        for entry in scan:
            if not entry.is_dir():
                status = entry.stat()
                yield os.fsencode(entry.name), status.st_size, status.st_mtime_ns


def probe(path: str, decode: Decode, beat: Beat) -> Probe:
    """Reads a video as deep as asked; what is wrong with it is in the answer."""
    try:
        with open_video(path, modality=modality_of(Path(path))) as video:
            beat()
            file = video if isinstance(video, VideoFile) else None
            given = Probe(
                num_frames=len(video), fps=file.fps if file else 0.0, uneven=file.uneven_share if file else 0.0
            )
            if decode == "none":
                return given
            height, width = video.frames([0, len(video) - 1]).shape[1:3]
            changes_size = decode == "all" and _decode_all(video, beat)
            turned = file is not None and file.is_turned
            size = {"num_frames": len(video), "width": width, "height": height}
        return replace(given, **size, changes_size=changes_size, turned=turned)
    except VideoError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return Probe(error=reason, lasting=os.access(path, os.R_OK))


def _decode_all(video: Video, beat: Beat) -> bool:
    """Decodes every frame; tells whether their sizes differ.

    A file is decoded as a player would, which costs no conversion of colours. Where that shows damage, the video's own
    reader has the word, for it is what training reads with.

    Raises:
        VideoError: If a frame cannot be read.
    """
    sizes = _stored_sizes(video, beat) if isinstance(video, VideoFile) else None
    if sizes is None:
        for _ in video._read(range(len(video))):
            beat()
    return sizes is not None and len(sizes) > 1


def _stored_sizes(video: VideoFile, beat: Beat) -> set[tuple[int, int]] | None:
    """Returns the sizes of a file's frames; none where they are not all sound, or not as many as the video has."""
    sizes: set[tuple[int, int]] = set()
    count = 0
    container, stream = open_stream(video.path)
    try:
        for frame in all_frames(container, stream):
            if frame.is_corrupt:
                return None
            sizes.add((frame.width, frame.height))
            count += 1
            beat()
    except av.FFmpegError:
        return None
    finally:
        container.close()
    return sizes if count == len(video) else None


def digest(path: str, beat: Beat) -> str:
    """Hashes the content of a file, or of all files of a folder in the order of their names.

    Raises:
        OSError: If it cannot be read.
    """
    whole = hashlib.blake2b(digest_size=16)
    place = Path(path)
    files = sorted(entry for entry in place.iterdir() if entry.is_file()) if place.is_dir() else [place]
    for file in files:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                whole.update(chunk)
                beat()
        whole.update(b"|" if len(files) > 1 else b"")
    return whole.hexdigest()
