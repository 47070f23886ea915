"""Commands about the hub: publishing a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.engine.arguments import CommandParser


def push(
    weights: str, target: str, *, results: Sequence[str], license: str | None, private: bool, message: str | None
) -> int:
    """Publishes a model with its card: on the hub as hf://owner/name, or in a folder."""
    from kinema.report.publish import publish

    for line in publish(weights, target, results=results, license=license, private=private, message=message):
        print(line)
    return 0


def push_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `push`."""
    parser.add_positional("weights", help="Weights file, or hf://owner/name.")
    parser.add_positional("target", help="hf://owner/name, or a folder.")
    parser.add_argument(
        "--results",
        type=list[str] | str,
        default=[],
        metavar="FILE",
        help="Scores for the card: a file of `kinema evaluate --json`, or a list of several. Else the run's own log.",
    )
    parser.add_argument("--license", type=str | None, default=None, help="Identifier of the licence, as apache-2.0.")
    parser.add_flag("--private", help="Let only the owner see it.")
    parser.add_argument("--message", type=str | None, default=None, help="Words for the commit on the hub.")


def run_push(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Runs `push`."""
    results = values.pop("results")
    return push(**values, results=[results] if isinstance(results, str) else results)
