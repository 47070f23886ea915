"""One interface to a video, whether a file or a folder of numbered frames: its length, its rate, frames by number.

Exactness comes first: frame i is the i-th frame that decoding the file from its start gives, upright, as RGB; what
cannot be decoded exactly is a `VideoError`, never a guess. How, is told in `file.py` and `frame_folder.py`.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from kinema.data.flow.folder import DESCRIPTION, FlowFolder, is_flow_folder
from kinema.data.video.base import ASSUMED_FPS, Video, VideoError
from kinema.data.video.file import VideoFile
from kinema.data.video.frame_folder import FrameFolder, is_frame_folder
from kinema.data.video.shards import member_of, num_bytes
from kinema.spec import Modality

__all__ = [
    "ASSUMED_FPS",
    "VIDEO_EXTENSIONS",
    "Video",
    "VideoError",
    "is_video",
    "modality_of",
    "open_video",
    "without_extension",
]

VIDEO_EXTENSIONS = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)

_EXTENSION = re.compile(
    rf"(?<=[^/])\.({'|'.join(sorted(one[1:] for one in VIDEO_EXTENSIONS))})(?=$|#[^/]*$)", re.IGNORECASE
)


def open_video(path: str | Path, *, modality: Modality = "rgb", index_cache: bool = False) -> Video:
    """Open a video file, a folder of numbered frames or of optical flow, or a video inside a shard (`shards.py`).

    Args:
        path: The file, the folder, or the path of a shard's member.
        modality: `flow` reads the optical flow in a folder; with any other, frames are read.
        index_cache: Whether what the pass over a file's packets finds is kept for the next time (`index_cache.py`).

    Returns:
        The video, to be closed after use (`with open_video(path) as video: ...`).

    Raises:
        VideoError: It cannot be read: missing, empty, no video in it, cut off, damaged.
    """
    path = Path(path)
    member = member_of(path)
    if member is not None and member.size and modality != "flow":
        return VideoFile(path)
    try:
        if path.is_dir():
            return FlowFolder(path) if modality == "flow" else _open_frames(path)
        size = num_bytes(path)
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file or folder; check the path") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise VideoError(f"{path}: links that lead in a ring; give the file itself") from error
        raise VideoError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if member is None and not path.is_file():
        raise VideoError(f"{path}: neither a file nor a folder; give a video file or a folder of frames")
    if size == 0:
        raise VideoError(f"{path}: the file is empty; copy or download it again")
    if modality == "flow":
        raise VideoError(f"{path}: a file where a folder of optical flow is needed; make one with kinema data flow")
    return VideoFile(path, index_cache=index_cache)


def is_video(path: Path) -> bool:
    """Say whether a path looks like a video, by its extension, or by the frames or the flow in the folder.

    Hidden files (`._clip.mp4`) are none, and a folder with video files is none, whatever pictures lie beside them.
    """
    if path.name.startswith("."):
        return False
    if not path.is_dir():
        return path.suffix.lower() in VIDEO_EXTENSIONS
    return (is_frame_folder(path) or is_flow_folder(path)) and not any(
        entry.suffix.lower() in VIDEO_EXTENSIONS and not entry.name.startswith(".") and entry.is_file()
        for entry in path.iterdir()
    )


def modality_of(path: Path) -> Modality:
    """Tells what lies at a path: `flow` in a folder of nothing else, `rgb` in any other folder and in a file."""
    alone = (path / DESCRIPTION).is_file() or (is_flow_folder(path) and not is_frame_folder(path))
    return "flow" if alone else "rgb"


def without_extension(name: str) -> str:
    """Takes the extension of a video file off a name; what stands behind it, such as `#2-5s`, stays."""
    return _EXTENSION.sub("", name)


def _open_frames(folder: Path) -> Video:
    flow = f"{folder}: the folder holds optical flow, not frames; take it with --clip.modality flow"
    if (folder / DESCRIPTION).is_file():
        raise VideoError(flow)
    try:
        return FrameFolder(folder)
    except VideoError as error:  # the folder is listed again only now, for most hold frames
        if modality_of(folder) == "flow":
            raise VideoError(flow) from error
        raise
