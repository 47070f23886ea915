"""Looks through shards that bring no index: one pass over the headers of each tar file, in the layout of webdataset.

Members whose names are alike up to the first dot of their last part are one sample: `a/b.mp4`, `a/b.json`, `a/b.cls`.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kinema.data.annotations.sample import SPLIT_NAMES
from kinema.data.annotations.shard_index import IndexHeader, Row, is_safe
from kinema.data.video.opening import VIDEO_EXTENSIONS
from kinema.wording import listed

_NAME: Final = re.compile(r"(?P<key>(?:.*/)?[^/.]+)\.(?P<extension>[^/]+)", re.DOTALL)
_LABELS: Final = ("json", "cls", "txt")
_LONGEST_LABEL: Final = 2**20
_SPLIT: Final = re.compile(r"(?P<split>[a-z]+)(?![a-z])", re.IGNORECASE)


@dataclass
class _Group:
    """The members of one sample."""

    key: str
    video: tarfile.TarInfo | None = None
    texts: dict[str, str] = field(default_factory=dict)


def scan_shards(shards: list[Path]) -> tuple[IndexHeader, list[Row]]:
    """Makes the index of shards.

    Args:
        shards: The tar files.

    Returns:
        Header and rows; where labels are numbers, each is its own name.

    Raises:
        ValueError: If a tar file is cut off or holds what no shard should, or a sample is not as it must be.
    """
    found: list[tuple[int, _Group, dict[str, Any]]] = []
    for number, shard in enumerate(shards):
        found += [(number, group, _description(shard, group)) for group in _groups(shard)]
    names = {text for _, _, said in found for text in said["labels"] if not _is_number(text)}
    numbers = {int(text) for _, _, said in found for text in said["labels"] if _is_number(text)}
    if names and numbers:
        raise ValueError(
            f"labels of {shards[0].parent} must be names or numbers, got both: {listed(sorted(names), 3)} and "
            f"{min(numbers)}; write one of them into all samples"
        )
    classes = tuple(sorted(names)) or tuple(map(str, sorted(numbers)))
    place = {name: label for label, name in enumerate(classes)}
    header = IndexHeader(
        classes=classes, shards=tuple((shard.name, shard.stat().st_size) for shard in shards), made_by="scan"
    )
    return header, [_row(number, group, said, place) for number, group, said in found]


def _row(shard: int, group: _Group, said: dict[str, Any], place: dict[str, int]) -> Row:
    assert group.video is not None
    return Row(
        shard=shard,
        offset=group.video.offset_data,
        size=group.video.size,
        member=group.video.name,
        name=said["name"],
        labels=tuple(place[str(int(text)) if _is_number(text) else text] for text in said["labels"]),
        split=said["split"],
        group=said["group"],
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _groups(shard: Path) -> Iterator[_Group]:
    """Yields the samples of a tar file."""
    seen: set[str] = set()
    group: _Group | None = None
    for file, info in _members(shard):
        match = _NAME.fullmatch(info.name)
        if match is None or "/." in f"/{info.name}":
            continue  # a README, `__MACOSX/._clip.mp4`
        if group is None or match["key"] != group.key:
            if group is not None:
                yield _whole(shard, group)
            if match["key"] in seen:
                raise ValueError(f"{shard} must keep the members of a sample together, got {match['key']!r} twice")
            seen.add(match["key"])
            group = _Group(match["key"])
        extension = match["extension"].lower()
        if f".{extension.rpartition('.')[2]}" in VIDEO_EXTENSIONS:
            if group.video is not None:
                raise ValueError(f"{shard} must hold one video a sample, got {group.video.name!r} and {info.name!r}")
            group.video = info
        elif extension in _LABELS and info.size <= _LONGEST_LABEL:
            content = file.extractfile(info)
            assert content is not None
            group.texts[extension] = content.read().decode("utf-8-sig", "surrogateescape").strip()
    if group is not None:
        yield _whole(shard, group)


def _whole(shard: Path, group: _Group) -> _Group:
    if group.video is None:
        raise ValueError(f"{shard} must hold a video for each sample, got none for {group.key!r}; pack it again")
    return group


def _members(shard: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yields the files of a tar file; refuses what has no business in one."""
    end = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as file:
            while (info := file.next()) is not None:
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    raise ValueError(f"{shard} must hold plain files alone, got {info.name!r}, a link or a device")
                if not is_safe(info.name):
                    raise ValueError(f"{shard} must hold names that stay inside it, got {info.name!r}; pack it again")
                if info.offset_data + info.size > end:
                    raise ValueError(f"{shard} must hold all of {info.name!r}, got a file cut off; copy it again")
                yield file, info
                file.members = []  # type: ignore[attr-defined]  # tarfile remembers every member it has seen
        with shard.open("rb") as bytes_:
            bytes_.seek(max(0, end - 2 * tarfile.BLOCKSIZE))
            if end < 2 * tarfile.BLOCKSIZE or bytes_.read().strip(b"\0"):
                raise ValueError(f"{shard} must end as tar files do, got one that is cut off; copy it again")
    except tarfile.TarError as error:
        raise ValueError(f"{shard} must be a tar file without compression, got: {error}; copy or unpack it") from error


def _description(shard: Path, group: _Group) -> dict[str, Any]:
    """Returns name, labels as texts, split and group of a sample."""
    assert group.video is not None
    said: dict[str, Any] = {}
    if "json" in group.texts:
        try:
            said = json.loads(group.texts["json"])
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{shard}: {group.key}.json must be JSON, got: {error}; mend it") from error
        said = said if isinstance(said, dict) else {"label": said}
    labels = said.get("label", group.texts.get("cls", group.texts.get("txt", [])))
    labels = labels if isinstance(labels, list) else [labels]
    split, of_shard = said.get("split"), _SPLIT.match(shard.name)
    if split is None and of_shard is not None:
        split = of_shard["split"]
    return {
        "name": str(said.get("name") or group.video.name),
        "labels": [str(label).strip() for label in labels if label is not None and str(label).strip()],
        "split": SPLIT_NAMES.get(str(split).lower()),
        "group": None if said.get("group") is None else str(said["group"]),
    }
