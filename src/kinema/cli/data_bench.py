"""The command that measures how fast a dataset is read."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kinema.cli.data_extract import add_place, take_place

if TYPE_CHECKING:
    from kinema.engine.arguments import CommandParser
    from kinema.engine.loader_bench import LoaderBench, LoaderBenchConfig
    from kinema.engine.recipe import DataPlace


def data_bench(place: DataPlace, config: LoaderBenchConfig, *, as_json: bool) -> int:
    """Measures how fast the loader reads a dataset, and says what to change."""
    from rich.console import Console

    from kinema.engine.loader_bench import bench_loader
    from kinema.engine.read_data import read_place
    from kinema.engine.training.data import choose_workers

    samples = read_place(place, own_flags=True).samples
    most = choose_workers(place.num_workers, num_videos=len(samples))
    bench = bench_loader(samples, config, workers=range(most + 1), root=place.root)
    for reason in bench.errors.values():
        print(f"kinema: {reason}", file=sys.stderr)
    if as_json:
        print(json.dumps(bench.to_dict()))
    else:
        _print(bench, Console())
    return 1 if bench.errors else 0


def _print(bench: LoaderBench, console: Any) -> None:  # noqa: ANN401 (rich is imported where it is used)
    from rich.table import Table

    table = Table("what reads", "clips a second", "first batch", title=f"{bench.num_videos} videos")
    table.add_row("one decoder alone", f"{bench.decoder_rate:.1f}", "")
    for count, rate in bench.loader_rates.items():
        name = f"loader, {count} worker{'' if count == 1 else 's'}"
        table.add_row(name, f"{rate:.1f}", f"{bench.start_seconds[count]:.1f} s")
    console.print(table)
    distance = "" if bench.keyframe_distance is None else f", a keyframe every {bench.keyframe_distance:.0f} frames"
    shares = f"opening {bench.opening:.0%}, decoding {bench.decoding:.0%}, scaling {bench.scaling:.0%}"
    for line in (f"time of a decoder: {shares}", f"frames: short side {bench.short_side} pixels{distance}"):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    for line in bench.advice:
        console.print(f"- {line}", soft_wrap=True, highlight=False, markup=False)


def bench_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `kinema data bench`."""
    add_place(parser)
    parser.add_flag("--json", help="Print one line of JSON.")
    parser.add_dataclass("kinema.engine.loader_bench", "LoaderBenchConfig")


def run_bench(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Calls `data_bench` with the values parsed."""
    from kinema.engine.loader_bench import LoaderBenchConfig
    from kinema.engine.recipe.files import build

    place, as_json = take_place(values), values.pop("json")
    return data_bench(place, build(LoaderBenchConfig, values), as_json=as_json)
