"""Lists without a header, whose lines are a path and numbers: what the numbers mean, and the videos they name.

A line often fits several layouts (`a 12 3` is a folder, its frames and a label, or two labels). The whole beginning of
the lists decides, what lies on the disk, and the names of the lists; where that leaves it open, the person is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from kinema.data.annotations import class_folder, mmaction2, pyslowfast, tsm
from kinema.data.annotations.csv_header import csv_files
from kinema.data.annotations.faults import Faults, SeveralListsError
from kinema.data.annotations.list_evidence import Evidence
from kinema.data.annotations.list_files import NUM_TRIED, find_place, one_for_each_split, text_lists
from kinema.data.annotations.list_line import Parser, all_numbers
from kinema.data.annotations.numbered import Entry, Line, NumberedClasses
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.text import read_lines
from kinema.wording import listed

NUM_LOOKED_AT = 200
"""Lines of each list that decide on its layout."""
FEW_FAULTS = 0.8
"""Part of the lines of a list that must be as they should for the others to be taken for slips."""
MAX_TEXTS = 100
"""Texts of a dataset beyond which they are captions or the like, and no lists."""


@dataclass(frozen=True)
class Layout:
    """What the lines of a list are."""

    line: str
    """A line, in words."""
    parse: Parser
    """Reads one."""
    multi_label: bool = False
    """Whether a line may have several labels."""


LAYOUTS = {
    "mmaction2_videos": Layout("path label", mmaction2.videos),
    "mmaction2_multi_label": Layout("path label label ...", mmaction2.multi_label, multi_label=True),
    "mmaction2_rawframes": Layout("folder num_frames label", mmaction2.rawframes),
    "mmaction2_rawframes_multi_label": Layout(
        "folder num_frames label label ...", mmaction2.rawframes_multi_label, multi_label=True
    ),
    "mmaction2_offset": Layout("folder offset num_frames label", mmaction2.offset),
    "mmaction2_rawvideos": Layout("folder label num_clips clip ...", mmaction2.rawvideos),
    "tsm": Layout("path num_frames label[,label]", tsm.tsm),
    "ibm": Layout("folder start end label", tsm.ibm),
    "pyslowfast": Layout("path,label (or another separator)", pyslowfast.path_label),
}

_SEVERAL = {
    "mmaction2_multi_label": ("mmaction2_videos", "pyslowfast"),
    "mmaction2_rawframes_multi_label": ("mmaction2_rawframes", "tsm"),
}


def detect(name: str, source: Source) -> bool:
    """Tells whether the lists of a source are in one of `LAYOUTS`.

    Raises:
        ValueError: If they are lists, but might be in several.
    """
    return source.once("layout of lists", lambda: _find_layout(source)) == name


def read(name: str, source: Source) -> Annotations:
    """Reads the lists of a source, in one of `LAYOUTS`.

    Raises:
        ValueError: If there is none, a line is in another layout, or a label is out of range; with file and line.
    """
    layout = LAYOUTS[name]
    files = _texts(source) if source.annotations in _texts(source) else _lists(source, name)
    if not files:
        raise ValueError(
            f"annotations must be a list of {layout.line}, got none in {source.annotations or source.root}; add "
            "--data.annotations FILE"
        )
    splits = one_for_each_split(files, source)
    multi_label = layout.multi_label or (name == "tsm" and any(map(_joins_labels, splits)))
    classes = NumberedClasses(source, beside=files[0], multi_label=multi_label)
    for path, split in splits.items():
        start = (entry.name for _, entry in islice(_entries(path, name, source.faults.anew()), NUM_LOOKED_AT))
        place = find_place(start, source, beside=path, split=split)
        for number, entry in _entries(path, name, source.faults):
            with source.faults.at(path, number):
                classes.add(entry, Line(path, number, split), place)
    return classes.annotations(name, files=tuple(splits))


def _entries(path: Path, name: str, faults: Faults) -> Iterator[tuple[int, Entry]]:
    """Yields the videos of a list, with the number of their line."""
    layout = LAYOUTS[name]
    for number, text in read_lines(path):
        entries = layout.parse(text)
        if entries is None:
            with faults.at(path, number):
                raise ValueError(
                    f"{path}, line {number}, must be {layout.line}, got {text[:80]!r}; mend the line, or choose "
                    "another --data.format"
                )
        for entry in entries or ():
            yield number, entry


def _joins_labels(path: Path) -> bool:
    """Tells whether a line of TSM's layout joins labels by commas."""
    return any("," in text.split()[-1] for _, text in read_lines(path))


def _lists(source: Source, name: str) -> list[Path]:
    """The files whose first lines are in a layout, but for a few."""
    return [path for path in _texts(source) if (lines := _without_faults(_beginning(path))) and name in _fitting(lines)]


def _find_layout(source: Source) -> str | None:
    """The layout of the lists of a source; none where there are none.

    Raises:
        ValueError: If it is open.
    """
    texts = {path: _without_faults(_beginning(path)) for path in _texts(source)}
    beginnings = {path: lines for path, lines in texts.items() if lines and _fitting(lines)}
    if not beginnings or (source.annotations is None and _are_class_folders(source, beginnings)):
        return None
    found = {path: _likely(lines, source=source, path=path) for path, lines in beginnings.items()}
    common = [name for name in LAYOUTS if all(name in likely for likely in found.values())] or _with_several(found)
    if len(common) == 1:
        return common[0]
    path, lines = next(iter(beginnings.items()))
    if len(found) > 1 and not common:
        raise SeveralListsError(
            f"lists must be in one format, got several in {listed([str(path) for path in beginnings], 3)}; name the "
            "one that is meant with --data.annotations FILE"
        )
    choices = ", ".join(f"{name} ({LAYOUTS[name].line})" for name in common or _fitting(lines))
    raise (SeveralListsError if len(found) > 1 else ValueError)(
        f"{path} must leave no choice between formats, got {lines[0][:80]!r}; say which it is with --data.format, one "
        f"of {choices}"
    )


def _with_several(found: Mapping[Path, Sequence[str]]) -> list[str]:
    """The layout with several labels, where some of the lists happen to have one in every line."""
    names = {name for likely in found.values() for name in likely}
    return [several for several, one in _SEVERAL.items() if names <= {several, *one} and several in names]


def _texts(source: Source) -> list[Path]:
    """The texts without a header that may be lists; none where there are so many that they are something else."""
    with_header = csv_files(source, ("path",))
    files = [path for path in text_lists(source) if path not in with_header]
    return files if len(files) <= MAX_TEXTS else []


def _are_class_folders(source: Source, beginnings: Mapping[Path, Sequence[str]]) -> bool:
    """Tells whether a root holds class folders, and no video of the texts that look like lists."""
    for path, lines in beginnings.items():
        for layout in map(LAYOUTS.__getitem__, _fitting(lines)):
            names = [entry.name for text in lines for entry in layout.parse(text) or ()]
            place = find_place(names, source, beside=path)
            if any((place.folder / place.name(name)).exists() for name in names[:NUM_TRIED]):
                return False
    return class_folder.holds_videos(source.root)


def _without_faults(lines: list[str]) -> list[str]:
    """The lines that fit the layout that most of them fit, where few do not: reading will name these."""
    if not lines or _fitting(lines):
        return lines
    fits = [[text for text in lines if layout.parse(text) is not None] for layout in LAYOUTS.values()]
    most = max(fits, key=len)
    return most if len(most) >= FEW_FAULTS * len(lines) else lines


def _fitting(lines: Sequence[str]) -> list[str]:
    """The layouts that every line fits."""
    return [name for name, layout in LAYOUTS.items() if all(layout.parse(text) is not None for text in lines)]


def _beginning(path: Path) -> list[str]:
    """The first lines of a text; none where it is no text."""
    try:
        return [text for _, text in islice(read_lines(path), NUM_LOOKED_AT)]
    except ValueError:
        return []  # said when the file is read


def _likely(lines: list[str], *, source: Source, path: Path) -> list[str]:
    """The layouts that fit a list which its lines as a whole, the disk and its name leave over."""
    candidates = _fitting(lines)
    cut = [parts for text in lines if (parts := all_numbers(text))]
    if len(cut) < len(lines):  # commas or other separators: what is joined behind two fields is TSM's
        return ["tsm"] if "tsm" in candidates else candidates
    evidence = Evidence(cut, source=source, beside=path)
    if evidence.numbers == {1}:
        return ["pyslowfast" if path.suffix.lower() == ".csv" else "mmaction2_videos"]
    likely = [name for name in candidates if name != "pyslowfast" and evidence.allows(name)]
    return [name for name in likely if evidence.is_hinted(name)] or likely
