"""Writes the tables of README.md and docs from `results/*.json`; `--check` only says whether they fit."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
PAGES = tuple(REPOSITORY / page for page in ("README.md", "docs/benchmarks.md", "docs/motion.md", "docs/small_data.md"))
BLOCK = re.compile(r"(<!-- table:(?P<kind>\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)

Result = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fresh = fill(text, results)
        if fresh != text:
            stale.append(page.name)
            if not check:
                page.write_text(fresh, encoding="utf-8")
    print(f"{'out of date' if check else 'rewritten'}: {', '.join(stale) or 'none'}")
    return int(check and bool(stale))


def fill(text: str, results: list[Result]) -> str:
    """Replaces what stands between `<!-- table:KIND -->` and `<!-- /table -->`."""

    def table(block: re.Match[str]) -> str:
        kind = block["kind"]
        tables = [TABLES[kind](result) for result in results if result["kind"] == kind]
        missing = f"Not measured yet: `python benchmarks/{kind}.py`.\n"
        return block[1] + ("\n".join(tables) or missing) + block[3]

    return BLOCK.sub(table, text)


def train_step_table(result: Result) -> str:
    """Lays out one run of `train_step.py`."""
    settings = result["settings"]
    first = settings["networks"][0]
    about = (
        f"{settings['backbone']}, {settings['num_frames']} frames of {settings['size']} x {settings['size']}, "
        f"{settings['batch_size']} clips a batch, {settings['repeats']} rounds; {place(result)}."
    )
    lines = [
        f"| network | M parameters | G multiply-adds a clip | training step | forward | kept for backward | "
        f"memory, training | memory, forward | `{first}` takes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for network in settings["networks"]:
        numbers = result["networks"][network]
        step, forward = numbers["train_step"], numbers["forward"]
        memory = [numbers["saved"]["ratio"], step["memory"]["ratio"], forward["memory"]["ratio"]]
        ratios = [step["median_ratio"], forward["median_ratio"], *memory]
        cells = [
            f"`{network}`",
            f"{numbers['parameters'] / 1e6:.2f}",
            f"{numbers['macs'] / 1e9:.2f}",
            *(f"x {ratio:.2f}" for ratio in ratios),
            f"{step['median_ms']:.0f} ms, {forward['median_ms']:.0f} ms" if network == first else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([about, "", *lines, ""])


def import_time_table(result: Result) -> str:
    """Lays out one run of `import_time.py`."""
    lines = ["| a fresh process runs | best of the rounds | median |", "|---|---|---|"]
    for name, numbers in result["commands"].items():
        lines.append(f"| `{name}` | {numbers['min_ms']:.0f} ms | {numbers['median_ms']:.0f} ms |")
    return "\n".join([f"{result['settings']['repeats']} rounds; {place(result)}.", "", *lines, ""])


def motion_layers_table(result: Result) -> str:
    """Lays out one run of `motion_layers.py`."""
    settings = result["settings"]
    about = (
        f"{settings['backbone']} from random weights, {settings['num_frames']} frames of {settings['crop']} x "
        f"{settings['crop']}, {settings['num_train']} training clips x {settings['epochs']} epochs, "
        f"{settings['num_val']} held-out clips, seed {settings['seed']}; {place(result)}."
    )
    lines = [
        "| network | M parameters | G multiply-adds a clip | held out | 95 % interval | played in reverse | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for network, numbers in result["networks"].items():
        low, high = numbers["top1_interval"]
        lines.append(
            f"| `{network}` | {numbers['parameters'] / 1e6:.2f} | {numbers['macs'] / 1e9:.3f} | "
            f"{100 * numbers['top1']:.1f} % | {100 * low:.1f} to {100 * high:.1f} | "
            f"{100 * numbers['top1_in_reverse']:.1f} % | {100 * numbers['training_top1']:.1f} % |"
        )
    return "\n".join([about, "", *lines, ""])


def million_rows_table(result: Result) -> str:
    """Lays out one run of `million_rows.py`."""
    settings = result["settings"]
    about = f"A CSV of {settings['rows']:,} rows, {settings['workers']} workers; {place(result)}."
    lines = ["| the main process | seconds | MB at the peak | MB afterwards |", "|---|---|---|---|"]
    for name, numbers in result["main"].items():
        lines.append(
            f"| {name} | {numbers['seconds']:.1f} | {numbers['peak_mb']:.0f} | {max(numbers['held_mb'], 0):.0f} |"
        )
    few = f"of {settings['few_rows']} rows"
    lines += ["", f"| workers | first batch, s | {few} | MB of a worker to itself | {few} |", "|---|---|---|---|---|"]
    for context, numbers in result["workers"].items():
        cells = [
            f"{numbers[rows][what]:.{digits}f}"
            for what, digits in (("first_batch_seconds", 1), ("private_mb", 0))
            for rows in ("many", "few")
        ]
        lines.append(f"| {context} | {' | '.join(cells)} |")
    return "\n".join([about, "", *lines, ""])


def decode_table(result: Result) -> str:
    """Lays out one run of `decode.py`: the mean over the files of a codec and keyframe distance."""
    settings = result["settings"]
    absent = "".join(f"; {name} could not be used" for name in settings["absent"])
    about = (
        f"{settings['num_sampled']} frames by segments of {settings['num_frames']}, 320 x 240, opened, decoded and "
        f"resized to 256 on one core, best of {settings['repeats']} rounds ({settings['clock']} time){absent}; "
        f"{place(result)}."
    )
    rows: dict[tuple[str, int], list[Result]] = {}
    for file in result["files"]:
        rows.setdefault((file["codec"], file["distance"]), []).append(file)
    lines = [
        "| codec | keyframe every | kinema | with the cached index | fastest other that is right | gave wrong frames |",
        "|---|---|---|---|---|---|",
    ]
    for (codec, distance), files in rows.items():
        first, cached = (
            sum(file["ratios"][name] for file in files) / len(files) for name in ("kinema", "kinema, cached index")
        )
        rivals = ", ".join(sorted({file["ratios"]["rival"] for file in files}))
        wrong = ", ".join(sorted({name for file in files for name in file["wrong"]}))
        lines.append(f"| {codec} | {distance} | x {first:.2f} | x {cached:.2f} | {rivals} | {wrong} |")
    return "\n".join([about, "", *lines, ""])


def loader_table(result: Result) -> str:
    """Lays out one run of `loader.py`."""
    settings, rates = result["settings"], result["rates"]
    about = (
        f"{settings['num_files']} files, clips of {settings['num_frames']} frames, {settings['num_workers']} workers, "
        f"{settings['repeats']} rounds; {place(result)}."
    )
    lines = ["| clips a second | median | lowest | highest |", "|---|---|---|---|"]
    for name, numbers in rates.items():
        lines.append(f"| {name} | {statistics.median(numbers):.1f} | {min(numbers):.1f} | {max(numbers):.1f} |")
    lines.append(f"| loader / decoders | x {result['ratio']:.2f} | | |")
    return "\n".join([about, "", *lines, ""])


def loop_overhead_table(result: Result) -> str:
    """Lays out one run of `loop_overhead.py`."""
    settings = result["settings"]
    bar = ", with a progress bar" if settings["bar"] else ""
    about = (
        f"{settings['temporal']} on {settings['backbone']}, {settings['num_frames']} frames of {settings['size']} x "
        f"{settings['size']}, {settings['batch_size']} clips a batch, {settings['precision']}, {settings['epochs']} "
        f"rounds of {settings['steps']} steps{bar}; {place(result)}."
    )
    lines = ["| a step | bare loop | `kinema train` | beyond | ratio | quartiles |", "|---|---|---|---|---|---|"]
    for clock, name in (("wall", "time"), ("cpu", "processor time")):
        numbers = result["clocks"][clock]
        lines.append(
            f"| {name} | {numbers['bare_ms']:.1f} ms | {numbers['ours_ms']:.1f} ms | {numbers['beyond_ms']:.1f} ms | "
            f"x {numbers['ratio']:.3f} | {numbers['ratio_low']:.3f} to {numbers['ratio_high']:.3f} |"
        )
    return "\n".join([about, "", *lines, ""])


def place(result: Result) -> str:
    """Says where and with what a result was measured."""
    machine, versions = result["machine"], result["versions"]
    device = machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores"
    commit = (result["commit"] or "unknown")[:12]
    return f"{device}; Python {versions['python']}, torch {versions['torch']}; commit {commit}"


def frame_cache_table(result: Result) -> str:
    """Lays out one run of `frame_cache.py`."""
    settings = result["settings"]
    about = (
        f"{settings['num_files']} files, clips of {settings['num_frames']} frames of {settings['crop']} x "
        f"{settings['crop']}, {settings['num_workers']} workers, {settings['repeats']} rounds of {settings['epochs']} "
        f"epochs; {place(result)}."
    )
    lines = [
        "| cache | first epoch | a later one | over one without | MB |",
        "|---|---|---|---|---|",
    ]
    for kind, numbers in result["kinds"].items():
        lines.append(
            f"| {kind} | {numbers['first_seconds']:.2f} s | {numbers['later_seconds']:.2f} s | "
            f"x {numbers['first_ratio']:.2f}, then x {numbers['later_ratio']:.2f} | {numbers['megabytes']:.0f} |"
        )
    return "\n".join([about, "", *lines, ""])


def few_clips_table(result: Result) -> str:
    """Lays out one run of `few_clips.py`."""
    settings = result["settings"]
    short = f", cut to {settings['epochs']} epochs" if settings["epochs"] else ""
    lines = [
        "| from | held out: | epochs | minutes | training | held out | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [
        (
            run["start"],
            f"{run['held_out_clips'][0]} and its scene",
            f"{run['epochs']} | {run['seconds'] / 60:.1f}",
            run["training"],
            run,
        )
        for run in result["runs"]
    ]
    for start, split, length, training, run in rows:
        lines.append(f"| {start} | {split} | {length} | {share(training)} | {with_interval(run['held_out'])} |")
    for start, pooled in result["pooled"].items():
        lines.append(f"| {start} | all | | | | {with_interval(pooled)} |")
    chosen = [f"- {line}" for line in result["runs"][0]["chosen"]]
    about = f"`{settings['data']}`{short}; {place(result)}."
    return "\n".join([about, "", *lines, "", "What it chose and said, in the first run:", "", *chosen, ""])


def share(scores: Result) -> str:
    """Writes how many are right: `5 of 6`."""
    return f"{scores['right']} of {scores['clips']}"


def with_interval(scores: Result) -> str:
    """Writes how many are right, in percent, with the interval in a cell of its own."""
    low, high = scores["interval"]
    right = 100 * scores["right"] / scores["clips"]
    return f"{right:.1f} % ({share(scores)}) | {100 * low:.1f} to {100 * high:.1f}"


TABLES: dict[str, Callable[[Result], str]] = {
    "train_step": train_step_table,
    "import_time": import_time_table,
    "motion_layers": motion_layers_table,
    "million_rows": million_rows_table,
    "decode": decode_table,
    "loader": loader_table,
    "loop_overhead": loop_overhead_table,
    "frame_cache": frame_cache_table,
    "few_clips": few_clips_table,
}

if __name__ == "__main__":
    sys.exit(main())
