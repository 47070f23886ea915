"""JSON lists of mmaction2: videos and frame folders with one or several labels, HVU's categories, raw videos."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from kinema.data.annotations.faults import Faults
from kinema.data.annotations.list_files import find_place, one_for_each_split
from kinema.data.annotations.numbered import Entry, Line, NumberedClasses
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.table_builder import TableBuilder
from kinema.data.annotations.text import read_json

NAME = "mmaction2_json"
_Item = tuple[int, dict[str, Any]]
_PATHS = ("filename", "frame_dir", "video_dir")


def detect(source: Source) -> bool:
    """Tells whether a JSON file begins with a list of objects that have such a path and a label."""
    return any(map(_looks_right, source.files(r".*\.json")))


def read(source: Source) -> Annotations:
    """Reads JSON lists.

    Raises:
        ValueError: If an item is none of the list's; with the file and its number.
    """
    files = source.files(r".*\.json")
    if source.annotations not in files:
        files = [path for path in files if _looks_right(path)]
    if not files:
        raise ValueError(
            f"annotations must be a JSON list of objects with {' or '.join(_PATHS)} and label, got none in "
            f"{source.annotations or source.root}; add --data.annotations FILE"
        )
    splits = one_for_each_split(files, source)
    items = {path: _items(path, source.faults) for path in splits}
    if any(isinstance(item["label"], dict) for _, item in chain.from_iterable(items.values())):
        return _by_category(source, items, splits)
    return _numbered(source, items, splits)


def _looks_right(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            start = file.read(2000)
    except OSError:
        return False
    return start.lstrip()[:1] == "[" and '"label"' in start and any(f'"{key}"' in start for key in _PATHS)


def _items(path: Path, faults: Faults) -> list[_Item]:
    """Reads the items that are videos with a label, with their numbers from 1 on."""
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path} must be a JSON list of videos, got {type(content).__name__}; mend the file")
    items = []
    for number, item in enumerate(content, start=1):
        with faults.at(path, number):
            if not isinstance(item, dict) or _name(item) is None or "label" not in item:
                raise ValueError(
                    f"{path}, item {number}, must have {' or '.join(_PATHS)} and label, got {str(item)[:80]}; mend it"
                )
            items.append((number, item))
    return items


def _name(item: dict[str, Any]) -> str | None:
    return next((item[key] for key in _PATHS if isinstance(item.get(key), str)), None)


def _numbered(source: Source, items: dict[Path, list[_Item]], splits: dict[Path, str | None]) -> Annotations:
    """Reads items whose labels are numbers, or lists of numbers."""
    several = any(isinstance(item["label"], list) for _, item in chain.from_iterable(items.values()))
    classes = NumberedClasses(source, beside=next(iter(items)), multi_label=several)
    for path, content in items.items():
        names = (_name(item) or "" for _, item in content)
        place = find_place(names, source, beside=path, split=splits[path])
        for number, item in content:
            where = f"{path}, item {number}"
            with source.faults.at(path, number):
                shown = item["label"] if isinstance(item["label"], list) else [item["label"]]
                labels = _numbers(shown, where=where, least=1)
                for entry in _entries(item, labels, where=where):
                    classes.add(entry, Line(path, number, splits[path]), place)
    return classes.annotations(NAME, files=tuple(items))


def _entries(item: dict[str, Any], labels: tuple[int, ...], *, where: str) -> Iterator[Entry]:
    """The videos of an item: of a raw video, the clips that show its class."""
    name = _name(item) or ""
    if "video_dir" not in item:
        yield Entry(name, labels)
        return
    for clip in _numbers(item.get("positive_clip_inds", []), where=where):
        yield Entry(f"{name}/part_{clip}.mp4", labels, group=name)


def _by_category(source: Source, items: dict[Path, list[_Item]], splits: dict[Path, str | None]) -> Annotations:
    """Reads items whose labels are numbers in several categories: classes are then `action_180` and its kind."""
    builder = TableBuilder(source.root)
    found: set[tuple[str, int]] = set()
    for path, content in items.items():
        names = (_name(item) or "" for _, item in content)
        place = find_place(names, source, beside=path, split=splits[path])
        for number, item in content:
            where = f"{path}, item {number}"
            with source.faults.at(path, number):
                shown = _shown(item["label"], where=where)
                first, *also = dict.fromkeys(f"{name}_{label}" for name, label in shown)
                builder.add(
                    place.name(_name(item) or ""),
                    first,
                    split=splits[path],
                    folder=place.folder,
                    also=tuple(also),
                    where=where,
                )
                found.update(shown)
    return Annotations(
        format=NAME,
        samples=builder.table(),
        class_names=tuple(f"{name}_{label}" for name, label in sorted(found)),
        files=tuple(items),
        multi_label=True,
        notes=("classes are named by category and number, such as action_180; those that no video has are left out",),
    )


def _shown(categories: Any, *, where: str) -> list[tuple[str, int]]:  # noqa: ANN401 (whatever the file holds)
    """The labels of an item, with their categories."""
    if not isinstance(categories, dict) or not all(isinstance(each, list) for each in categories.values()):
        raise ValueError(f"{where}, must have its labels by category, got {str(categories)[:80]}; mend it")
    shown = [(name, label) for name in sorted(categories) for label in _numbers(categories[name], where=where)]
    if not shown:
        raise ValueError(f"{where}, must have a label in one category, got none; add it, or remove the video")
    return shown


def _numbers(values: Any, *, where: str, least: int = 0) -> tuple[int, ...]:  # noqa: ANN401 (whatever the file holds)
    whole = isinstance(values, list) and all(type(value) is int and abs(value) < 2**31 for value in values)
    if not whole or len(values) < least:
        raise ValueError(f"{where}, must have whole numbers as labels and clips, got {str(values)[:80]}; mend it")
    return tuple(values)
