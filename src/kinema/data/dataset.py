"""Datasets: from samples to clips for the network, in training (drawn views) and evaluation (views on a grid).

Shapes: V views, T frames, C channels, H height, W width.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from kinema.data.annotations.sample import Sample
from kinema.data.annotations.table import SampleTable
from kinema.data.mirror import Mirrors
from kinema.data.pixels import PixelAugmentation, PixelChange, check_channels
from kinema.data.transforms import make_clip
from kinema.data.video.cached import FrameCache, open_kept
from kinema.data.video.opening import Video, VideoError
from kinema.data.video.section import open_sample
from kinema.data.views import Augmentation, View, draw_view, stacked_indices
from kinema.data.windows import make_window
from kinema.spec import ClipSpec
from kinema.wording import nearest

_OPENED_AT_ONCE = 4


class TrainingItem(TypedDict):
    """One training clip."""

    clip: Tensor
    label: int | Tensor
    index: int


class TrainingClips(Dataset[TrainingItem]):
    """Clips seen through drawn views; what is drawn depends on (seed, epoch, index) alone, not on who loads it."""

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        spec: ClipSpec,
        augmentation: Augmentation,
        mirrors: Mirrors,
        seed: int,
        pixels: PixelAugmentation | None = None,
        index_cache: bool = False,
        cache: FrameCache | None = None,
    ) -> None:
        """Looks the labels up.

        Args:
            samples: What to learn from.
            spec: How a video becomes a clip; its class names give the labels.
            augmentation: What views are drawn from.
            mirrors: Which label a mirrored clip has.
            seed: Seed of the run.
            pixels: What changes of pixels are drawn from; none by default.
            index_cache: Whether the index of each file is kept for the next time.
            cache: Where decoded frames are kept for later epochs.

        Raises:
            ValueError: If a sample's class is none of the spec's, the mirrors are of other classes, or the frames have
                no colours to change.
        """
        if mirrors.class_names != spec.class_names:
            raise ValueError(
                f"mirrors must be of the spec's classes, got {mirrors.class_names} and {spec.class_names}; "
                "find them from the spec's class names"
            )
        self.samples = samples
        self.spec = spec
        self.augmentation = augmentation
        self.mirrors = mirrors
        self.seed = seed
        self.index_cache = index_cache
        self.cache = cache
        self.pixels = pixels or PixelAugmentation()
        check_channels(self.pixels, len(spec.mean))
        self.labels = labels_of(samples, class_names=spec.class_names)
        self.label_sets = label_sets_of(samples, class_names=spec.class_names) if spec.multi_label else None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, ...]) -> TrainingItem:
        """Loads one clip.

        Args:
            key: Epoch, index of the sample and, where an epoch has several clips of it, which of them.

        Returns:
            The clip [T, C, H, W], its label (that of the mirrored class if the clip is mirrored; where a video may show
            several classes, 1 for each of them and 0 for the others [K]) and the index.

        Raises:
            VideoError: If the video cannot be read.
        """
        _, index, *_ = key
        view, labels = self.draw_set(*key)
        label = multi_hot([labels], num_classes=len(self.spec.class_names))[0] if self.spec.multi_label else labels[0]
        sample, modality = self.samples[index], self.spec.modality
        with open_kept(sample, modality=modality, index_cache=self.index_cache, cache=self.cache) as video:
            clip = load_views(video, [view], self.spec, change=self.draw_change(*key))[0]
        return {"clip": clip, "label": label, "index": index}

    def draw(self, epoch: int, index: int, repeat: int = 0) -> tuple[View, int]:
        """Draws the view of a sample in an epoch; returns it with the label of what it shows, the first of several."""
        view, labels = self.draw_set(epoch, index, repeat)
        return view, labels[0]

    def draw_set(self, epoch: int, index: int, repeat: int = 0) -> tuple[View, tuple[int, ...]]:
        """Draws the view of a sample in an epoch; returns it with all labels of what it shows."""
        rng = np.random.default_rng((self.seed, epoch, index, 2 * repeat))
        view = draw_view(self.spec, self.augmentation, rng)
        labels = (int(self.labels[index]),) if self.label_sets is None else self.label_sets[index]
        if not view.mirrored:
            return view, labels
        mirrored = tuple(other for label in labels if (other := self.mirrors.label(label)) is not None)
        if len(mirrored) < len(labels):
            return replace(view, mirrored=False), labels
        return view, mirrored

    def draw_change(self, epoch: int, index: int, repeat: int = 0) -> PixelChange | None:
        """Draws what happens to the pixels of a sample in an epoch, if anything does."""
        if not self.pixels.is_on:
            return None
        rng = np.random.default_rng((self.seed, epoch, index, 2 * repeat + 1))
        return PixelChange(augmentation=self.pixels, seed=int(rng.integers(2**63)), mean=self.spec.mean)


def load_views(
    video: Video, views: Sequence[View], spec: ClipSpec, *, change: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Reads a video through views; a frame that several of them need is decoded once.

    Args:
        video: An open video of the spec's modality.
        views: Where to look.
        spec: How frames become a clip.
        change: What is done in training to the frames that the network would see, uint8 [T*stack, C, H, W].

    Returns:
        The clips [V, T, C, H, W]; C is that of all frames of a stack.

    Raises:
        VideoError: If a frame cannot be read.
    """
    window = None if spec.sampling == "segments" else make_window(spec, fps=video.fps)
    stack, ahead = spec.num_read, spec.modality != "rgb"
    indices = [stacked_indices(view, len(video), stack=stack, ahead=ahead, window=window) for view in views]
    needed = sorted({index for clip in indices for index in clip})
    place = {index: row for row, index in enumerate(needed)}
    frames = video.frames(needed)
    rows = [[place[index] for index in clip] for clip in indices]
    clips = [make_clip(frames[row], view, spec, change=change) for row, view in zip(rows, views, strict=True)]
    return torch.stack(clips)


def labels_of(samples: Sequence[Sample], *, class_names: Sequence[str]) -> NDArray[np.int32]:
    """Looks up the label of each sample by its class name.

    Returns:
        The labels [N].

    Raises:
        ValueError: If a class is none of the names; with the nearest one.
    """
    known = {name: label for label, name in enumerate(class_names)}
    if isinstance(samples, SampleTable):
        of_number = np.array([known.get(name, -1) for name in (*samples.classes, "")], dtype=np.int32)
        labels = of_number[samples.label_numbers]  # the number -1 is the last one
    else:
        labels = np.array([known.get(sample.class_name, -1) for sample in samples], dtype=np.int32)
    if (labels < 0).any():
        sample = samples[int(np.argmax(labels < 0))]
        raise ValueError(
            f"class of {sample.name} must be one of the {len(class_names)} class names of the spec, "
            f"got {sample.class_name!r}; {nearest(sample.class_name, class_names)}"
        )
    return labels


def label_sets_of(samples: Sequence[Sample], *, class_names: Sequence[str]) -> list[tuple[int, ...]]:
    """Looks up all labels of each sample by the names of its classes.

    Raises:
        ValueError: If a class is none of the names; with the nearest one.
    """
    labels = {name: label for label, name in enumerate(class_names)}
    for sample in samples:
        for name in sample.class_names or ("",):
            if name not in labels:
                raise ValueError(
                    f"classes of {sample.name} must be of the {len(class_names)} class names of the spec, "
                    f"got {name!r}; {nearest(name, class_names)}"
                )
    return [tuple(labels[name] for name in sample.class_names) for sample in samples]


def multi_hot(label_sets: Sequence[Sequence[int]], *, num_classes: int) -> Tensor:
    """Returns, for each set of labels, 1 for each of them and 0 for the other classes [N, K]."""
    targets = torch.zeros(len(label_sets), num_classes)
    places = [(row, label) for row, labels in enumerate(label_sets) for label in labels]
    rows, columns = torch.tensor(places, dtype=torch.int64).reshape(-1, 2).T
    targets[rows, columns] = 1.0
    return targets


def measure_timing(samples: Sequence[Sample], *, spec: ClipSpec, limit: int = 24, seed: int = 0) -> tuple[float, float]:
    """Measures how long the clips are, so that long videos and streams can be run at the speed trained on.

    Nothing is decoded where a file's packets tell its length; a few files are opened at a time.

    Args:
        samples: Some videos.
        spec: How a clip spreads over a video.
        limit: How many of them are opened at most; which ones, the seed decides. Unreadable ones count for nothing.
        seed: Of that choice.

    Returns:
        Median of the seconds that a clip spans, which is all of the video or the window in it, and time between
        neighbouring frames.

    Raises:
        ValueError: If there is no sample.
        VideoError: If none of the opened videos can be read.
    """
    if not samples:
        raise ValueError("samples must be at least one to measure their timing, got none; check the data")
    chosen = np.random.default_rng(seed).permutation(len(samples))[:limit]
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        some = [samples[index] for index in sorted(chosen.tolist())]
        measured = list(pool.map(lambda sample: _clip_seconds(sample, spec=spec), some))
    seconds = [each for each in measured if isinstance(each, float)]
    if not seconds:
        raise next(each for each in measured if isinstance(each, VideoError))
    span = statistics.median(seconds)
    return span, span / spec.num_frames


def _clip_seconds(sample: Sample, *, spec: ClipSpec) -> float | VideoError:
    """Returns how long a clip of a video is, or why the video cannot be read."""
    try:
        with open_sample(sample, modality=spec.modality) as video:
            window = make_window(spec, fps=video.fps)
            return video.duration_seconds if window is None else window.span / video.fps
    except VideoError as error:
        return error
