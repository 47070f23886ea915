"""Video files to folders of numbered frames, the dataset otherwise as it was."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kinema.data.annotations import Annotations, Source
from kinema.data.atomic import put_in_place
from kinema.data.prepare.each_video import make_each
from kinema.data.prepare.jobs import StoppedError
from kinema.data.prepare.pictures import resampled, scale, scaled_size
from kinema.data.prepare.report import Report
from kinema.data.prepare.targets import Target, find_targets, write_annotations
from kinema.data.prepare.work_log import WorkLog, unchanged
from kinema.data.video.base import Video
from kinema.data.video.frame_folder import RATE_FILE, rate_text
from kinema.data.video.opening import open_video
from kinema.wording import check

_TEMPLATE: Final = re.compile(r"[^{}/\\]*\{:0?\d*d\}\.(jpg|jpeg|png|webp)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """How videos become folders of frames."""

    short_side: int | None = 256
    """Longest that the short side of a frame may be, in pixels; smaller frames are not enlarged, null keeps all."""
    quality: int = 95
    """Quality of JPEG and WebP, 1 to 100."""
    template: str = "{:05d}.jpg"
    """Names of the frames, counted from 1: `img_{:05d}.jpg`, `{:06d}.jpg`, `{:05d}.png`."""
    fps: float | None = None
    """Frames a second; null keeps every frame."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        short = self.short_side
        check(short is None or short >= 16, "short_side", "be at least 16", short, "256 is usual, null keeps the size")
        check(1 <= self.quality <= 100, "quality", "lie in [1, 100]", self.quality, "95 is nearly without loss")
        sound = _TEMPLATE.fullmatch(self.template) is not None and not self.template.startswith(".")
        check(sound, "template", "hold one number and end in jpg, png or webp", self.template, "such as {:05d}.jpg")
        check(self.fps is None or 0 < self.fps <= 1000, "fps", "be positive", self.fps, "null keeps every frame")


def extract(
    annotations: Annotations,
    source: Source,
    out: Path,
    config: ExtractConfig,
    *,
    num_workers: int = 1,
    quiet: bool = False,
) -> Report:
    """Writes every video of a dataset as a folder of frames, and annotations that fit.

    A folder appears when it is whole; a run that was interrupted goes on where it was, and a video that has changed
    since is done again.

    Args:
        annotations: The dataset.
        source: Where it lies.
        out: The new dataset.
        config: How frames are written.
        num_workers: Videos at the same time.
        quiet: Whether to show no bar.

    Returns:
        What was done, and what cannot be read.

    Raises:
        ValueError: If names or settings do not allow it.
        OSError: If the disk is full or cannot be written to.
    """
    targets = find_targets(annotations.samples, root=source.root, suffix="")
    with WorkLog(out, {"command": "data extract", **asdict(config)}) as log:

        def work(target: Target, stop: Event) -> list[int]:
            return _extract_one(target, log, config, stop)

        report = make_each(targets, log, work, what="extracting", num_workers=num_workers, quiet=quiet)
        report.notes += write_annotations(annotations, source, out, suffix="", unreadable=report.failures)
    return report


def _extract_one(target: Target, log: WorkLog, config: ExtractConfig, stop: Event) -> list[int]:
    """Writes the frames of one video; returns the stamp of what they were taken from."""
    with unchanged(target.source) as before, open_video(target.source) as video:
        partial = log.partial(str(target.number))
        partial.mkdir()
        numbers = resampled(len(video), video.fps, config.fps)
        _write_frames(video, numbers, partial, config, stop)
        rate = rate_text(fps=config.fps or video.fps, num_frames=len(numbers))
        (partial / RATE_FILE).write_text(rate, encoding="utf-8")
    place = log.folder / target.name
    if place.is_dir():  # frames of what the video was before, or nobody's
        place.rename(log.partial(f"{target.number}-before"))
    put_in_place(partial, place)
    return before


def _write_frames(video: Video, numbers: list[int], folder: Path, config: ExtractConfig, stop: Event) -> None:
    written = 0
    for number, frame in enumerate(video.each_frame()):
        if stop.is_set():
            raise StoppedError
        if written == len(numbers):
            break
        if numbers[written] != number:
            continue
        height, width = scaled_size(*frame.shape[:2], short_side=config.short_side)
        picture = scale(frame, height, width)
        while written < len(numbers) and numbers[written] == number:
            _save(picture, folder / config.template.format(written + 1), quality=config.quality)
            written += 1


def _save(picture: NDArray[np.uint8], path: Path, *, quality: int) -> None:
    Image.fromarray(picture).save(path, quality=quality)
