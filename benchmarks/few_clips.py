"""What a person with a few clips gets: `kinema train --data.root X` with no other choice, on several splits by scene.

Each split holds out all clips of one scene, which a pattern of the file names tells: those scenes that have every class
and come nearest to a fifth of the clips. It is done from random weights and, where a file is given, from its weights.
The held-out clips of all splits are also pooled.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import write_result
from rich.console import Console

from kinema.data.annotations import Sample
from kinema.data.split.groups import find_groups
from kinema.engine.evaluate import Evaluation, wilson_interval
from kinema.engine.read_data import read_place
from kinema.engine.recipe import DataPlace, DataRecipe, ModelRecipe, Recipe
from kinema.engine.training.train import train

GIVEN = frozenset({"data.root", "data.annotations", "out"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder with a folder for each class")
    parser.add_argument("--name", default="few_clips", help="name of the results file")
    parser.add_argument("--group-pattern", required=True, help="what in the file names tells the scene")
    parser.add_argument("--init", type=Path, default=None, help="weights to start from, beside random ones")
    parser.add_argument("--num-splits", type=int, default=3, help="scenes that are held out, one after another")
    parser.add_argument("--epochs", type=int, default=None, help="to try the script; by default as kinema chooses")
    arguments = parser.parse_args()
    starts: dict[str, Path | None] = {"random weights": None}
    if arguments.init:
        starts["the given weights"] = arguments.init
    samples = read_place(DataPlace(root=str(arguments.clips))).samples
    runs = []
    for start, init in starts.items():
        for held_out in held_out_scenes(samples, arguments.group_pattern)[: arguments.num_splits]:
            runs.append({"start": start, **measure(arguments, samples, held_out=held_out, init=init)})
            print({name: value for name, value in runs[-1].items() if name != "chosen"}, flush=True)
    settings = {"data": arguments.clips.name, "num_splits": arguments.num_splits, "epochs": arguments.epochs}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    pooled = {start: pool([run for run in runs if run["start"] == start]) for start in starts}
    path = write_result(arguments.name, kind="few_clips", settings=settings, gpu=gpu, runs=runs, pooled=pooled)
    print(f"written to {path}")


def held_out_scenes(samples: Sequence[Sample], pattern: str) -> list[list[int]]:
    """Returns the clips of each scene that has every class; first those nearest to a fifth of all clips."""
    numbers = find_groups(samples, pattern).numbers
    scenes = [np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers)]
    classes = {sample.class_name for sample in samples}
    full = [scene for scene in scenes if {samples[index].class_name for index in scene} == classes]
    return sorted(full, key=lambda scene: abs(len(scene) - len(samples) / 5))


def measure(
    arguments: argparse.Namespace, samples: Sequence[Sample], *, held_out: list[int], init: Path | None
) -> dict[str, Any]:
    """Trains once; returns what was chosen, how long it took, and the scores."""
    with tempfile.TemporaryDirectory() as folder:
        parts = ["val" if index in held_out else "train" for index in range(len(samples))]
        rows = [f"{one.name},{one.class_name},{part}" for one, part in zip(samples, parts, strict=True)]
        table = Path(folder) / "split.csv"
        table.write_text("\n".join(["path,label,split", *rows, ""]), encoding="utf-8")
        data = DataRecipe(root=str(arguments.clips), annotations=str(table))
        recipe, given = Recipe(out=str(Path(folder) / "run"), data=data), set(GIVEN)
        if init is not None:
            recipe, given = replace(recipe, model=ModelRecipe(init=str(init))), given | {"model.init"}
        if arguments.epochs is not None:
            recipe = replace(recipe, trainer=replace(recipe.trainer, epochs=arguments.epochs))
        console = Console(record=True, width=200)
        start = time.perf_counter()
        result = train(recipe, given=given, console=console)
        seconds = time.perf_counter() - start
    said = console.export_text().splitlines()
    return {
        "chosen": [line.removeprefix("chosen: ") for line in said if line.startswith(("chosen: ", "epochs: "))],
        "held_out_clips": [Path(samples[index].name).stem for index in held_out],
        "epochs": result.recipe.trainer.epochs,
        "seconds": seconds,
        "training": scores(result.training),
        "held_out": scores(result.held_out) if result.held_out else None,
    }


def scores(evaluation: Evaluation) -> dict[str, Any]:
    """Returns what the table shows of an evaluation."""
    return {"right": evaluation.num_correct, "clips": evaluation.num_clips, "interval": list(evaluation.interval)}


def pool(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Adds the held-out clips of several splits up."""
    right, clips = (sum(run["held_out"][name] for run in runs) for name in ("right", "clips"))
    return {"right": right, "clips": clips, "interval": list(wilson_interval(right, clips))}


if __name__ == "__main__":
    main()
