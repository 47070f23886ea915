"""A checked dataset, as a person reads it: what it is, what is at fault, what is remarkable, and what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kinema.data.annotations import FORMATS
from kinema.data.check.files import ABSENT
from kinema.data.check.findings import KINDS, Finding, Item
from kinema.engine.check_result import Check
from kinema.wording import counted, one_line

NUM_EXAMPLES = 3
_STYLES = {"fault": "bold red", "remark": "yellow"}


def check_report(result: Check) -> RenderableType:
    """Lays out what a check found."""
    parts: list[RenderableType] = [_data(result)]
    if result.lists:
        parts.append(Padding(_lists(result.lists), (0, 0, 1, 0)))
    if result.findings:
        table = Table(show_header=True, show_lines=True, expand=True)
        table.add_column("", no_wrap=True)
        table.add_column("count", justify="right", no_wrap=True)
        table.add_column("found", ratio=1, overflow="fold")
        for finding in sorted(result.findings, key=lambda finding: finding.severity != "fault"):
            style = _STYLES[finding.severity]
            table.add_row(Text(finding.severity, style), Text(f"{finding.count:,}", style), _cell(finding, result.root))
        parts.append(table)
    return Group(*parts)


def _lists(lists: Sequence[Check]) -> Table:
    """A row for each of several lists."""
    table = Table(show_header=True, expand=True)
    table.add_column("list", ratio=1, overflow="fold")
    for name in ("format", "rows", "missing", "faults"):
        table.add_column(name, justify="left" if name == "format" else "right", no_wrap=True)
    for one in lists:
        numbers = (one.num_rows, one.num_of("missing"), one.num_faults)
        file = Text(one_line(os.path.basename(one.annotations[0])))  # noqa: PTH119
        table.add_row(file, one.format or "?", *(f"{number:,}" for number in numbers))
    return table


def verdict(result: Check) -> str:
    """Sums up in a line."""
    faults = [finding for finding in result.findings if finding.severity == "fault"]
    num_remarks = len(result.findings) - len(faults)
    remarks = counted(num_remarks, "remark")
    if not faults:
        return f"no fault, {remarks}"
    kinds = ", ".join(counted(finding.count, KINDS[finding.kind].brief) for finding in faults)
    return f"faults: {kinds}; {remarks}"


def _data(result: Check) -> RenderableType:
    """What the data is, in a few lines."""
    plain = "videos without annotations" if result.num_rows else "annotations that could not be read"
    plain = f"{counted(len(result.lists), 'list')}, each by itself" if result.lists else plain
    what = FORMATS[result.format].what if result.format in FORMATS else plain
    lines = [f"data: {one_line(result.root)}: {what}"]
    lines += [f"data: {one_line(note)}" for note in result.notes]
    if result.lists:
        lines.append(f"rows: {result.num_rows:,}, of {counted(result.num_files, 'video')}")
    elif result.num_rows:
        splits = " + ".join(_split(name, split) for name, split in result.splits.items())
        videos = "" if result.num_files == result.num_rows else f", of {counted(result.num_files, 'video')}"
        lines.append(f"rows: {splits}{videos}")
    if result.num_rows and not result.num_read + result.num_known:
        lines.append("read: no video, for none is there")
    elif result.num_rows:
        earlier = f", {result.num_known:,} unchanged since an earlier check" if result.num_known else ""
        how = {"all": "all frames", "ends": "first and last frame", "none": "nothing"}[result.decode]
        lines.append(f"read: {counted(result.num_read, 'video')}, decoded {how}{earlier} ({result.seconds:.1f} s)")
    if result.frames:
        lines.append(f"videos: {', '.join(_pictures(result))}")
    return Padding(Text("\n".join(lines)), (0, 0, 1, 0) if result.findings else 0)


def _pictures(result: Check) -> list[str]:
    """Words for length, rate and size of the videos."""
    parts = []
    for name, values in (("frames", result.frames), ("frames per second", result.frame_rates)):
        if values:
            low, high = values["least"], values["most"]
            parts.append(f"{values['median']:.4g} {name}" + (f" ({low:.4g} to {high:.4g})" if low != high else ""))
    for size, count in list(result.frame_sizes.items())[:1]:
        others = len(result.frame_sizes) - 1
        share = count / sum(result.frame_sizes.values())
        parts.append(f"{size}" + (f" ({share:.0%}, and {counted(others, 'other size')})" if others else ""))
    return parts


def _split(name: str, split: Mapping[str, Any]) -> str:
    """Words for the rows of a split."""
    label = f"{split['rows']:,}" if name == "none" else f"{split['rows']:,} {name}"
    counts = split["classes"].values()
    if not counts:
        return f"{label} (without classes)"
    low, high = min(counts), max(counts)
    return f"{label} ({counted(len(counts), 'class')}, {low:,}{f' to {high:,}' if low != high else ''} each)"


def _cell(finding: Finding, root: str) -> Text:
    """What was found, the first examples, and what to do."""
    kind = KINDS[finding.kind]
    cell = Text(kind.what, style="bold")
    for item in finding.items[:NUM_EXAMPLES]:
        cell.append(f"\n{_example(item, root)}", style="not bold")
    more = (finding.count if finding.kind == "bad_line" else len(finding.items)) - NUM_EXAMPLES
    if more > 0:
        cell.append(f"\nand {more:,} more", style="not bold")
    cell.append(f"\n-> {kind.advice}", style="not bold green")
    return cell


def _example(item: Item, root: str) -> str:
    """An item in a line; annotation files are told from the folder that was checked."""
    folder = root if os.path.isdir(root) else os.path.dirname(root)  # noqa: PTH112, PTH120
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    name, reason = item.name.removeprefix(prefix), item.reason.removeprefix(prefix)
    of = f"{os.path.basename(item.of)}: " if item.of and not item.line else ""  # noqa: PTH119
    if item.reason in ("", ABSENT):
        return one_line(of + name)
    return one_line(of + reason if item.reason.startswith(item.name) else f"{of}{name}: {reason}")
