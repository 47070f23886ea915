"""Datasets: from samples to clips for the network, in training (drawn views) and evaluation (views on a grid).

Shapes: V views, T frames, C channels, H height, W width.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from kinema.data.annotations.sample import Sample
from kinema.data.mirror import Mirrors
from kinema.data.section import open_sample
from kinema.data.transforms import make_clip
from kinema.data.video import Video
from kinema.data.views import Augmentation, View, draw_view, stacked_indices
from kinema.spec import ClipSpec
from kinema.wording import check, nearest


class TrainingItem(TypedDict):
    """One training clip."""

    clip: Tensor
    label: int
    index: int


class TrainingClips(Dataset[TrainingItem]):
    """Clips seen through drawn views; what is drawn depends on (seed, epoch, index) alone, not on who loads it."""

    def __init__(
        self, samples: Sequence[Sample], *, spec: ClipSpec, augmentation: Augmentation, mirrors: Mirrors, seed: int
    ) -> None:
        """Looks the labels up.

        Args:
            samples: What to learn from.
            spec: How a video becomes a clip; its class names give the labels.
            augmentation: What views are drawn from.
            mirrors: Which label a mirrored clip has.
            seed: Seed of the run.

        Raises:
            ValueError: If a sample's class is none of the spec's, or the mirrors are of other classes.
        """
        if mirrors.class_names != spec.class_names:
            raise ValueError(
                f"mirrors must be of the spec's classes, got {mirrors.class_names} and {spec.class_names}; "
                "find them from the spec's class names"
            )
        self.samples = list(samples)
        self.spec = spec
        self.augmentation = augmentation
        self.mirrors = mirrors
        self.seed = seed
        self.labels = labels_of(samples, class_names=spec.class_names)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> TrainingItem:
        """Loads one clip.

        Args:
            key: Epoch and index of the sample.

        Returns:
            The clip [T, C, H, W], its label (that of the mirrored class if the clip is mirrored) and the index.

        Raises:
            VideoError: If the video cannot be read.
        """
        epoch, index = key
        view, label = self.draw(epoch, index)
        with open_sample(self.samples[index]) as video:
            clip = load_views(video, [view], self.spec)[0]
        return {"clip": clip, "label": label, "index": index}

    def draw(self, epoch: int, index: int) -> tuple[View, int]:
        """Draws the view of a sample in an epoch; returns it with the label of what it shows."""
        rng = np.random.default_rng((self.seed, epoch, index))
        view = draw_view(self.spec, self.augmentation, rng)
        label = self.labels[index]
        if not view.mirrored:
            return view, label
        mirrored_label = self.mirrors.label(label)
        if mirrored_label is None:
            return replace(view, mirrored=False), label
        return view, mirrored_label


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) over a dataset, in an order that (seed, epoch) alone decides."""

    def __init__(self, length: int, *, seed: int, shuffle: bool = True, rank: int = 0, num_ranks: int = 1) -> None:
        """Begins at epoch 0.

        All ranks together yield each sample once an epoch. Their numbers of samples may differ by one: where gradients
        are averaged over ranks in every step, either train under `torch.distributed.algorithms.join.Join`, or leave
        the last step of the epoch out on all of them.

        Args:
            length: Number of samples.
            seed: Seed of the run.
            shuffle: Whether each epoch has its own order; else the order is ascending.
            rank: Which process of several this is, from 0 on.
            num_ranks: How many there are; each takes every so many-th sample of the same order.

        Raises:
            ValueError: If there is no such rank.
        """
        check(0 <= rank < num_ranks, "rank", f"lie in [0, {num_ranks})", rank, "ranks count from 0")
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.num_ranks = num_ranks
        self.epoch = 0

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.num_ranks))

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the next iteration runs through."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        order = np.random.default_rng((self.seed, epoch)).permutation(self.length) if self.shuffle else None
        for index in (range(self.length) if order is None else order.tolist())[self.rank :: self.num_ranks]:
            yield epoch, index


def load_views(video: Video, views: Sequence[View], spec: ClipSpec) -> Tensor:
    """Reads a video through views; a frame that several of them need is decoded once.

    Args:
        video: An open video.
        views: Where to look.
        spec: How frames become a clip.

    Returns:
        The clips [V, T, C, H, W]; C is that of all frames of a stack.

    Raises:
        VideoError: If a frame cannot be read.
    """
    indices = [stacked_indices(view, len(video), stack=spec.stack) for view in views]
    needed = sorted({index for clip in indices for index in clip})
    place = {index: row for row, index in enumerate(needed)}
    frames = video.frames(needed)
    rows = [[place[index] for index in clip] for clip in indices]
    return torch.stack([make_clip(frames[row], view, spec) for row, view in zip(rows, views, strict=True)])


def labels_of(samples: Sequence[Sample], *, class_names: Sequence[str]) -> list[int]:
    """Looks up the label of each sample by its class name.

    Raises:
        ValueError: If a class is none of the names; with the nearest one.
    """
    labels = {name: label for label, name in enumerate(class_names)}
    for sample in samples:
        if sample.class_name not in labels:
            raise ValueError(
                f"class of {sample.name} must be one of the {len(class_names)} class names of the spec, "
                f"got {sample.class_name!r}; {nearest(sample.class_name, class_names)}"
            )
    return [labels[sample.class_name] for sample in samples]


def measure_timing(
    samples: Sequence[Sample], *, num_frames: int, limit: int = 64, seed: int = 0
) -> tuple[float, float]:
    """Measures how long the videos are, so that long videos and streams can be run at the speed trained on.

    Args:
        samples: Some videos.
        num_frames: T.
        limit: How many of them are opened at most; which ones, the seed decides.
        seed: Of that choice.

    Returns:
        Median length of a video in seconds, and time between neighbouring frames of a clip that spans it.

    Raises:
        ValueError: If there is no sample.
        VideoError: If a video cannot be read.
    """
    if not samples:
        raise ValueError("samples must be at least one to measure their timing, got none; check the data")
    chosen = np.random.default_rng(seed).permutation(len(samples))[:limit]
    seconds = []
    for index in sorted(chosen.tolist()):
        with open_sample(samples[index]) as video:
            seconds.append(video.duration_seconds)
    span = statistics.median(seconds)
    return span, span / num_frames
