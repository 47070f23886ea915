"""The command that packs a dataset into files or shards that are quick to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kinema.cli.data_extract import add_place, check_out, say, take_place

if TYPE_CHECKING:
    from kinema.data.prepare.encode import Encoding
    from kinema.engine.arguments import CommandParser
    from kinema.engine.recipe import DataPlace

To = Literal["video", "shards"]


def data_pack(place: DataPlace, out: str, encoding: Encoding, *, to: To, shard_mb: float) -> int:
    """Packs a dataset into video files or shards that are quick to read; interrupted and started again, it goes on."""
    from kinema.data.prepare.pack_files import pack_files
    from kinema.data.prepare.pack_shards import pack_shards
    from kinema.engine.read_data import read_place, source_of
    from kinema.engine.training.data import choose_workers

    check_out(place, out)
    annotations = read_place(place, own_flags=True)
    workers = choose_workers(place.num_workers, num_videos=len(annotations.samples))
    if to == "shards":
        report = pack_shards(annotations, Path(out), encoding, shard_mb=shard_mb, num_workers=workers)
    else:
        report = pack_files(annotations, source_of(place), Path(out), encoding, num_workers=workers)
    return say(report, out)


def pack_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `kinema data pack`."""
    add_place(parser)
    parser.add_argument("--out", type=str, required=True, help="Folder to make.")
    parser.add_argument("--to", type=To, default="video", help="What is written.")
    parser.add_argument("--shard_mb", type=float, default=500.0, help="Size of a shard in megabytes.")
    parser.add_dataclass("kinema.data.prepare.encode", "Encoding")


def run_pack(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Calls `data_pack` with the values parsed."""
    from kinema.data.prepare.encode import Encoding
    from kinema.engine.recipe.files import build

    place, out = take_place(values), values.pop("out")
    to, shard_mb = values.pop("to"), values.pop("shard_mb")
    return data_pack(place, out, build(Encoding, values), to=to, shard_mb=shard_mb)
