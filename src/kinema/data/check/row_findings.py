"""What is wrong with single rows: nothing there, not readable, a part outside of its video, too few frames."""

from __future__ import annotations

from kinema.data.annotations.sample import Sample
from kinema.data.check.files import Files
from kinema.data.check.findings import Finding, Item, found
from kinema.data.check.rows import Rows
from kinema.data.video.opening import ASSUMED_FPS
from kinema.data.video.section import frames_of, no_frame


def row_findings(rows: Rows, files: Files, *, num_frames: int) -> list[Finding]:
    """Finds what is wrong with single rows.

    Args:
        rows: The dataset.
        files: What its files gave.
        num_frames: Frames T of a clip.
    """
    outside, short = _lengths(rows, files, num_frames=num_frames)
    return [
        *found("missing", _of_files(rows, files.missing)),
        *found("unreadable", _of_files(rows, files.errors)),
        *found("outside", outside),
        *found("short", short),
    ]


def _of_files(rows: Rows, reasons: dict[int, str]) -> list[Item]:
    """Returns an item for each row of some files."""
    return [
        Item(name=rows.samples[row].name, reason=reasons[int(rows.files[row])]) for row in rows.of_files(list(reasons))
    ]


def _lengths(rows: Rows, files: Files, *, num_frames: int) -> tuple[list[Item], list[Item]]:
    """Finds the rows whose part holds no frame, and those with fewer frames than a clip."""
    outside, short = [], []
    for row, sample in enumerate(rows.samples):
        number = int(rows.files[row])
        length = int(files.num_frames[number])
        if length == 0:
            continue
        if sample.section is not None:
            fps = float(files.fps[number]) or ASSUMED_FPS
            part = frames_of(sample.section, num_frames=length, fps=fps)
            if not part:
                outside.append(Item(name=sample.name, reason=no_frame(sample.section, num_frames=length, fps=fps)))
                continue
            length = len(part)
        if length < num_frames:
            short.append(Item(name=sample.name, reason=f"{length} frames where a clip has {num_frames}"))
    return outside, short


def overlap(one: Sample, other: Sample) -> bool:
    """Tells whether two rows of one video show some of the same frames; of parts in different units, it is assumed."""
    first, second = one.section, other.section
    if first is None or second is None or first.unit != second.unit:
        return True
    return first.start < second.end and second.start < first.end
