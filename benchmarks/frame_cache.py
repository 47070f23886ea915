"""How long the loader takes for an epoch of training clips, with the cache of decoded frames and without.

Files are links to those of a folder, repeated until there are enough. The kinds of cache take turns, round after round;
a cache begins empty, and its first epoch, in which everything is decoded, is told apart from the later ones.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from loader import link_files
from record import write_result
from torch.utils.data import DataLoader

from kinema.data.annotations import Sample
from kinema.data.dataset import TrainingClips
from kinema.data.mirror import find_mirrors
from kinema.data.samplers import EpochBatches, EpochSampler
from kinema.data.video.cached import FrameCache
from kinema.data.views import Augmentation
from kinema.engine.recipe import ClipRecipe, DataRecipe, Recipe
from kinema.engine.training.frame_cache import frame_cache
from kinema.spec import ClipSpec

KINDS = ("none", "ram", "disk", "ram, short side")
CLASS = "video"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of real videos")
    parser.add_argument("--name", default="frame_cache", help="name of the results file")
    parser.add_argument("--num-files", type=int, default=60, help="files to read")
    parser.add_argument("--num-workers", type=int, default=2, help="workers of the loader")
    parser.add_argument("--num-frames", type=int, default=8, help="frames of a clip")
    parser.add_argument("--crop", type=int, default=112, help="side of a clip; the short side of small frames is twice")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of a round, at least 2")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    arguments = parser.parse_args()
    settings = {name: value for name, value in vars(arguments).items() if name not in ("clips", "name")}
    with tempfile.TemporaryDirectory() as folder:
        samples = link_files(arguments.clips, Path(folder), num_files=arguments.num_files)
        measured: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(arguments.repeats):
            for kind in KINDS:
                measured[kind].append(measure(samples, kind, arguments, folder=Path(folder) / "cache"))
                print(kind, {name: round(value, 3) for name, value in measured[kind][-1].items()})
    kinds = {kind: middle(rounds) for kind, rounds in measured.items()}
    for numbers in kinds.values():
        for name in ("first", "later"):
            numbers[f"{name}_ratio"] = numbers[f"{name}_seconds"] / kinds["none"]["later_seconds"]
    path = write_result(arguments.name, kind="frame_cache", settings=settings, gpu=None, kinds=kinds)
    print(f"written to {path}")


def measure(samples: Sequence[Sample], kind: str, arguments: argparse.Namespace, *, folder: Path) -> dict[str, float]:
    """Loads some epochs with an empty cache of a kind; returns seconds of the first and of a later one, its size."""
    place, _, small = kind.partition(", ")
    data = DataRecipe(
        cache=place,  # type: ignore[arg-type]
        cache_folder=str(folder) if place == "disk" else None,
        cache_short_side=2 * arguments.crop if small else None,
    )
    recipe = Recipe(out=str(folder / "run"), data=data, clip=ClipRecipe(resize=arguments.crop, crop=arguments.crop))
    with frame_cache(recipe) as cache:
        seconds = epoch_seconds(samples, cache, arguments)
        size = cache.num_bytes() if cache else 0
    shutil.rmtree(folder, ignore_errors=True)
    return {"first_seconds": seconds[0], "later_seconds": statistics.median(seconds[1:]), "megabytes": size / 1e6}


def epoch_seconds(samples: Sequence[Sample], cache: FrameCache | None, arguments: argparse.Namespace) -> list[float]:
    """Returns the seconds of each epoch of a loader whose workers have started."""
    crop = arguments.crop
    spec = ClipSpec(num_frames=arguments.num_frames, resize=crop * 8 // 7, crop=crop, class_names=(CLASS, "other"))
    mirrors = find_mirrors(spec.class_names)
    clips = TrainingClips(
        samples, spec=spec, augmentation=Augmentation(), mirrors=mirrors, seed=0, index_cache=False, cache=cache
    )
    sampler = EpochSampler(len(samples), seed=0)
    workers = arguments.num_workers
    loader = DataLoader(
        clips,
        batch_sampler=EpochBatches(sampler, batch_size=8),
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),
    )
    seconds = []
    for epoch in range(arguments.epochs):
        sampler.set_epoch(epoch)
        start = time.perf_counter()
        for _ in loader:
            pass
        seconds.append(time.perf_counter() - start)
    return seconds


def middle(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Takes the median of each number over the rounds."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


if __name__ == "__main__":
    main()
