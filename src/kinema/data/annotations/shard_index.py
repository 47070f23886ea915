"""The index beside shards: which samples there are, and where in which tar file each one's video lies.

A text file of JSON lines. The first is an object: version, classes in their order, name and size of each shard, who
made it. Each further line is one sample: `[shard, offset, size, member, name, [classes], split, group]`, with shards
and classes as numbers of the first line's.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.sample import Sample
from kinema.data.annotations.table import SPLITS, SampleTable
from kinema.data.annotations.table_builder import TableBuilder
from kinema.data.video.shards import BLOCK, Member

INDEX: Final = "index.jsonl"
"""Name of the index."""
VERSION: Final = 1
ENCODING: Final = ("utf-8", "surrogateescape")


@dataclass(frozen=True, kw_only=True)
class IndexHeader:
    """The first line of an index."""

    classes: tuple[str, ...]
    """All classes, in their order."""
    shards: tuple[tuple[str, int], ...]
    """Name and size in bytes of each tar file."""
    made_by: str
    """`pack`, or `scan` where shards of others were looked through."""
    kinema_shards: int = VERSION
    """Version of this format."""


class Row(NamedTuple):
    """One sample of an index."""

    shard: int
    """Number of its shard."""
    offset: int
    """Where the video begins in it."""
    size: int
    """Length of the video in bytes."""
    member: str
    """Name of the video in the shard."""
    name: str
    """Name of the sample in its dataset."""
    labels: Sequence[int]
    """Numbers of its classes; none where the data does not say them."""
    split: str | None
    """`train`, `val` or `test`, where the data says so."""
    group: str | None
    """What a split must not tear apart."""


def index_text(header: IndexHeader, rows: Iterable[Row]) -> str:
    """Returns an index as the text of its file."""
    lines = [json.dumps(asdict(header))]
    for row in rows:
        lines.append(json.dumps(row))
    return "\n".join([*lines, ""])


def parse_index(lines: Iterable[str], *, where: str) -> tuple[IndexHeader, Iterator[Row]]:
    """Reads an index; its rows are checked as they are taken.

    Raises:
        ValueError: If it is no index, or a row cannot be true; with the line.
    """
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    number, first = next(numbered, (1, "{}"))
    fields = _json(first, where, number)
    try:
        header = IndexHeader(
            classes=tuple(fields["classes"]),
            shards=tuple((str(name), int(size)) for name, size in fields["shards"]),
            made_by=str(fields["made_by"]),
            kinema_shards=fields["kinema_shards"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} must begin with classes and shards, got {first[:80]!r}; pack again") from error
    if header.kinema_shards != VERSION:
        raise ValueError(f"{where} must be of version {VERSION}, got {header.kinema_shards!r}; update kinema")
    for name, _ in header.shards:
        if "/" in name or "\\" in name or not name.endswith(".tar") or name.startswith("."):
            raise ValueError(f"{where} must name .tar files that lie beside it, got {name!r}; pack again")
    if not all(isinstance(name, str) and name for name in header.classes):
        raise ValueError(f"{where} must name its classes, got {header.classes[:5]}; pack again")
    return header, (_row(_json(line, where, number), header, where, number) for number, line in numbered)


def _json(line: str, where: str, number: int) -> Any:  # noqa: ANN401 (whatever the line holds)
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}, line {number}, must be JSON, got {line[:80]!r}; copy the index again") from error


def _row(fields: Any, header: IndexHeader, where: str, number: int) -> Row:  # noqa: ANN401
    try:
        row = Row(*fields)
        if not (row.member.isascii() and row.name.isascii()):
            row.member.encode(*ENCODING), row.name.encode(*ENCODING)
        end = header.shards[row.shard][1]
        sound = (
            type(row.shard) is type(row.offset) is type(row.size) is int
            and row.shard >= 0
            and row.size >= 0
            and BLOCK <= row.offset <= end - row.size
            and all(type(label) is int and 0 <= label < len(header.classes) for label in row.labels)
            and is_safe(row.member)
            and row.split in SPLITS
            and (row.group is None or type(row.group) is str)
        )
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"{where}, line {number}, must be a sample, got {str(fields)[:80]}; pack again") from error
    if not sound:
        raise ValueError(
            f"{where}, line {number}, must name a place in a shard and known classes, got {str(fields)[:80]}; "
            "pack again"
        )
    return row


def is_safe(name: str) -> bool:
    """Tells whether a name in a tar file stays inside the folder that it would be unpacked to."""
    return bool(name.strip("/")) and not name.startswith("/") and "\0" not in name and ".." not in name.split("/")


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Where the videos of a table lie."""

    folder: str
    shards: tuple[str, ...]
    members: bytes
    ends: NDArray[np.int64]
    numbers: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def path(self, row: int) -> Path:
        start = int(self.ends[row - 1]) if row else 0
        member = self.members[start : int(self.ends[row])].decode(*ENCODING)
        shard = f"{self.folder}/{self.shards[self.numbers[row]]}"
        return Member(shard, int(self.offsets[row]), int(self.sizes[row]), member).path()


class ShardTable(SampleTable):
    """Samples whose videos lie in shards."""

    def __init__(self, table: SampleTable, places: _Places) -> None:
        """Takes a table and the places of its columns' rows."""
        super().__init__(table._columns, table._rows)
        self._places = places

    def _sample(self, row: int) -> Sample:
        return replace(super()._sample(row), path=self._places.path(row))


def make_table(header: IndexHeader, rows: Iterable[Row], *, folder: str, where: str) -> ShardTable:
    """Returns the samples of an index, sorted by name.

    Args:
        header: Its first line.
        rows: Its samples.
        folder: Where the shards lie; a folder or an address.
        where: The index, for the message of an error.

    Raises:
        ValueError: If a row cannot be true.
    """
    builder = TableBuilder(Path(folder))
    members, ends = bytearray(), array("q")
    numbers, offsets, sizes = array("i"), array("q"), array("q")
    for row in rows:
        first, *also = [header.classes[label] for label in row.labels] or [""]
        builder.add(row.name, first, split=row.split, group=row.group, also=tuple(also), where=where)
        members += row.member.encode(*ENCODING)
        ends.append(len(members))
        numbers.append(row.shard)
        offsets.append(row.offset)
        sizes.append(row.size)
    places = _Places(
        folder=folder,
        shards=tuple(name for name, _ in header.shards),
        members=bytes(members),
        ends=np.array(ends, dtype=np.int64),
        numbers=np.array(numbers, dtype=np.int32),
        offsets=np.array(offsets, dtype=np.int64),
        sizes=np.array(sizes, dtype=np.int64),
    )
    return ShardTable(builder.table(), places).by_name()
