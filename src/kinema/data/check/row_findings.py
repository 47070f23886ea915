"""What is wrong with single rows: nothing there, not readable, a part outside of its video, too few frames."""

from __future__ import annotations

from kinema.data.annotations.sample import Sample, Section
from kinema.data.check.files import Files
from kinema.data.check.findings import Finding, Item, found
from kinema.data.check.rows import Rows
from kinema.data.video.opening import ASSUMED_FPS
from kinema.data.video.section import frames_of, no_frame
from kinema.wording import counted

_ROUNDING = 1e-6


def row_findings(rows: Rows, files: Files, *, num_frames: int) -> list[Finding]:
    """Finds what is wrong with single rows.

    Args:
        rows: The dataset.
        files: What its files gave.
        num_frames: Frames T of a clip.
    """
    outside, beyond, short = _lengths(rows, files, num_frames=num_frames)
    return [
        *found("missing", _of_files(rows, files.missing)),
        *found("unreadable", _of_files(rows, files.errors)),
        *found("outside", outside),
        *found("beyond", beyond),
        *found("short", short),
    ]


def _of_files(rows: Rows, reasons: dict[int, str]) -> list[Item]:
    """Returns an item for each row of some files."""
    return [
        Item(name=rows.samples[row].name, reason=reasons[int(rows.files[row])]) for row in rows.of_files(list(reasons))
    ]


def _lengths(rows: Rows, files: Files, *, num_frames: int) -> tuple[list[Item], list[Item], list[Item]]:
    """Finds the rows whose part holds no frame, those whose part ends late, and those with fewer frames than a clip."""
    outside, beyond, short = [], [], []
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
            if sample.section.end * (fps if sample.section.unit == "seconds" else 1.0) > length + 1 + _ROUNDING:
                beyond.append(Item(name=sample.name, reason=_beyond(sample.section, num_frames=length, fps=fps)))
            length = len(part)
        if length < num_frames:
            short.append(Item(name=sample.name, reason=f"{counted(length, 'frame')} where a clip has {num_frames}"))
    return outside, beyond, short


def _beyond(section: Section, *, num_frames: int, fps: float) -> str:
    """Says that a part ends after its video."""
    whole = f"{counted(num_frames, 'frame')} ({num_frames / fps:.2f} seconds)"
    return f"ends at {section.end:g} {section.unit}, the video has {whole}"


def overlap(one: Sample, other: Sample) -> bool:
    """Tells whether two rows of one video show some of the same frames; of parts in different units, it is assumed."""
    first, second = one.section, other.section
    if first is None or second is None or first.unit != second.unit:
        return True
    return first.start < second.end and second.start < first.end
