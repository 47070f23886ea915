"""Lists of lines `id;class`, as Something-Something V1 and Jester have them, and lists of class names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from kinema.data.annotations.class_list import read_class_names
from kinema.data.annotations.faults import Faults
from kinema.data.annotations.listing import Listing, check_name, place_in
from kinema.data.annotations.source import Source
from kinema.data.annotations.split_files import SplitFiles
from kinema.data.annotations.text import read_lines

Row = tuple[int, str, str]
"""Line, video and class; the class is empty where there is none."""


def read_pairs(path: Path, faults: Faults) -> Iterator[Row]:
    """Yields the rows of a list of lines `id;class`, or `id` where the classes are kept back; none of them is bad."""
    for line, text in read_lines(path):
        video, _, class_name = text.partition(";")
        yield line, video.strip(), class_name.strip()


def read_listing(
    files: SplitFiles,
    class_names: tuple[str, ...] | None,
    *,
    rows: Callable[[Path, Faults], Iterable[Row]],
    faults: Faults,
) -> Listing:
    """Reads the lists of all splits, with the answers to the test list where they are there.

    Args:
        files: The lists.
        class_names: All classes, where a file has their names.
        rows: Reads one list.
        faults: What becomes of a bad row.

    Returns:
        The videos.

    Raises:
        ValueError: If a list has no rows, or a row is not as it must be; with the line.
    """
    listing = Listing(class_names, origin=files.labels)
    answers = read_answers(files.answers, class_names, origin=files.labels, faults=faults)
    for split, path in files.lists.items():
        number = len(listing)
        for line, video, class_name in rows(path, faults):
            with faults.at(path, line):
                if not class_name and split == "test":
                    class_name = answers.get(video, "")
                elif not class_name:
                    raise ValueError(
                        f"{place_in(path, line)}: there must be a class, got {video!r} alone; name its class"
                    )
                listing.add(video, class_name, split=split, file=path, line=line)
        if len(listing) == number:
            raise ValueError(f"{path} must list videos, got none; copy the file again")
    return listing


def read_answers(
    path: Path | None, class_names: tuple[str, ...] | None, *, origin: Path | None, faults: Faults
) -> dict[str, str]:
    """Reads the classes of the test videos, lines `id;class`.

    Returns:
        The class of each video; nothing where there is no such file.

    Raises:
        ValueError: If a line is not as it must be.
    """
    listing = Listing(class_names, origin=origin)
    for line, video, class_name in read_pairs(path, faults) if path else ():
        with faults.at(path or Path(), line):
            if not class_name:
                raise ValueError(f"{path}, line {line}: there must be a class, got {video!r} alone; write id;class")
            listing.add(video, class_name, split="test", file=path or Path(), line=line)
    return dict(listing.videos("test"))


def given_names(source: Source) -> tuple[str, ...] | None:
    """Returns the names of the classes that a person gives, in their order; none where they give none.

    Raises:
        ValueError: If the file cannot be read, or holds no such names.
    """
    if source.class_list is None:
        return None
    try:
        names = read_class_names(source.class_list, order="file")
    except OSError as error:
        raise ValueError(f"class_list must be a file of names, got {source.class_list}; check the path") from error
    return distinct(enumerate(names, start=1), source.class_list)


def read_names(path: Path) -> tuple[str, ...]:
    """Reads class names, one a line.

    Raises:
        ValueError: If there are none, or one stands there twice.
    """
    return distinct(((line, text.strip()) for line, text in read_lines(path)), path)


def distinct(names: Iterable[tuple[int, str]], path: Path) -> tuple[str, ...]:
    """Returns class names in their order.

    Raises:
        ValueError: If there are none, or one stands there twice; with the lines.
    """
    lines: dict[str, int] = {}
    for line, name in names:
        check_name("class", name, path, line)
        if lines.setdefault(name, line) != line:
            raise ValueError(
                f"{path}, line {line}: class names must be distinct, got {name!r} as in line {lines[name]}; remove one"
            )
    if not lines:
        raise ValueError(f"{path} must hold class names, got none; copy the file again")
    return tuple(lines)
