"""How fast a person's own videos are read: a decoder alone, the loader with its workers, and what to change."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from shlex import quote
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kinema.data.annotations import Sample
from kinema.data.transforms import make_clip
from kinema.data.video.opening import VideoError
from kinema.data.video.section import open_sample
from kinema.data.video.stream import open_stream
from kinema.data.views import grid_views, stacked_indices
from kinema.spec import ClipSpec
from kinema.wording import check


@dataclass(frozen=True, kw_only=True)
class LoaderBenchConfig:
    """What is measured."""

    num_frames: int = 8
    """Frames of a clip."""
    resize: int = 256
    """Short side, in pixels, that a frame is scaled to before the crop."""
    crop: int = 224
    """Side, in pixels, of the square that the network sees."""
    batch_size: int = 16
    """Clips of a batch."""
    num_videos: int = 200
    """Videos that are read for each number, spread over the dataset; at most all."""
    seed: int = 0
    """Of the choice of videos."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("batch_size", "num_videos"):
            check(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name), "16 and 200 are usual")

    @property
    def spec(self) -> ClipSpec:
        """How a video becomes a clip."""
        return ClipSpec(num_frames=self.num_frames, resize=self.resize, crop=self.crop)


@dataclass
class LoaderBench:
    """What was measured."""

    num_videos: int
    """Videos that were read for each number."""
    opening: float
    """Part of the time of one decoder that opening takes."""
    decoding: float
    """Part that decoding takes."""
    scaling: float
    """Part that cropping, scaling and normalizing takes."""
    decoder_rate: float
    """Clips a second of one process that decodes and hands nothing on."""
    loader_rates: dict[int, float]
    """Clips a second of the loader, by its number of workers, once it runs."""
    start_seconds: dict[int, float]
    """Seconds until the loader gives its first batch, by its number of workers."""
    short_side: int
    """Median short side of the frames, in pixels."""
    keyframe_distance: float | None
    """Median number of frames from one keyframe to the next; none for folders of frames."""
    errors: dict[str, str] = field(default_factory=dict)
    """Why videos could not be read, by name; they count in no rate."""
    advice: list[str] = field(default_factory=list)
    """What to change, most useful first."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the numbers for a machine."""
        return asdict(self)


class BenchClips(Dataset[Tensor | None]):
    """The centre clip [T, C, H, W] of each video; nothing in place of one that cannot be read."""

    def __init__(self, samples: Sequence[Sample], spec: ClipSpec) -> None:
        """Remembers where to look."""
        self.samples = samples
        self.spec = spec

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor | None:
        try:
            return timed_clip(self.samples[index], self.spec)[0]
        except VideoError:
            return None


def timed_clip(sample: Sample, spec: ClipSpec) -> tuple[Tensor, tuple[float, float, float], int]:
    """Reads the centre clip of a video.

    Args:
        sample: The video.
        spec: How it becomes a clip.

    Returns:
        The clip [T, C, H, W]; seconds of opening, decoding and scaling; the short side of its frames.

    Raises:
        VideoError: If it cannot be read.
    """
    view = grid_views(spec)[0]
    start = time.perf_counter()
    with open_sample(sample) as video:
        opened = time.perf_counter()
        frames = video.frames(stacked_indices(view, len(video), stack=spec.stack))
        decoded = time.perf_counter()
        clip = make_clip(frames, view, spec)
        scaled = time.perf_counter()
    return clip, (opened - start, decoded - opened, scaled - decoded), min(frames.shape[1:3])


def bench_loader(
    samples: Sequence[Sample], config: LoaderBenchConfig, *, workers: Sequence[int], root: str
) -> LoaderBench:
    """Measures how fast videos are read.

    Args:
        samples: The dataset.
        config: What is measured.
        workers: Numbers of workers to try.
        root: The dataset, as a person names it in a command.

    Returns:
        The numbers and the advice.

    Raises:
        ValueError: If no video can be read.
    """
    chosen = np.random.default_rng(config.seed).permutation(len(samples))[: config.num_videos]
    some = [samples[index] for index in sorted(chosen.tolist())]
    errors: dict[str, str] = {}
    readable: list[Sample] = []
    sides: list[int] = []
    times = np.zeros(3)
    for warm in (True, False):  # the first round fills the disk's cache, which later ones would profit from
        for sample in some if warm else readable:
            try:
                _, seconds, side = timed_clip(sample, config.spec)
            except VideoError as error:
                errors[sample.name] = str(error)
                continue
            if warm:
                readable.append(sample)
                sides.append(side)
            else:
                times += seconds
    if not readable:
        raise ValueError(f"root must hold videos that can be read, got none of {len(some)}; run kinema data check")
    rates = {count: measure_loader(readable, config, num_workers=count) for count in workers}
    opening, decoding, scaling = (times / times.sum()).tolist()
    distances = [distance for sample in readable[:32] if (distance := keyframe_distance(sample)) is not None]
    bench = LoaderBench(
        num_videos=len(readable),
        opening=opening,
        decoding=decoding,
        scaling=scaling,
        decoder_rate=len(readable) / float(times.sum()),
        loader_rates={count: rate for count, (rate, _) in rates.items()},
        start_seconds={count: seconds for count, (_, seconds) in rates.items()},
        short_side=round(statistics.median(sides)),
        keyframe_distance=statistics.median(distances) if distances else None,
        errors=errors,
    )
    bench.advice = list(_advice(bench, config, root))
    return bench


def measure_loader(samples: Sequence[Sample], config: LoaderBenchConfig, *, num_workers: int) -> tuple[float, float]:
    """Returns clips a second of the loader in its second epoch, and seconds to the first batch of its first one."""
    loader: DataLoader[Tensor | None] = DataLoader(
        BenchClips(samples, config.spec),
        batch_size=min(config.batch_size, max(1, len(samples) // max(1, num_workers))),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=_stack,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
    )
    begin = time.perf_counter()
    batches = iter(loader)
    next(batches)
    first = time.perf_counter() - begin
    for _ in batches:
        pass
    begin = time.perf_counter()
    count = sum(len(batch) for batch in loader)
    return count / (time.perf_counter() - begin), first


def _stack(clips: Sequence[Tensor | None]) -> Tensor:
    """Stacks clips, in a worker right into the memory that it shares."""
    return torch.utils.data.default_collate([clip for clip in clips if clip is not None])


def keyframe_distance(sample: Sample) -> float | None:
    """Returns frames from one keyframe to the next, in the mean over a file; none for a folder of frames.

    Args:
        sample: A video that can be read.
    """
    if sample.path.is_dir():
        return None
    container, stream = open_stream(sample.path)
    try:
        keys = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
    except av.FFmpegError:
        return None
    finally:
        container.close()
    return len(keys) / max(1, sum(keys))


def pack_command(root: str, short_side: int) -> str:
    """Returns the command that scales the frames of a dataset once and for all."""
    return f"kinema data pack {quote(root)} --out OUT --short_side {short_side}"


def _advice(bench: LoaderBench, config: LoaderBenchConfig, root: str) -> Iterator[str]:
    """Yields what to change."""
    best = max(bench.loader_rates, key=lambda count: bench.loader_rates[count])
    rate = bench.loader_rates[best]
    yield f"--data.num_workers {best}: {rate:.0f} clips a second, the most of those tried"
    distance, large = bench.keyframe_distance, bench.short_side > 1.25 * config.resize
    pack = pack_command(root, config.resize)
    if distance is not None and bench.decoding > 0.4 and (distance > 24 or large):
        why = f"a keyframe every {distance:.0f} frames" if distance > 24 else f"frames of {bench.short_side} pixels"
        yield f"{pack} --keyframe_distance 12: decoding takes {bench.decoding:.0%} of the time, with {why}"
    elif large:
        yield f"{pack}: frames of {bench.short_side} pixels are scaled to {config.resize} every time they are read"
    if distance is not None and bench.decoding + bench.opening > 0.6:
        yield (
            f"kinema data extract {root} --out OUT --short_side {config.resize}: frames in folders need no decoding of "
            "what lies between them, at several times the disk"
        )
    if bench.opening > 0.3:
        yield f"{pack} --to shards: opening takes {bench.opening:.0%} of the time; shards spare the disk its search"
    if best and rate < 0.8 * best * bench.decoder_rate:
        yield (
            f"{best} workers reach {rate / (best * bench.decoder_rate):.0%} of what as many decoders would: "
            "the cores are too few for them, or busy with other things"
        )
