"""What a run says to a person: lines as they are, whatever names stand in them."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, text: str) -> None:
    """Prints lines as they are."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def warn(console: Console, *lines: str) -> None:
    """Prints lines that must not be missed, as they are."""
    for line in lines:
        console.print(line, style="bold yellow", soft_wrap=True, highlight=False, markup=False)
