"""Checks a dataset before it is trained on: reads its annotations and every file, and tells what is wrong with them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kinema.data.annotations import Annotations, Sample, Source
from kinema.data.annotations.class_list import is_class_list
from kinema.data.annotations.csv_header import csv_files
from kinema.data.annotations.faults import Faults, SeveralListsError
from kinema.data.annotations.formats import AUTO, FORMATS, UnknownFormatError, detect_format
from kinema.data.annotations.list_layout import LAYOUTS
from kinema.data.check.balance import class_counts, class_findings, picture_findings, size_counts, spread
from kinema.data.check.cache import Cache
from kinema.data.check.files import Files, Look, Progress, look_at_files
from kinema.data.check.findings import KINDS, Finding, Item, found
from kinema.data.check.on_disk import videos_on_disk
from kinema.data.check.probe import Decode
from kinema.data.check.row_findings import row_findings
from kinema.data.check.rows import Rows, make_rows
from kinema.data.check.sharing import sharing_findings
from kinema.data.video.opening import is_video
from kinema.engine.check_result import Check
from kinema.engine.read_data import read_place, with_own_flags
from kinema.engine.recipe import DataPlace
from kinema.wording import check, nearest

CLASS_FOLDERS = "class_folders"


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Which data is checked, and how deep."""

    annotations: str | None = None
    """Annotation file, or folder of several, where it is not in the root."""
    format: str = AUTO
    """Format of the annotations; `auto` finds it out."""
    class_list: str | None = None
    """File with the names of the classes, for lists that only number them."""
    fold: int = 1
    """Which of several splits is meant, where the data has them: UCF101 and HMDB51 have 1, 2 and 3."""
    num_frames: int = 8
    """Frames T of a clip: videos with fewer are remarked on."""
    decode: Decode = "all"
    """How much of each video is decoded: `all` of it, its `ends`, or `none`: then its packets are counted. Less is
    faster, and sees less damage."""
    num_workers: int | None = None
    """Processes that read files; null: one per core. 0 reads in this process, where a file that crashes the decoder
    ends the check."""
    timeout_seconds: float = 120.0
    """How long a file may give no frame before it counts as unreadable."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check(self.fold >= 1, "fold", "be at least 1", self.fold, "1 is the first split")
        check(self.num_frames >= 1, "num_frames", "be at least 1", self.num_frames, "8 is the default")
        workers, seconds = self.num_workers, self.timeout_seconds
        check(workers is None or workers >= 0, "num_workers", "be 0 or more", workers, "null takes one per core")
        check(0 < seconds < 1e6, "timeout_seconds", "be positive and below a million", seconds, "120 is the default")
        known = self.format in (AUTO, *FORMATS)
        rule = f"be auto or one of {', '.join(FORMATS)}"
        check(known, "format", rule, self.format, "" if known else nearest(self.format, FORMATS))


def check_data(root: str, config: CheckConfig, *, cache: Cache, progress: Progress) -> Check:
    """Checks a dataset.

    Args:
        root: Folder of the videos, or the annotation file.
        config: How.
        cache: What is known of the files.
        progress: Is told how far it is.

    Returns:
        What was found.

    Raises:
        ValueError: If there is no root.
    """
    check(os.path.exists(root), "root", "be a folder of videos or an annotation file", root, "check the path")  # noqa: PTH110
    started = time.monotonic()
    result = Check(root=root, decode=config.decode)
    try:
        paths = _check_one(result, config, cache=cache, progress=progress)
    except SeveralListsError as error:
        paths = _check_each(result, config, cache=cache, progress=progress)
        if not result.lists:
            result.findings += found("annotations", [Item(name=root, reason=str(error))])
    result.findings += _unlisted(root, paths) if paths else []
    order = list(KINDS)
    result.findings.sort(key=lambda finding: order.index(finding.kind))
    result.trouble, result.seconds = cache.trouble, time.monotonic() - started
    return result


def _check_one(result: Check, config: CheckConfig, *, cache: Cache, progress: Progress) -> list[str]:
    """Checks one dataset, and notes what is found; returns the paths of its videos.

    Raises:
        SeveralListsError: If there are several lists of which there must be one.
    """
    annotations, result.findings = _read(result.root, config)
    if annotations is None:
        return []
    rows = make_rows(annotations.samples)
    result.findings += _look(annotations, rows, config, result=result, cache=cache, progress=progress)
    return rows.paths


def _check_each(result: Check, config: CheckConfig, *, cache: Cache, progress: Progress) -> list[str]:
    """Checks each of several lists by itself, and notes what is found; returns the paths of all their videos."""
    source = Source(root=Path(result.root), annotations=Path(config.annotations) if config.annotations else None)
    apart: list[Path] = []
    paths: dict[str, None] = {}
    for file in source.files(".*"):
        alone = replace(source, annotations=file)
        if config.class_list and file.resolve() == Path(config.class_list).resolve():
            continue
        try:
            format = detect_format(alone)
        except UnknownFormatError:
            apart += [] if is_class_list(file) else [file]
            continue
        except ValueError:  # said when it is read
            format = ""
        if is_class_list(file) and format not in LAYOUTS:
            continue
        if format == "csv" and not csv_files(alone, ("path",)):  # taken for one by its suffix alone
            apart.append(file)
            continue
        one = Check(root=result.root, decode=config.decode)
        try:
            named = replace(config, annotations=str(file))
            paths |= dict.fromkeys(_check_one(one, named, cache=cache, progress=progress))
        except SeveralListsError as error:  # of what lies beside it, such as two lists of classes
            one.findings = found("annotations", [Item(name=str(file), reason=str(error))])
        one.annotations = (str(file), *(path for path in one.annotations if path != str(file)))
        result.lists.append(one)
    result.annotations = tuple(dict.fromkeys(path for one in result.lists for path in one.annotations))
    result.notes = tuple(f"left aside, in no format that is known: {path.name}" for path in apart)
    result.findings = _of_lists(result.lists)
    for name in ("num_rows", "num_read", "num_known", "num_bytes"):
        setattr(result, name, sum(getattr(one, name) for one in result.lists))
    result.num_files = len(paths)
    return list(paths)


def _of_lists(lists: Sequence[Check]) -> list[Finding]:
    """Returns the findings of several lists together, each item with the list that it is of."""
    items: dict[str, list[Item]] = {}
    counts: Counter[str] = Counter()
    for one in lists:
        for finding in one.findings:
            counts[finding.kind] += finding.count
            items.setdefault(finding.kind, []).extend(replace(item, of=one.annotations[0]) for item in finding.items)
    several = found("several_lists", [Item(name=one.annotations[0]) for one in lists])
    return [*several, *(Finding(kind=kind, items=some, count=counts[kind]) for kind, some in items.items())]


def _read(root: str, config: CheckConfig) -> tuple[Annotations | None, list[Finding]]:
    """Reads the annotations; of folders that are no classes, the videos in them are all there is.

    Raises:
        SeveralListsError: If there are several lists of which there must be one.
    """
    place = DataPlace(
        root=root,
        annotations=config.annotations,
        format=config.format,
        class_list=config.class_list,
        fold=config.fold,
    )
    faults = Faults(note=True)
    try:
        annotations = read_place(place, own_flags=True, faults=faults)
        return annotations, _bad_lines(faults)
    except SeveralListsError:
        raise
    except ValueError as error:
        item = Item(name=root, reason=str(error))
    if not _are_class_folders(root, config):
        return None, [*found("annotations", [item]), *_bad_lines(faults)]
    samples = [
        Sample(path=Path(path), class_name="", name=os.path.relpath(path, os.path.abspath(root)))  # noqa: PTH100
        for path in videos_on_disk(root)
    ]
    flat = bool(samples) and all("/" not in sample.name for sample in samples)
    plain = Annotations(format="", samples=samples, class_names=())
    if flat:
        alone = Item(name=root, reason="videos lie in it, and no annotations or class folders")
        others = [Item(name=name) for name in sorted(os.listdir(root)) if _is_other_file(Path(root, name))]  # noqa: PTH208
        return plain, [*found("other_file", others), *found("unlabelled", [alone])]
    return plain, found("annotations", [item])


def _bad_lines(faults: Faults) -> list[Finding]:
    """Returns an item for each bad line."""
    items = [
        Item(name=str(bad.file), reason=with_own_flags(bad.sentence), line=bad.line) for bad in sorted(faults.noted)
    ]
    return found("bad_line", items, count=faults.count)


def _is_other_file(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_file() and not is_video(path)


def _are_class_folders(root: str, config: CheckConfig) -> bool:
    """Tells whether a root without annotations is taken for class folders."""
    if config.annotations or not os.path.isdir(root) or config.format not in (AUTO, CLASS_FOLDERS):  # noqa: PTH112
        return False
    try:
        return detect_format(Source(root=Path(root))) == CLASS_FOLDERS
    except ValueError:  # several datasets, or videos without folders and annotations
        return not Source(root=Path(root)).files(".*")


def _look(
    annotations: Annotations, rows: Rows, config: CheckConfig, *, result: Check, cache: Cache, progress: Progress
) -> list[Finding]:
    """Looks at the files of annotations that could be read."""
    workers = _num_cores() if config.num_workers is None else config.num_workers
    look = Look(
        decode=config.decode,
        num_workers=min(workers, max(1, len(rows.paths))),
        timeout_seconds=config.timeout_seconds,
    )
    files = look_at_files(rows.paths, look, cache=cache, progress=progress)
    _fill(result, annotations, rows, files)
    return [
        *row_findings(rows, files, num_frames=config.num_frames),
        *sharing_findings(rows, files, multi_label=annotations.multi_label),
        *class_findings(rows, annotations.class_names),
        *picture_findings(rows, files),
    ]


def _fill(result: Check, annotations: Annotations, rows: Rows, files: Files) -> None:
    """Notes what the data is."""
    result.format, result.notes = annotations.format, annotations.notes
    result.annotations = tuple(str(file) for file in annotations.files)
    result.num_rows, result.num_files = len(rows.samples), len(rows.paths)
    result.num_read, result.num_known = files.num_read, files.num_known
    result.num_bytes = int(files.num_bytes[files.num_bytes > 0].sum())
    result.splits = {
        split or "none": {"rows": num_rows, "classes": dict(sorted(counts.items()))}
        for split, (num_rows, counts) in class_counts(rows).items()
    }
    result.frames = spread(files.num_frames[files.num_frames > 0].astype(np.float64))
    result.frame_rates = spread(files.fps[files.fps > 0])
    result.frame_sizes = size_counts(files)


def _unlisted(root: str, paths: Sequence[str]) -> list[Finding]:
    """Finds the videos in the folder that no row names; of rows that name them by another path, the real one counts."""
    folder = root if os.path.isdir(root) else os.path.dirname(root) or "."  # noqa: PTH112, PTH120
    known = {os.path.abspath(path) for path in paths}  # noqa: PTH100
    unlisted = list(videos_on_disk(folder, known=known))
    if unlisted:
        real = {os.path.realpath(path) for path in known}
        unlisted = [path for path in unlisted if os.path.realpath(path) not in real]
    return found("unlisted", [Item(name=os.path.relpath(path, folder)) for path in unlisted])


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
