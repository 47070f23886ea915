"""Class folders: `root/train/<class>/*` and `root/val/<class>/*`, or one folder `root/<class>/*`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kinema.data.annotations.sample import SPLIT_NAMES, Sample
from kinema.data.annotations.source import Annotations, Source
from kinema.data.video.opening import is_video
from kinema.wording import listed

_LAYOUT = "<root>/train/<class>/<video> and <root>/val/<class>/<video>, or <root>/<class>/<video>"


def detect(source: Source) -> bool:
    """Tells whether the root's folders may be its classes: no annotation file is named."""
    return source.annotations is None


def read(source: Source) -> Annotations:
    """Reads a dataset whose folders are its classes.

    Videos are files or folders of numbered frames, at any depth inside a class folder. Names are kept as they stand;
    hidden entries and files that are no videos are passed over. A class must have a video in at least one split.

    Args:
        source: Its root is the folder to read.

    Returns:
        The samples, sorted by name, and the classes, sorted too.

    Raises:
        ValueError: If the folders are not in one of the two layouts or a class has no video.
    """
    root = source.root
    splits = _split_folders(root)
    if splits:
        samples = [
            sample for split, folder in splits.items() for sample in _read_classes(folder, root=root, split=split)
        ]
    else:
        samples = _read_classes(root, root=root, split=None)
    _check_every_class_has_videos([root] if not splits else list(splits.values()), samples, root=root)
    return Annotations(
        format="class_folders",
        samples=sorted(samples, key=lambda sample: sample.name),
        class_names=tuple(sorted({sample.class_name for sample in samples})),
    )


def holds_videos(root: Path) -> bool:
    """Tells whether a folder of a root holds videos, so that the folders may be the classes."""
    return any(next(_videos(folder), None) is not None for folder in _class_folders(root))


def _split_folders(root: Path) -> dict[str, Path]:
    """Finds the split folders of a root: none of them where its folders are the classes themselves."""
    folders = _class_folders(root)
    named = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES]
    others = [folder for folder in folders if folder not in named and next(_videos(folder), None) is not None]
    if not named:
        return {}
    if others:
        # A class may be called "train" (the vehicle): then videos lie directly in it, as in its neighbours.
        if all(next(_direct_videos(folder), None) is not None for folder in named):
            return {}
        raise ValueError(
            f"{root} must hold either split folders or class folders, got both: {_names(named)} and {_names(others)}; "
            f"the layout is {_LAYOUT}"
        )
    splits: dict[str, Path] = {}
    for folder in named:
        split = SPLIT_NAMES[folder.name.lower()]
        if split in splits:
            raise ValueError(
                f"{root} must hold one folder for each split, got {splits[split].name} and {folder.name}; "
                "merge or rename one of them"
            )
        splits[split] = folder
    return splits


def _read_classes(parent: Path, *, root: Path, split: str | None) -> list[Sample]:
    """Reads the class folders that stand in one folder."""
    stray = next(_direct_videos(parent), None)
    if stray is not None:
        raise ValueError(
            f"{parent} must hold one folder for each class, got a video without a class: {stray.name}; "
            f"the layout is {_LAYOUT}; other layouts need a CSV of path,label"
        )
    return [
        Sample(path=video, class_name=folder.name, split=split, name=video.relative_to(root).as_posix())
        for folder in _class_folders(parent)
        for video in _videos(folder)
    ]


def _check_every_class_has_videos(parents: list[Path], samples: list[Sample], *, root: Path) -> None:
    """Refuses a root without classes and a class without videos, saying what was found instead."""
    folders = [folder for parent in parents for folder in _class_folders(parent)]
    if not folders:
        found = sorted(entry.name for entry in root.iterdir())
        raise ValueError(
            f"{root} must hold class folders with videos, got {listed(found, 5) or 'an empty folder'}; "
            f"the layout is {_LAYOUT}"
        )
    _check_not_wrapped(folders)
    filled = {sample.class_name for sample in samples}
    for folder in folders:
        if folder.name not in filled:
            others = sorted(entry.name for entry in folder.rglob("*") if not entry.is_dir())
            hidden = sum(name.startswith(".") for name in others)
            instead = f"{len(others)} other files ({hidden} hidden), first {others[0]}" if others else "an empty folder"
            raise ValueError(
                f"class folder {folder} must hold videos, got {instead}; add videos, convert them, or remove the folder"
            )


def _check_not_wrapped(folders: list[Path]) -> None:
    """Refuses a single class folder that holds nothing but folders of videos: it is the root one level further down."""
    if len(folders) != 1 or next(_direct_videos(folders[0]), None) is not None:
        return
    inner = [folder for folder in _class_folders(folders[0]) if next(_videos(folder), None) is not None]
    if len(inner) > 1:
        raise ValueError(
            f"{folders[0].parent} must hold class folders, got only {folders[0].name}, in which {_names(inner[:3])} "
            f"look like them; take {folders[0]} as the root"
        )


def _class_folders(parent: Path) -> list[Path]:
    """Folders of a folder that may be classes or splits: neither hidden nor themselves videos made of frames."""
    entries = sorted(parent.iterdir())
    return [entry for entry in entries if not _is_hidden(entry) and entry.is_dir() and not is_video(entry)]


def _direct_videos(folder: Path) -> Iterator[Path]:
    """Videos that lie directly in a folder."""
    return (entry for entry in sorted(folder.iterdir()) if not _is_hidden(entry) and is_video(entry))


def _videos(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Videos of a folder at any depth, in sorted order; a link back to a folder above is not followed."""
    inside = above | {folder.resolve()}
    for entry in sorted(folder.iterdir()):
        if _is_hidden(entry):
            continue
        if is_video(entry):
            yield entry
        elif entry.is_dir() and entry.resolve() not in inside:
            yield from _videos(entry, inside)


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _names(folders: list[Path]) -> str:
    return ", ".join(folder.name for folder in folders)
