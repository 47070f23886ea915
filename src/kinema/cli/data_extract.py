"""The command that turns the videos of a dataset into folders of frames."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.data.prepare.extract import ExtractConfig
    from kinema.data.prepare.report import Report
    from kinema.engine.arguments import CommandParser
    from kinema.engine.recipe import DataPlace


def data_extract(place: DataPlace, out: str, config: ExtractConfig) -> int:
    """Writes every video of a dataset as a folder of frames; interrupted and started again, it goes on."""
    from kinema.data.prepare.extract import extract
    from kinema.engine.read_data import read_place, source_of
    from kinema.engine.training.data import choose_workers

    check_out(place, out)
    annotations = read_place(place, own_flags=True)
    num_workers = choose_workers(place.num_workers, num_videos=len(annotations.samples))
    report = extract(annotations, source_of(place), Path(out), config, num_workers=num_workers)
    return say(report, out)


def check_out(place: DataPlace, out: str) -> None:
    """Refuses a new dataset inside the old one, of which it would become a part."""
    from kinema.engine.read_data import source_of
    from kinema.wording import check

    root = source_of(place).root.resolve()
    check(not Path(out).resolve().is_relative_to(root), "out", f"lie outside of {root}", out, "choose another folder")


def say(report: Report, out: str) -> int:
    """Prints what became of a dataset; returns 1 where videos cannot be read."""
    for reason in report.failures.values():
        print(f"kinema: {reason}", file=sys.stderr)
    print(f"{out}: {report.summary()}")
    for note in report.notes:
        print(f"{out}: {note}")
    return 1 if report.failures else 0


def add_place(parser: CommandParser) -> None:
    """Adds the arguments that say which dataset is meant."""
    parser.add_positional("root", help="Folder of the videos, or its annotation file.")
    parser.add_argument("--annotations", type=str, metavar="FILE", help="Annotation file, where not in the root.")
    parser.add_argument("--format", type=str, default="auto", help="Format of the annotations; auto finds it out.")
    parser.add_argument("--class_list", type=str, metavar="FILE", help="Names of the classes, for numbered labels.")
    parser.add_argument("--fold", type=int, default=1, help="Which of several splits is meant.")
    parser.add_argument("--num_workers", type=int, help="Videos at the same time; default: one per core, at most 8.")


def take_place(values: dict[str, Any]) -> DataPlace:
    """Takes the values of `add_place` out of those parsed."""
    from kinema.engine.recipe import DataPlace

    names = ("root", "annotations", "format", "class_list", "fold", "num_workers")
    return DataPlace(**{name: values.pop(name) for name in names})


def extract_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `kinema data extract`."""
    add_place(parser)
    parser.add_argument("--out", type=str, required=True, help="Folder to make.")
    parser.add_dataclass("kinema.data.prepare.extract", "ExtractConfig")


def run_extract(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Calls `data_extract` with the values parsed."""
    from kinema.data.prepare.extract import ExtractConfig
    from kinema.engine.recipe.files import build

    place, out = take_place(values), values.pop("out")
    return data_extract(place, out, build(ExtractConfig, values))
