"""Video files to video files that are quick to read at random, the dataset otherwise as it was."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Final

from kinema.data.annotations import Annotations, Source
from kinema.data.atomic import put_in_place
from kinema.data.prepare.each_video import make_each
from kinema.data.prepare.encode import Encoding, encode
from kinema.data.prepare.pictures import uneven_times
from kinema.data.prepare.report import Report
from kinema.data.prepare.targets import Target, find_targets, write_annotations
from kinema.data.prepare.work_log import WorkLog, unchanged
from kinema.data.video.opening import open_video
from kinema.wording import check

SUFFIX: Final = ".mp4"


def pack_files(
    annotations: Annotations,
    source: Source,
    out: Path,
    encoding: Encoding,
    *,
    num_workers: int = 1,
    quiet: bool = False,
) -> Report:
    """Encodes every video of a dataset anew, and writes annotations that fit.

    A file appears when it is whole and its frames are counted; a run that was interrupted goes on where it was, and a
    video that has changed since is done again.

    Args:
        annotations: The dataset.
        source: Where it lies.
        out: The new dataset.
        encoding: How files are written.
        num_workers: Videos at the same time.
        quiet: Whether to show no bar.

    Returns:
        What was done, and what cannot be read.

    Raises:
        ValueError: If names or settings do not allow it.
        OSError: If the disk is full or cannot be written to.
    """
    check(encoding.codec != "copy", "codec", "be an encoder's for files", "copy", "copy is for --to shards")
    targets = find_targets(annotations.samples, root=source.root, suffix=SUFFIX)
    with WorkLog(out, {"command": "data pack", "to": "files", **asdict(encoding)}) as log:

        def work(target: Target, stop: Event) -> list[int]:
            return _pack_one(target, log, encoding, stop)

        report = make_each(targets, log, work, what="packing", num_workers=num_workers, quiet=quiet)
        report.notes += write_annotations(annotations, source, out, suffix=SUFFIX, unreadable=report.failures)
    return report


def _pack_one(target: Target, log: WorkLog, encoding: Encoding, stop: Event) -> list[int]:
    """Encodes one video; returns the stamp of what was encoded."""
    with unchanged(target.source) as before, open_video(target.source) as video:
        partial = log.partial(f"{target.number}{SUFFIX}")
        times = uneven_times(target.source, length=len(video), fps=video.fps)
        encode(video, partial, encoding, times=times, stop=stop)
    put_in_place(partial, log.folder / target.name)
    return before
