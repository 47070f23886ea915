"""The command that checks a dataset."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.engine.arguments import CommandParser
    from kinema.engine.check_data import CheckConfig

STDOUT = "-"


def data_check(root: str, config: CheckConfig, *, json_file: str | None, quarantine: str | None) -> int:
    """Reads annotations and every video of a dataset; prints what is wrong with which, and what to do."""
    from rich.console import Console

    from kinema.cli.check_progress import check_progress
    from kinema.data.atomic import write_atomically
    from kinema.data.check.cache import Cache
    from kinema.data.user_cache import cache_folder
    from kinema.engine.check_data import check_data
    from kinema.report.data_check import check_report, verdict

    targets = {"json": json_file if json_file != STDOUT else None, "quarantine": quarantine}
    for name, target in targets.items():
        folder = Path(target or ".").absolute().parent
        if target and (Path(target).is_dir() or not os.access(folder, os.W_OK)):
            raise ValueError(f"{name} must be a file in a folder that can be written to, got {target}; make it first")
    cache = Cache(cache_folder())
    try:
        with check_progress(Console(stderr=True)) as progress:
            result = check_data(root, config, cache=cache, progress=progress)
    finally:
        cache.close()
    if result.trouble:
        print(f"kinema: warning: {result.trouble}", file=sys.stderr)
    text = json.dumps(result.to_dict()) + "\n"
    if json_file == STDOUT:
        print(text, end="")
    else:
        Console().print(check_report(result))
        print(verdict(result))
    if json_file and json_file != STDOUT:
        write_atomically(Path(json_file), text.encode())
    if quarantine:
        lines = result.quarantine()
        write_atomically(Path(quarantine), lines.encode())
        count = len(lines.splitlines())
        told = f"wrote {quarantine}: {count} {'line' if count == 1 else 'lines'}; leave them out of training with"
        print(f"{told} --data.quarantine {quote(quarantine)}", file=sys.stderr)
    return 1 if result.num_faults else 0


def check_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `kinema data check`."""
    parser.add_positional("root", help="Folder of the videos, or its annotation file.")
    parser.add_dataclass("kinema.engine.check_data", "CheckConfig")
    parser.add_optional(
        "--json", suffix=".json", otherwise=STDOUT, help="Print JSON instead of a table, or also write it to FILE.json."
    )
    parser.add_argument(
        "--quarantine",
        type=str | None,
        default=None,
        metavar="FILE",
        help="Write the videos that training should leave out to this file, for --data.quarantine.",
    )


def run_check(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Calls `data_check` with the values parsed."""
    from kinema.engine.check_data import CheckConfig
    from kinema.engine.recipe.files import build

    root, json_file, quarantine = values.pop("root"), values.pop("json"), values.pop("quarantine")
    return data_check(root, build(CheckConfig, values), json_file=json_file, quarantine=quarantine)
