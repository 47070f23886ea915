"""Where each video of a dataset goes in another one, and annotations that fit the new names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from kinema.data.annotations import Annotations, Sample, Section, Source, read_annotations
from kinema.data.annotations.write_csv import write_csv
from kinema.data.atomic import write_atomically
from kinema.data.video.opening import VIDEO_EXTENSIONS, without_extension
from kinema.data.video.shards import member_of

NEW_LIST: Final = "annotations.csv"
"""Name of the list that is written where a copy of the old ones would not do."""
_EXTENSION: Final = re.compile(
    rf"({'|'.join(re.escape(extension) for extension in sorted(VIDEO_EXTENSIONS))})(?=$|[\s,;\"'])",
    re.IGNORECASE | re.MULTILINE,
)

_Content = Mapping[tuple[str, Section | None], tuple[tuple[str, ...], str | None, str | None]]
"""Classes, split and group of each sample, by the name of its video and the part that is meant."""


@dataclass(frozen=True)
class Target:
    """A video and its new name."""

    number: int
    """Place in the order of work."""
    source: Path
    """The video."""
    name: str
    """Its name in the new dataset, with forward slashes."""


def find_targets(samples: Sequence[Sample], *, root: Path, suffix: str) -> list[Target]:
    """Gives every video of a dataset its new name; a video of which several parts are meant has one.

    Args:
        samples: The dataset.
        root: Its folder.
        suffix: What new names end in: `.mp4`, or nothing for folders of frames.

    Returns:
        The videos, sorted by their new names.

    Raises:
        ValueError: If two videos would get one name, or one would lie inside another.
    """
    names: dict[str, Path] = {}
    for sample in samples:
        name = new_name(sample, root=root, suffix=suffix)
        other = names.setdefault(name, sample.path)
        if other != sample.path:
            raise ValueError(f"names must differ without their extensions, got {other} and {sample.path}; rename one")
    for name in names:
        above = next((str(parent) for parent in PurePosixPath(name).parents if str(parent) in names), None)
        if above is not None:
            raise ValueError(f"videos must not lie in a folder of another's name, got {names[above]} and {names[name]}")
    return [Target(number, names[name], name) for number, name in enumerate(sorted(names))]


def new_name(sample: Sample, *, root: Path, suffix: str) -> str:
    """Returns the name of a sample's video in the new dataset."""
    beneath = sample.path.is_relative_to(root) and member_of(sample.path) is None
    name = sample.path.relative_to(root) if beneath else PurePosixPath(sample.file_name)
    return without_extension(name.as_posix().lstrip("/")) + suffix


def write_annotations(
    annotations: Annotations, source: Source, out: Path, *, suffix: str, unreadable: Collection[str]
) -> tuple[str, ...]:
    """Leaves in a new dataset what says the classes and splits of its videos.

    Annotation files are copied with the extensions of videos changed. If the copies do not give the same samples back,
    or videos are missing, one list of all videos is written in their place.

    Args:
        annotations: Those of the old dataset.
        source: Where that lies.
        out: The new dataset.
        suffix: What new names end in.
        unreadable: New names of the videos that are missing.

    Returns:
        What a person must know: which file to name in training, and what was lost.
    """
    kept = {}
    for sample in annotations.samples:
        name = new_name(sample, root=source.root, suffix=suffix)
        if name not in unreadable:
            kept[name, sample.section] = replace(sample, name=name)
    expected = {key: (sample.class_names, sample.split, sample.group) for key, sample in kept.items()}
    if not annotations.files:
        return _verdict(annotations, Source(root=out), expected, source, suffix=suffix) or ()
    (out / NEW_LIST).unlink(missing_ok=True)  # of a run in which videos were missing
    copies = [_copy(path, source, out, suffix=suffix) for path in annotations.files]
    copied = Source(
        root=out,
        annotations=None if source.annotations is None else copies[0] if len(copies) == 1 else copies[0].parent,
        class_list=source.class_list,
        fold=source.fold,
    )
    if _verdict(annotations, copied, expected, source, suffix=suffix) is None:
        place = copied.annotations
        return () if place is None else (f"train with --data.root {out} --data.annotations {place}",)
    for copy in copies:
        copy.unlink()
    return _write_list(annotations, out, [kept[key] for key in sorted(kept, key=_order)])


def _verdict(
    annotations: Annotations, new: Source, expected: _Content, source: Source, *, suffix: str
) -> tuple[str, ...] | None:
    """Reads the new dataset; returns none where it is the old one under new names."""
    try:
        again = read_annotations(new, format=annotations.format)
    except ValueError as error:
        return (str(error),)
    found = {
        (new_name(sample, root=new.root, suffix=suffix), sample.section): (
            sample.class_names,
            sample.split,
            sample.group,
        )
        for sample in again.samples
    }
    if found == expected and again.class_names == annotations.class_names:
        return None
    return (f"{new.root}: {len(found)} samples stand where {source.root} has {len(expected)} that can be read",)


def _copy(path: Path, source: Source, out: Path, *, suffix: str) -> Path:
    """Copies an annotation file, the extensions of videos changed."""
    inside = path.is_relative_to(source.root)
    target = out / (path.relative_to(source.root) if inside else path.name)
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    write_atomically(target, _EXTENSION.sub(suffix, text).encode("utf-8", "surrogateescape"))
    return target


def _order(key: tuple[str, Section | None]) -> tuple[str, float, float]:
    name, section = key
    return (name, section.start, section.end) if section else (name, 0.0, 0.0)


def _write_list(annotations: Annotations, out: Path, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Writes all samples as one CSV."""
    num_written = write_csv(out / NEW_LIST, samples, multi_label=annotations.multi_label)
    notes = []
    if num_written:
        notes.append(f"train with --data.root {out} --data.annotations {out / NEW_LIST}")
        if annotations.class_names != tuple(sorted(annotations.class_names)):
            notes.append("classes are in alphabetical order there, not in that of the dataset's own list")
    if num_written < len(samples):
        notes.append(
            f"{len(samples) - num_written} of {len(samples)} samples stand in no list of {out}, for a CSV cannot hold "
            "them: parts of videos in frames, or samples without a class"
        )
    elif not samples:
        notes.append(f"no list of samples is in {out}, for none of the videos can be read")
    return tuple(notes)
