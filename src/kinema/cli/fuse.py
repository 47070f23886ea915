"""The command that puts several scored networks together."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.engine.arguments import CommandParser

UNREADABLE = 1


def fuse(files: list[str], *, weights: list[float] | None, json_file: str | None) -> int:
    """Puts networks together by the scores that `kinema evaluate --json` wrote; prints each and all of them."""
    from rich.console import Console

    from kinema.engine.fuse import fuse as run
    from kinema.engine.fuse import read_evaluation
    from kinema.engine.fuse_table import fusion_table
    from kinema.models.weights import write_atomically

    fusion = run([read_evaluation(file) for file in files], weights)
    Console().print(fusion_table(fusion, files))
    for name, reason in fusion.fused.errors.items():
        print(f"kinema: {name} counts as wrong: {reason}", file=sys.stderr)
    if json_file:
        write_atomically(Path(json_file), (json.dumps(fusion.to_dict()) + "\n").encode())
    return UNREADABLE if fusion.fused.errors else 0


def fuse_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `kinema fuse`."""
    parser.add_positional("files", several=True, help="Files of kinema evaluate --json, of the same videos.")
    parser.add_argument("--weights", type=float, nargs="+", metavar="W", help="Weight of each file; equal by default.")
    parser.add_argument("--json", type=str, metavar="FILE", help="Also write the scores of every video to this file.")


def run_fuse(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Calls `fuse` with the values parsed."""
    return fuse(values["files"], weights=values["weights"], json_file=values["json"])
