"""The command that extracts the optical flow of a dataset."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.data.annotations import Annotations
    from kinema.data.flow.extract import FlowConfig
    from kinema.engine.arguments import CommandParser
    from kinema.engine.recipe import DataPlace

UNREADABLE = 1


def data_flow(place: DataPlace, out: str, config: FlowConfig) -> int:
    """Extracts the optical flow of videos into folders of pictures; stopped and started again, it goes on."""
    from kinema.data.flow.dataset import extract_dataset

    _check_apart(Path(place.root), Path(out))
    annotations = _read(place)
    try:
        extracted = extract_dataset(annotations, Path(out), config, num_workers=place.num_workers, progress=True)
    except KeyboardInterrupt:
        print("kinema: interrupted; the same command goes on", file=sys.stderr)
        return 130
    for name, reason in extracted.errors.items():
        print(f"kinema: no flow of {name}: {reason}", file=sys.stderr)
    there = len(extracted.folders) - extracted.num_new
    unreadable = f", {len(extracted.errors)} unreadable" if extracted.errors else ""
    print(f"{out}: flow of {len(extracted.folders)} videos ({there} were there already){unreadable}")
    if extracted.num_unlisted:
        reason = "the data does not say their class, or a list cannot"
        print(f"{extracted.num_unlisted} of them are in no list, for {reason}")
    if annotations.class_names and len(extracted.folders) > extracted.num_unlisted:
        print(f"next: kinema train --data.root {quote(out)} --clip.modality flow --out runs/flow")
    return UNREADABLE if extracted.errors else 0


def flow_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `kinema data flow`."""
    parser.add_positional("root", help="Folder of the videos, its annotation file, or one video.")
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="Folder to write; started again, kept.")
    parser.add_argument("--annotations", type=str | None, metavar="FILE", help="Annotations that are not in the root.")
    parser.add_argument("--format", type=str, default="auto", help="Format of the annotations; auto finds it out.")
    parser.add_argument("--class_list", type=str | None, metavar="FILE", help="Names of classes, for lists of numbers.")
    parser.add_argument("--fold", type=int, default=1, help="Which of several splits is meant.")
    parser.add_argument("--num_workers", type=int | None, help="Videos at the same time; null: one for each core.")
    parser.add_dataclass("kinema.data.flow.extract", "FlowConfig")


def run_flow(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Calls `data_flow` with the values parsed."""
    from kinema.data.flow.extract import FlowConfig
    from kinema.engine.recipe import DataPlace
    from kinema.engine.recipe.files import build

    out = values.pop("out")
    names = ("root", "annotations", "format", "class_list", "fold", "num_workers")
    place = DataPlace(**{name: values.pop(name) for name in names})
    return data_flow(place, out, build(FlowConfig, values))


def _read(place: DataPlace) -> Annotations:
    """Reads the dataset; one video is a dataset of its own."""
    from kinema.data.annotations import Annotations, Sample
    from kinema.data.video.opening import is_video
    from kinema.engine.read_data import read_place

    root = Path(place.root)
    if not is_video(root):
        return read_place(place, own_flags=True)
    sample = Sample(path=root, class_name="", name=root.name)
    return Annotations(format="class_folders", samples=[sample], class_names=())


def _check_apart(root: Path, out: Path) -> None:
    """Refuses to write into the dataset, where flow would be taken for more videos."""
    inner, outer = out.resolve(), root.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise ValueError(f"out must lie beside the videos, not in their folder, got {out}; name another folder")
