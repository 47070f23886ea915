"""A loader of a few workers over many files, against what as many bare decoders reach in the same time.

The files are links to those of a folder, repeated until there are enough. Both do the same work on each: open, decode
the frames of a clip, crop, scale and normalize; the loader also stacks clips and hands batches to its process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from record import write_result

from kinema.data.annotations import Sample
from kinema.data.video.opening import VideoError, is_video, open_video
from kinema.engine.loader_bench import LoaderBenchConfig, measure_loader, timed_clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of real videos")
    parser.add_argument("--name", default="loader", help="name of the results file")
    parser.add_argument("--num-files", type=int, default=200, help="files to read")
    parser.add_argument("--num-workers", type=int, default=2, help="workers, and bare decoders")
    parser.add_argument("--num-frames", type=int, default=8, help="frames of a clip")
    parser.add_argument("--batch-size", type=int, default=16, help="clips of a batch")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, in which the two take turns")
    arguments = parser.parse_args()
    config = LoaderBenchConfig(num_frames=arguments.num_frames, batch_size=arguments.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        samples = link_files(arguments.clips, Path(folder), num_files=arguments.num_files)
        rates: dict[str, list[float]] = {"decoders": [], "loader": []}
        for repeat in range(-1, arguments.repeats):
            decoders = measure_decoders(samples, config, num_workers=arguments.num_workers)
            loader, _ = measure_loader(samples, config, num_workers=arguments.num_workers)
            if repeat >= 0:
                rates["decoders"].append(decoders)
                rates["loader"].append(loader)
                print(f"decoders {decoders:.1f}, loader {loader:.1f} clips a second: {loader / decoders:.3f}")
    ratio = statistics.median(ours / bare for ours, bare in zip(rates["loader"], rates["decoders"], strict=True))
    settings = {name: value for name, value in vars(arguments).items() if name not in ("clips", "name")}
    path = write_result(arguments.name, kind="loader", settings=settings, gpu=None, rates=rates, ratio=ratio)
    print(f"the loader reaches {ratio:.1%} of what the decoders do, in the median; written to {path}")


def link_files(clips: Path, folder: Path, *, num_files: int) -> list[Sample]:
    """Links video files into a folder, again and again until there are enough."""
    readable = []
    for path in sorted(clips.rglob("*")):
        if path.is_file() and is_video(path):
            try:
                open_video(path).close()
            except VideoError as error:
                print(f"left out: {error}")
            else:
                readable.append(path)
    samples = []
    for number in range(num_files):
        original = readable[number % len(readable)]
        link = folder / f"{number:05d}{original.suffix}"
        link.symlink_to(original.resolve())
        samples.append(Sample(path=link, class_name="video"))
    return samples


def measure_decoders(samples: Sequence[Sample], config: LoaderBenchConfig, *, num_workers: int) -> float:
    """Returns clips a second of processes that share the files and hand nothing on."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(num_workers + 1)
    # what the loader's workers do: each takes every so many-th batch
    size = config.batch_size
    batches = [samples[start : start + size] for start in range(0, len(samples), size)]
    processes = [
        context.Process(
            target=decode, args=([s for batch in batches[rank::num_workers] for s in batch], config, barrier)
        )
        for rank in range(num_workers)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    begin = time.perf_counter()
    for process in processes:
        process.join()
    return len(samples) / (time.perf_counter() - begin)


def decode(samples: Sequence[Sample], config: LoaderBenchConfig, barrier: Barrier) -> None:
    """Reads clips and drops them."""
    torch.set_num_threads(1)
    barrier.wait()
    for sample in samples:
        timed_clip(sample, config.spec)


if __name__ == "__main__":
    main()
