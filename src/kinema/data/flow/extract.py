"""Extracts the optical flow of a dataset: in parallel, and whole or not at all for each video, so that it can go on.

The flow of a video is a folder that is written under another name beside its place, forced to the disk and renamed: a
folder that is there is whole, and is not computed again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import get_args

from kinema.data.annotations.sample import Sample
from kinema.data.atomic import put_in_place
from kinema.data.flow.codes import encode_flow
from kinema.data.flow.fields import Algorithm, fields_of, one_thread
from kinema.data.flow.folder import DESCRIPTION
from kinema.data.flow.pictures import Layout, write_field
from kinema.data.lock import lock_file
from kinema.data.prepare.jobs import Jobs, StoppedError
from kinema.data.video.opening import VideoError, without_extension
from kinema.data.video.section import open_sample
from kinema.wording import check

_PARTIAL = ".flow-partial"
_LOCK = ".flow.lock"


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """How flow is computed and stored; the same values give the same files.

    Raises:
        ValueError: If a value is out of its range.
    """

    algorithm: Algorithm = "tvl1"
    """How flow is computed: `tvl1`, as TSN does, or `farneback`, which is much faster and less exact."""
    short_side: int | None = 256
    """Longest that the short side of a frame may be, in pixels, in which velocities are too; longer ones are scaled
    before, smaller ones not enlarged, null keeps all."""
    bound: float = 20.0
    """Velocity, in pixels per frame, that is cut off: -bound is stored as 0, rest as 128, and bound as 255."""
    layout: Layout = "tsn"
    """Names of the pictures: `tsn` is flow_x_00001.jpg with flow_y_00001.jpg (TSN, TSM, mmaction2), `xy` is x_00001.jpg
    with y_00001.jpg, `ssv1` is <folder>-x_00001.jpg with <folder>-y_00001.jpg, `ssv2` is 000001.jpg, one picture of x,
    y and nothing."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        side = self.short_side
        check(side is None or side >= 16, "short_side", "be at least 16", side, "256 is usual, null keeps the size")
        check(0 < self.bound < float("inf"), "bound", "be positive", self.bound, "20 is usual")
        for name, kind in (("algorithm", Algorithm), ("layout", Layout)):
            value = getattr(self, name)
            check(value in get_args(kind), name, f"be one of {', '.join(get_args(kind))}", value, "take one of them")


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What an extraction came to."""

    folders: Mapping[str, Path]
    """Folder of flow of each sample, by its name."""
    num_new: int
    """How many of them were not there before."""
    errors: Mapping[str, str]
    """Why a video has no flow, by its name."""
    num_unlisted: int = 0
    """Videos whose flow is there, and which no list names, for their class is not known."""


def flow_folders(samples: Sequence[Sample], out: Path) -> dict[str, Path]:
    """Finds the place of each sample's flow: its name, without the extension of a file, in a folder.

    Args:
        samples: The samples, of which some may be the same.
        out: The folder.

    Returns:
        Name of a sample -> its folder.

    Raises:
        ValueError: If two samples would have one folder, or one a folder that lies elsewhere.
    """
    folders: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for sample in samples:
        place = Path(without_extension(sample.name).lstrip("/"))
        check(".." not in place.parts, "names of videos", "stay in the root", sample.name, "move the video into it")
        first = owners.setdefault(place, sample.name)
        check(
            first == sample.name,
            "names of videos",
            "differ by more than their extension",
            f"{first} and {sample.name}",
            "rename one",
        )
        folders[sample.name] = out / place
    return folders


def extract_flow(
    samples: Sequence[Sample], out: Path, config: FlowConfig, *, num_workers: int | None = None, progress: bool = False
) -> Extracted:
    """Writes the flow of videos that is not there yet.

    Args:
        samples: The videos, or folders of frames.
        out: Folder of the folders of flow.
        config: How flow is computed and stored.
        num_workers: Videos at the same time; none is one for each core.
        progress: Whether to show a bar on a terminal.

    Returns:
        Where the flow is, and of which videos there is none.

    Raises:
        ValueError: If OpenCV is not there, names collide, or `out` holds flow of another kind or is being written to.
        OSError: If the disk is full, or the folder cannot be written to.
        KeyboardInterrupt: If it was interrupted; called again, it goes on.
    """
    folders = flow_folders(samples, out)
    out.mkdir(parents=True, exist_ok=True)
    with one_thread(), _locked(out):
        for parent in {folder.parent for folder in folders.values()}:
            _remove_partial(parent)
        named = {sample.name: sample for sample in samples}
        new = [name for name, folder in folders.items() if not _is_there(folder, config)]

        def work(name: str, stop: Event) -> None:
            _extract(named[name], folders[name], config, stop)

        jobs = Jobs(work, num_workers=_choose_workers(num_workers, len(new)))
        results = jobs.run(new, what="computing flow", quiet=not progress)
        errors = {name: str(result) for name, result in results if isinstance(result, VideoError)}
    return Extracted(
        folders={name: folder for name, folder in folders.items() if name not in errors},
        num_new=len(new) - len(errors),
        errors=dict(sorted(errors.items())),
    )


def _extract(sample: Sample, folder: Path, config: FlowConfig, stop: Event) -> None:
    """Writes the flow of one video.

    Raises:
        VideoError: If it cannot be read.
        StoppedError: If the event is set before its end.
    """
    partial = folder.with_name(f".{folder.name}{_PARTIAL}")
    partial.mkdir(parents=True)
    try:
        with open_sample(sample) as video:
            fields = fields_of(video, algorithm=config.algorithm, short_side=config.short_side)
            for number, field in enumerate(fields, start=1):
                if stop.is_set():
                    raise StoppedError
                codes = encode_flow(field, bound=config.bound)
                write_field(partial, codes, number=number, layout=config.layout, name=folder.name)
            description = {"fps": video.fps, **asdict(config)}
        (partial / DESCRIPTION).write_text(json.dumps(description) + "\n", encoding="utf-8")
        put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_there(folder: Path, config: FlowConfig) -> bool:
    """Tells whether a folder holds the flow that is asked for.

    Raises:
        ValueError: If it holds something else.
    """
    if not folder.exists():
        return False
    file = folder / DESCRIPTION
    if not file.is_file():
        raise ValueError(f"out must hold nothing but flow, got {folder} with other files; name another folder")
    stored, wanted = json.loads(file.read_text(encoding="utf-8")), asdict(config)
    different = [name for name in wanted if stored.get(name) != wanted[name]]
    if different:
        raise ValueError(
            f"out must hold flow of the same {' and '.join(different)}, got {stored.get(different[0])!r} in {folder} "
            f"for {wanted[different[0]]!r}; name another folder"
        )
    return True


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keeps a second extraction out of a folder."""
    with (out / _LOCK).open("w") as file:
        refusal = (
            f"out must be written to by one command at a time, got {out}, to which another is writing; wait for it"
        )
        lock_file(file, refusal=refusal)
        yield


def _remove_partial(parent: Path) -> None:
    """Removes what an extraction that was killed has left in a folder."""
    if parent.is_dir():
        for entry in list(parent.iterdir()):
            if entry.name.startswith(".") and entry.name.endswith(_PARTIAL):
                shutil.rmtree(entry)


def _choose_workers(num_workers: int | None, num_tasks: int) -> int:
    if num_workers is None:
        num_workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(num_workers, num_tasks))
