"""The built-in dataset on disk: video files that carry no trace of the direction they were written in.

Shapes: T frames, H and W pixels.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

QP = 20


def encode_clip(frames: np.ndarray, path: Path, *, fps: int) -> None:
    """Writes all-intra H.264 at constant QP with one thread, so that a frame's bits depend on that frame alone.

    Args:
        frames: uint8. [T, H, W, 3]
        path: File to write.
        fps: Frames per second.
    """
    reformatter = VideoReformatter()
    options = {"preset": "ultrafast", "qp": str(QP), "x264-params": "keyint=1:bframes=0:scenecut=0:threads=1"}
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = reformatter.reformat(picture, format="yuv420p", threads=1)
            picture.pts, picture.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def clips_fingerprint(folder: Path) -> str:
    """Digest of the names and bytes of all clips."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/*/*.mp4")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
