"""Shards: tar files of videos and labels in the layout of webdataset, in a folder or at an address of the web.

Beside them stands an index, as `kinema data pack` writes it. Where it is missing, one pass over the headers makes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from kinema.data.annotations.shard_index import INDEX, IndexHeader, Row, index_text, make_table, parse_index
from kinema.data.annotations.source import Annotations, Source
from kinema.data.annotations.tar_scan import scan_shards
from kinema.data.annotations.text import read_lines
from kinema.data.atomic import write_atomically
from kinema.data.video.base import VideoError
from kinema.data.video.http_range import read_url, url_of

WORK_LOG: Final = ".kinema-prepare.jsonl"
"""What `kinema data extract` and `pack` note of their progress in the folder that they fill."""
_LARGEST_INDEX: Final = 2**31


def detect(source: Source) -> bool:
    """Tells whether the source is an address, or its folder holds tar files."""
    place = _place(source)
    return url_of(place) is not None or (place.is_dir() and any(place.glob("*.tar")))


def read(source: Source) -> Annotations:
    """Reads the index of shards.

    Args:
        source: Its annotations, or else its root, is the folder or the address of the shards.

    Returns:
        The samples, sorted by name, and the classes in the order of the index.

    Raises:
        ValueError: If there are no shards, or index and shards do not belong together.
    """
    place = _place(source)
    url = url_of(place)
    rows: Iterable[Row]
    notes: tuple[str, ...] = ()
    if url is not None:
        header, rows = parse_index(_fetch_index(url), where=f"{url}/{INDEX}")
    elif place.is_dir():
        header, rows, notes = _read_folder(place)
    else:
        raise ValueError(f"root must be a folder of shards or an address of one, got {place}; check the path")
    header, rows, advice = _named(header, rows, source.class_list)
    table = make_table(header, rows, folder=url or str(place), where=f"{url or place}/{INDEX}")
    return Annotations(
        format="shards",
        samples=table,
        class_names=header.classes,
        files=() if url is not None else (place / INDEX,),
        multi_label=table.has_several_classes,
        notes=notes + advice,
    )


def _place(source: Source) -> Path:
    """The folder or address of the shards."""
    annotations = source.annotations
    return annotations if annotations is not None and (url_of(annotations) or annotations.is_dir()) else source.root


def _fetch_index(url: str) -> list[str]:
    try:
        return read_url(f"{url}/{INDEX}", limit=_LARGEST_INDEX).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{url}/{INDEX} must be UTF-8 text, got other bytes; copy it again") from error
    except VideoError as error:
        raise ValueError(
            f"data.root must be an address where shards stand beside their {INDEX}, got {url}: {error} (kinema data "
            "pack writes the index; for shards without one, copy them here)"
        ) from error


def _read_folder(folder: Path) -> tuple[IndexHeader, Iterable[Row], tuple[str, ...]]:
    shards = sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))
    index = folder / INDEX
    sizes = tuple((shard.name, shard.stat().st_size) for shard in shards)
    if index.is_file():
        header, rows = parse_index((line for _, line in read_lines(index)), where=str(index))
        if header.shards == sizes:
            return header, rows, ()
        if header.made_by == "pack":
            known, there = dict(header.shards), dict(sizes)
            wrong = sorted(name for name in known.keys() | there.keys() if known.get(name) != there.get(name))
            raise ValueError(
                f"{folder} must hold the shards of its {INDEX} as they were packed, got another {wrong[0]}; copy it "
                "again, or pack again"
            )
    elif (folder / WORK_LOG).is_file():
        raise ValueError(f"{folder} must hold shards that are all packed, got unfinished work; run data pack again")
    if not shards:
        raise ValueError(f"{folder} must hold .tar files, got none; check the path")
    return _scan(shards)


def _scan(shards: list[Path]) -> tuple[IndexHeader, list[Row], tuple[str, ...]]:
    """Makes the index, and leaves it for the next time where that is allowed."""
    header, rows = scan_shards(shards)
    note = f"the {len(shards)} shards bring no index; looked through, {len(rows)} samples"
    try:
        write_atomically(shards[0].parent / INDEX, index_text(header, rows).encode())
    except OSError:
        return header, rows, (f"{note} (the folder cannot be written to, so this is done every time)",)
    return header, rows, (f"{note}, noted in {INDEX}",)


def _named(
    header: IndexHeader, rows: Iterable[Row], class_list: Path | None
) -> tuple[IndexHeader, Iterable[Row], tuple[str, ...]]:
    """Gives classes that are numbers their names."""
    numbers = [int(name) for name in header.classes if name.isdecimal()]
    if header.made_by == "pack" or not numbers or len(numbers) < len(header.classes):
        return header, rows, ()
    if class_list is None:
        return header, rows, ("classes are numbers; --data.class_list FILE names them",)
    names = tuple(text.strip() for _, text in read_lines(class_list))
    if max(numbers) >= len(names):
        raise ValueError(
            f"{class_list} must name the classes from 0 to {max(numbers)}, one a line, got {len(names)}; give the list "
            "that belongs to the data"
        )
    named = (row._replace(labels=[numbers[label] for label in row.labels]) for row in rows)
    return replace(header, classes=names), named, ()
