"""Real footage as a source of the built-in dataset: a window that moves over frames of videos found in a folder.

Shapes: F stored frames, T frames of a clip, H and W pixels.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kinema.data.annotations.sample import Sample
from kinema.data.motion.scenes import Trajectory, add_noise, draw_trajectory
from kinema.data.split.samples import split_samples
from kinema.data.video.opening import Video, VideoError, is_video, open_video

STORED_FRAMES = 64
STORED_SHORT_SIDE = 2.2
VAL_SHARE = 0.25
DIGEST_BYTES = 1 << 20
DECODED_BYTES = 1 << 28


@dataclass(frozen=True)
class Footage:
    """A video of the folder: its name relative to the folder, and a digest that finds copies of it."""

    name: str
    digest: str


def find_footage(root: Path) -> list[Footage]:
    """Finds the videos and folders of frames below a folder, sorted by name; of equal files only the first counts.

    Raises:
        ValueError: If there is no such folder, or no video in it.
    """
    if not root.is_dir():
        raise ValueError(f"footage must be a folder of videos, got {root}; name one that exists")
    found: dict[str, Footage] = {}
    for path in _videos_below(root):
        digest = _digest(path)
        found.setdefault(digest, Footage(name=path.relative_to(root).as_posix(), digest=digest))
    if not found:
        raise ValueError(f"footage must be a folder with videos in it, got {root} with none; name another")
    return sorted(found.values(), key=lambda footage: footage.name)


def store_footage(
    root: Path, footage: Sequence[Footage], store: Path, *, frame_size: int, fps: float, max_length: int
) -> list[Footage]:
    """Decodes some frames of each video, scales them down, and stores them as one array a video.

    Videos that cannot be read are counted and named in one warning, and left out.

    Args:
        root: The folder that the names are relative to.
        footage: The videos.
        store: Where the arrays go; `load_stored` reads them.
        frame_size: Side of the clips to be made; the stored frames' short side is 2.2 times that.
        fps: Frames per second of the clips to be made: the footage plays at its own speed.
        max_length: The most frames that a clip has.

    Returns:
        The videos that could be read.

    Raises:
        ValueError: If none could.
    """
    readable, failures = [], []
    for item in footage:
        try:
            with open_video(root / item.name) as video:
                frames = _read_small(video, frame_size=frame_size, fps=fps, max_length=max_length)
        except VideoError as error:
            failures.append((item.name, error))
            continue
        np.save(_stored_path(store, item), frames)
        readable.append(item)
    if not readable:
        raise ValueError(
            f"footage must hold a readable video, got {root} with {len(failures)} unreadable ones; "
            f"the first says: {failures[0][1]}"
        )
    if failures:
        names = ", ".join(name for name, _ in failures)
        warnings.warn(
            f"{len(failures)} of {len(footage)} videos in {root} cannot be read and are left out: {names}", stacklevel=2
        )
    return readable


def load_stored(store: Path, footage: Footage) -> np.ndarray:
    """Opens what `store_footage` stored, without reading it whole: uint8 [F, H, W, 3]."""
    return np.load(_stored_path(store, footage), mmap_mode="r")


def split_footage(
    footage: Sequence[Footage], *, group_pattern: str | None, seed: int
) -> tuple[list[Footage], list[Footage]]:
    """Splits videos into three quarters for training and one for validation, by the rules of `split_samples`.

    Args:
        footage: The videos.
        group_pattern: Regular expression that names the group of a video, which stays on one side.
        seed: Another seed is another split.

    Raises:
        ValueError: If there are fewer than two groups, or the pattern is no regular expression or is found in no name.
    """
    videos = {item.name: item for item in footage}
    samples = [Sample(path=Path(name), class_name="footage", name=name) for name in videos]
    train, val = split_samples(samples, val_fraction=VAL_SHARE, seed=seed, group_pattern=group_pattern)
    if not val:
        raise ValueError(
            f"footage must hold videos of at least two groups, got {len(footage)} of one; training and validation "
            "never share footage: add videos, or change group_pattern"
        )
    return [videos[sample.name] for sample in train], [videos[sample.name] for sample in val]


def draw_footage_scene(
    stored: np.ndarray,
    axis: str,
    length: int,
    *,
    frame_size: int,
    noise: float,
    speed: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Moves a window over footage so that what it shows moves; the footage plays forwards or backwards by a coin.

    Args:
        stored: Frames of one video, uint8. [F, H, W, 3]
        axis: One of `AXES`.
        length: Number of frames T; footage with fewer frames is played slower.
        frame_size: Height and width in pixels.
        noise: Standard deviation of each frame's own noise, of values in [0, 1].
        speed: Factor on how far the window goes.
        rng: Source of all randomness.

    Returns:
        Frames, uint8. [T, H, W, 3]
    """
    base_angle = rng.uniform(-np.pi, np.pi) if axis == "turn" else 0.0
    trajectory = draw_trajectory(axis, length, speed=speed, base_position=np.zeros(2), base_angle=base_angle, rng=rng)
    start = rng.integers(max(1, len(stored) - length + 1))
    indices = start + np.arange(length) * min(length, len(stored)) // length
    if rng.integers(2):
        indices = indices[::-1]
    origin, side = _place_window(trajectory, stored[indices[length // 2]], rng)
    frames = np.empty((length, frame_size, frame_size, 3), np.uint8)
    for frame, index in enumerate(indices):
        matrix = trajectory.sampling_matrix(frame, origin=origin, side=side, frame_size=frame_size)
        picture = Image.fromarray(np.ascontiguousarray(stored[index]))
        window = picture.transform((frame_size, frame_size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        frames[frame] = np.asarray(window)
    return add_noise(frames, noise, rng)


def _place_window(
    trajectory: Trajectory, picture: np.ndarray, rng: np.random.Generator
) -> tuple[tuple[float, float], float]:
    """Finds a place from which the window never leaves the picture; of three, the one with most to see."""
    height, width = picture.shape[:2]
    reach = 0.5 * (np.abs(np.cos(trajectory.angle)) + np.abs(np.sin(trajectory.angle))) / trajectory.scale
    low = (reach[:, None] + trajectory.position).max(axis=0)
    high = (reach[:, None] - trajectory.position).max(axis=0)
    room = np.array([width, height])
    side = min(rng.uniform(0.45, 0.57) * room.min(), (0.999 * room / (low + high)).min())
    places = rng.uniform(side * low, room - side * high, size=(3, 2))
    half = side / 2

    def to_see(place: np.ndarray) -> float:
        left, top, right, bottom = (int(value) for value in (*(place - half), *(place + half)))
        return float(picture[max(0, top) : bottom + 1, max(0, left) : right + 1].std())

    best = max(places, key=to_see)
    return (float(best[0]), float(best[1])), float(side)


def _read_small(video: Video, *, frame_size: int, fps: float, max_length: int) -> np.ndarray:
    """Reads frames [F, H, W, 3] around the middle, spaced so that the video plays at its own speed, scaled down."""
    spacing = max(1, min(round(video.fps / fps), len(video) // max_length))
    count = min(max(STORED_FRAMES, max_length), math.ceil(len(video) / spacing))
    first = (len(video) - (count - 1) * spacing - 1) // 2
    indices = range(first, first + count * spacing, spacing)
    height, width = video.frames(indices[:1]).shape[1:3]
    at_once = max(1, DECODED_BYTES // (height * width * 3))
    small = []
    for start in range(0, count, at_once):
        frames = video.frames(indices[start : start + at_once])
        small += [_shrink(frame, round(STORED_SHORT_SIDE * frame_size)) for frame in frames]
    return np.stack(small)


def _shrink(frame: np.ndarray, short_side: int) -> np.ndarray:
    height, width = frame.shape[:2]
    factor = short_side / min(height, width)
    size = (max(short_side, round(width * factor)), max(short_side, round(height * factor)))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _videos_below(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.iterdir()):
        if is_video(path):
            found.append(path)
        elif path.is_dir():
            found += _videos_below(path)
    return found


def _digest(path: Path) -> str:
    """Of a file: its size and beginning; of a folder of frames: its names, and the first file with a size."""
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{'' if file == path else file.name} {file.stat().st_size}\n".encode())
    with files[0].open("rb") as stream:
        digest.update(stream.read(DIGEST_BYTES))
    return digest.hexdigest()


def _stored_path(store: Path, footage: Footage) -> Path:
    return store / f"{footage.digest}.npy"
