"""What speaks for and against a layout of a list: its numbers as a whole, and what lies on the disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kinema.data.annotations.class_list import find_class_list, read_class_names
from kinema.data.annotations.list_files import NUM_TRIED, find_place, is_file_name
from kinema.data.annotations.source import Source

_MISCOUNT = 2  # frames by which a list and the disk may differ: files of flow, or beside the frames
_Row = tuple[str, list[int]]  # what stands before the numbers, and these


class Evidence:
    """The beginning of a list, each line cut into a path and all numbers behind it."""

    def __init__(self, rows: Sequence[_Row], *, source: Source, beside: Path) -> None:
        """Looks at the disk.

        Args:
            rows: Path and numbers of each line.
            source: Where the videos may lie.
            beside: The list.
        """
        self.rows = rows
        self.stem = beside.stem.lower()
        self.numbers = {len(numbers) for _, numbers in rows}
        place = find_place((name for name, _ in rows), source, beside=beside)
        tried = [(place.folder / place.name(name), numbers) for name, numbers in rows[:NUM_TRIED]]
        self.on_disk = [(path, numbers) for path, numbers in tried if path.exists()]
        self.named_files = all(is_file_name(name) for name, _ in rows)
        self.files = self.named_files or any(path.is_file() for path, _ in self.on_disk)
        tried_clips = [path / f"part_{numbers[2]}.mp4" for path, numbers in self.on_disk if len(numbers) > 2]
        self.clips_on_disk = any(path.exists() for path in tried_clips)
        self.num_classes = _count_classes(source, beside=beside)
        longer = [f"{name} {numbers[0]}" for name, numbers in rows]
        place = find_place(longer, source, beside=beside)
        self.names_end_in_numbers = any((place.folder / place.name(name)).exists() for name in longer[:NUM_TRIED])

    def allows(self, layout: str) -> bool:
        """Tells whether a layout that fits every line may be meant."""
        if layout == ("tsm" if "rawframe" in self.stem else "mmaction2_rawframes"):
            return False  # the two are the same but for their names
        if self.clips_on_disk and layout != "mmaction2_rawvideos":
            return False
        if layout == "mmaction2_videos":
            return self.names_end_in_numbers and not self.on_disk
        if self.names_end_in_numbers and not self.on_disk:
            return False
        return {
            "mmaction2_multi_label": self._may_be_labels,
            "mmaction2_rawframes": self._may_be_frames_and_label,
            "mmaction2_rawframes_multi_label": self._may_be_frames_and_labels,
            "mmaction2_offset": self._may_be_offsets,
            "mmaction2_rawvideos": self._may_be_rawvideos,
            "tsm": self._may_be_frames_and_label,
            "ibm": self._may_be_ranges,
        }[layout]()

    def is_hinted(self, layout: str) -> bool:
        """Tells whether the name of the list speaks of a layout."""
        words = {
            "mmaction2_multi_label": ("multi",),
            "mmaction2_rawframes_multi_label": ("multi",),
            "mmaction2_offset": ("offset",),
            "mmaction2_rawvideos": ("rawvideo",),
        }.get(layout, ())
        return any(word in self.stem for word in words)

    def _are_labels(self, first: int) -> bool:
        """Whether the numbers from one place on may be the labels of a video: distinct, and all with a name."""
        return all(
            len(set(numbers[first:])) == len(numbers[first:])
            and (self.num_classes is None or max(numbers[first:], default=0) < self.num_classes)
            for _, numbers in self.rows
        )

    def _may_be_labels(self) -> bool:
        return (self.named_files or 1 in self.numbers) and self._are_labels(0)

    def _may_be_frames_and_label(self) -> bool:
        return self.numbers == {2} and all(numbers[0] > 0 for _, numbers in self.rows)

    def _may_be_frames_and_labels(self) -> bool:
        if self.files or self.numbers == {2}:
            return False
        counted = all(abs(numbers[0] - _num_frames(path)) <= _MISCOUNT for path, numbers in self.on_disk[:3])
        return counted and all(numbers[0] > 0 for _, numbers in self.rows) and self._are_labels(1)

    def _may_be_offsets(self) -> bool:
        inside = all(numbers[0] + numbers[1] <= _num_frames(path) for path, numbers in self.on_disk[:3])
        return self.numbers == {3} and not self.files and inside

    def _may_be_ranges(self) -> bool:
        if "rawframe" in self.stem:
            return False  # mmaction2's name: an offset and a length
        inside = all(numbers[1] <= _num_frames(path) for path, numbers in self.on_disk[:3] if path.is_dir())
        return self.numbers == {3} and not self.files and inside

    def _may_be_rawvideos(self) -> bool:
        return not self.files and min(self.numbers) > 2 and (self.clips_on_disk or not self.on_disk)


def _count_classes(source: Source, *, beside: Path) -> int | None:
    """How many names of classes there are; none where they cannot be had."""
    path, _ = find_class_list(source, beside=beside)
    try:
        return len(read_class_names(path, order="file")) if path else None
    except (OSError, ValueError):
        return None  # said when the list is read


def _num_frames(folder: Path) -> int:
    """Entries of a folder: no fewer than its frames."""
    return len(os.listdir(folder)) if folder.is_dir() else 0  # noqa: PTH208 (a Path for each is slow)
