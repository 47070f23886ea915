"""How long a list of a million rows takes to load and how much memory it holds, in this process and in its workers.

Linux only: it is the system that says how much memory a process has to itself.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from record import write_result

from kinema.data.motion.files import encode_clip
from kinema.data.split.samples import describe_split
from kinema.engine.fingerprint import hash_data
from kinema.engine.read_data import read_place
from kinema.engine.recipe import DataRecipe, Recipe
from kinema.engine.training.data import TrainingData, read_data, split_recipe_samples, training_loader
from kinema.spec import ClipSpec

NUM_CLASSES = 400
NUM_FILES = 1000
FEW_ROWS = 2 * NUM_CLASSES
BATCHES = 40
CONTEXTS = ("fork", "spawn")


def write_list(root: Path, *, num_rows: int) -> None:
    """Writes a CSV whose rows name as many files; a thousand are there, under a thousand names of their folder each."""
    videos = root / "videos"
    if not videos.is_dir():
        videos.mkdir(parents=True)
        frames = np.random.default_rng(0).integers(256, size=(8, 32, 32, 3), dtype=np.uint8)
        encode_clip(frames, videos / "0.mp4", fps=8)
        for number in range(NUM_FILES):
            (videos / f"R6llTwEh07w_{number:06}.mp4").hardlink_to(videos / "0.mp4")
        (root / "train").mkdir()
        for number in range(1000):
            (root / "train" / f"some_class_name_{number:03}").symlink_to(videos)
    order = np.random.default_rng(0).permutation(num_rows)
    with (root / f"{num_rows}.csv").open("w", encoding="utf-8") as file:
        file.write("path,label\n")
        for row in map(int, order):
            folder, number = row % 1000, row // 1000
            name = f"train/some_class_name_{folder:03}/R6llTwEh07w_{number:06}.mp4"
            file.write(f"{name},some class name {folder % NUM_CLASSES}\n")


def held_mb() -> float:
    """Returns the resident size of this process."""
    return _kilobytes("/proc/self/status", "VmRSS") / 1e3


def private_mb(pid: int) -> float:
    """Returns the memory that a process shares with no other, and that no file stands for."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", "Private_Dirty") / 1e3


def _kilobytes(path: str, name: str) -> int:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextmanager
def measured(numbers: dict[str, Any], name: str, *, before: float) -> Iterator[None]:
    """Notes seconds, memory at the peak and afterwards, beyond what the process had."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    peak = _kilobytes("/proc/self/status", "VmHWM") / 1e3
    numbers[name] = {"seconds": seconds, "peak_mb": peak - before, "held_mb": held_mb() - before}
    print(f"{name:28s} {seconds:6.2f} s, {peak - before:4.0f} MB at the peak, {held_mb() - before:4.0f} MB afterwards")


def measure_main(recipe: Recipe) -> dict[str, Any]:
    """Measures each step that the main process takes before training."""
    numbers: dict[str, Any] = {}
    before = held_mb()
    with measured(numbers, "read the list", before=before):
        samples = read_place(recipe.data).samples
    with measured(numbers, "split it", before=before):
        train, val = split_recipe_samples(samples, recipe)
    with measured(numbers, "describe the split", before=before):
        describe_split(train, val)
    with measured(numbers, "hash it", before=before):
        hash_data(samples)
    return numbers


def measure_workers(recipe: Recipe, data: TrainingData, context: str) -> dict[str, float]:
    """Measures how long the first batch takes, and the memory of a worker after some of them."""
    loader = training_loader(recipe, data, spec=ClipSpec(resize=32, crop=32, class_names=data.class_names))
    loader.multiprocessing_context = context
    start = time.perf_counter()
    batches: Any = iter(loader)
    next(batches)
    seconds = time.perf_counter() - start
    for _ in range(BATCHES):
        next(batches)
    private = [private_mb(worker.pid) for worker in batches._workers]
    batches._shutdown_workers()
    return {"first_batch_seconds": seconds, "private_mb": max(private)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--name", default="million_rows", help="name of the results file")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the list, at most a million")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), num_rows=arguments.rows)
    settings = {"rows": arguments.rows, "few_rows": FEW_ROWS, "workers": 2}
    path = write_result(arguments.name, kind="million_rows", settings=settings, gpu=None, **result)
    print(f"written to {path}; `python benchmarks/table.py` puts it into the tables")


def measure(root: Path, *, num_rows: int) -> dict[str, Any]:
    """Measures a long list, and the loaders of it and of a short one."""

    def recipe_of(rows: int) -> Recipe:
        write_list(root, num_rows=rows)
        return Recipe(data=DataRecipe(root=str(root), annotations=str(root / f"{rows}.csv"), num_workers=2))

    few, many = recipe_of(FEW_ROWS), recipe_of(num_rows)
    few_data = read_data(few)
    main_process = measure_main(many)
    many_data = read_data(many)
    workers = {}
    for context in CONTEXTS:
        short, long = measure_workers(few, few_data, context), measure_workers(many, many_data, context)
        workers[context] = {"few": short, "many": long}
        print(
            f"{context}: first batch after {long['first_batch_seconds']:.2f} s (of a short list "
            f"{short['first_batch_seconds']:.2f} s), a worker has {long['private_mb']:.0f} MB to itself (of a short "
            f"list {short['private_mb']:.0f} MB)"
        )
    return {"main": main_process, "workers": workers}


if __name__ == "__main__":
    main()
