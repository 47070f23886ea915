"""Eight frames by segments out of a 10 s file, decoded and resized on one core: kinema beside other readers.

The two files given are re-encoded at 320x240 in each codec and keyframe distance. The contenders take turns; one that
returns another frame than decoding in sequence is named, and its time does not count. The ratio is kinema's time over
that of the fastest other contender that was right.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from decode_contenders import NUM_SAMPLED, Read, contenders, indices
from decode_files import CODECS, NUM_FRAMES, encode, read_source
from numpy.typing import NDArray
from record import summary, write_result
from torchvision.transforms.v2 import functional as F

CLOCKS = {"processor": time.process_time, "wall": time.perf_counter}
OURS = ("kinema", "kinema, cached index")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, help="real clips to re-encode")
    parser.add_argument("--name", default="decode", help="name of the results file")
    parser.add_argument("--codecs", nargs="+", default=list(CODECS), choices=list(CODECS), help="what to measure")
    parser.add_argument("--distances", nargs="+", type=int, default=[12, 48, 250], help="frames between keyframes")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one to warm up")
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="processor",
        help="time of the one core that is used, or time on the wall, for a machine that does nothing else",
    )
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    readers, absent = contenders(arguments.sources[0])
    for name, reason in absent.items():
        print(f"{name} is left out: {reason}")
    files: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KINEMA_CACHE"] = str(Path(folder) / "cache")
        for source in arguments.sources:
            frames = read_source(source)
            for codec in arguments.codecs:
                for distance in arguments.distances:
                    path = Path(folder) / f"{source.stem}_{distance}.{CODECS[codec].extension}"
                    encode(frames, path, CODECS[codec], distance=distance)
                    os.utime(path, (0, 0))
                    times, wrong = measure(path, readers, repeats=arguments.repeats, clock=CLOCKS[arguments.clock])
                    file = {"source": source.name, "codec": codec, "distance": distance, "times": times, "wrong": wrong}
                    files.append({**file, "ratios": ratios(times, wrong)})
                    print(line(files[-1]), flush=True)
    settings = {
        "repeats": arguments.repeats,
        "clock": arguments.clock,
        "num_frames": NUM_FRAMES,
        "num_sampled": NUM_SAMPLED,
        "absent": absent,
    }
    settings["versions"] = {name: reader.version for name, reader in readers.items()}
    path = write_result(arguments.name, kind="decode", settings=settings, gpu=None, files=files)
    print(f"written to {path}; `python benchmarks/table.py` puts it into the tables")


def measure(
    path: Path, readers: dict[str, Read], *, repeats: int, clock: Callable[[], float]
) -> tuple[dict[str, dict[str, float]], dict[str, list[int]]]:
    """Times every reader in turns; also returns which frames a reader got wrong."""
    truth = sequential(path)
    wrong = {name: misses(reader(path), truth) for name, reader in readers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for repeat in range(-1, repeats):
        for name, reader in readers.items():
            start = clock()
            F.resize(torch.as_tensor(reader(path)).permute(0, 3, 1, 2), [256], antialias=True)
            if repeat >= 0:
                seconds[name].append(clock() - start)
    return {name: summary(values) for name, values in seconds.items()}, {k: v for k, v in wrong.items() if v}


def sequential(path: Path) -> list[NDArray[np.uint8]]:
    """Decodes every frame from the start to the end."""
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


def misses(clip: NDArray[np.uint8], truth: list[NDArray[np.uint8]]) -> list[int]:
    """Returns which frames asked for look more like another; readers may differ by rounding, so none need be equal."""
    wrong = []
    for frame, index in zip(clip, indices(len(truth)), strict=True):
        near = range(max(index - 6, 0), min(index + 7, len(truth)))
        distances = {other: np.abs(frame.astype(int) - truth[other]).mean() for other in near}
        if distances[index] > min(distances.values()):
            wrong.append(index)
    return wrong


def ratios(times: dict[str, dict[str, float]], wrong: dict[str, list[int]]) -> dict[str, Any]:
    """Divides our times by those of the fastest rival that was right."""
    rivals = [name for name in times if name not in OURS and name not in wrong]
    rival = min(rivals, key=lambda name: times[name]["min_ms"])
    return {"rival": rival, **{name: times[name]["min_ms"] / times[rival]["min_ms"] for name in OURS}}


def line(file: dict[str, Any]) -> str:
    """Lays out one file's numbers."""
    times = "  ".join(
        f"{name} {numbers['min_ms']:.1f}{' (wrong frames)' if name in file['wrong'] else ''}"
        for name, numbers in file["times"].items()
    )
    found = file["ratios"]
    return (
        f"{file['source']:20s} {file['codec']:20s} {file['distance']:3d}  {times}  -> "
        f"x{found[OURS[0]]:.2f}, cached x{found[OURS[1]]:.2f} of {found['rival']}"
    )


if __name__ == "__main__":
    main()
