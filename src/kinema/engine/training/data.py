"""The videos of a run: read, split, named, and loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from kinema.data.annotations import Sample, describe_format
from kinema.data.dataset import TrainingClips, TrainingItem, measure_timing
from kinema.data.mirror import Mirrors, find_mirrors
from kinema.data.pixels import PixelAugmentation
from kinema.data.samplers import EpochBatches, EpochSampler, RepeatSampler
from kinema.data.split.samples import split_samples
from kinema.data.video.cached import FrameCache
from kinema.data.views import Augmentation, grid_views
from kinema.engine.fingerprint import fingerprint
from kinema.engine.machine import num_cores
from kinema.engine.processes.ranks import num_local_ranks, num_ranks, rank
from kinema.engine.read_data import read_place, read_place_quarantine
from kinema.engine.recipe import AugmentRecipe, Recipe
from kinema.engine.training.balance import balanced_sampler, count_classes
from kinema.engine.training.choosing.epochs import batch_size_of
from kinema.engine.training.run_folder import UNREADABLE
from kinema.engine.training.unreadable import CollateReadable, ReadableClips, UnreadableVideos
from kinema.engine.view_loader import evaluation_loader
from kinema.spec import ClipSpec

MAX_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The videos of a run."""

    train: Sequence[Sample]
    val: Sequence[Sample]
    class_names: tuple[str, ...]
    mirrors: Mirrors
    fingerprint: dict[str, str | int | None]
    multi_label: bool
    """Whether a video may show several classes."""
    format: str
    """Format of the annotations, in words."""
    notes: tuple[str, ...]
    """What a person must know of them."""
    unreadable: UnreadableVideos
    """Counts the training videos that cannot be read."""
    cache: FrameCache | None = None
    """Where decoded frames are kept for later epochs."""

    @property
    def hash(self) -> str:
        """Hash of all videos, and of what is left out of them."""
        return f"{self.fingerprint['data']}{self.fingerprint.get('quarantine', '')}"

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """Training videos of each class [K]."""
        return count_classes(self.train, class_names=self.class_names, multi_label=self.multi_label)


def read_data(recipe: Recipe) -> TrainingData:
    """Reads and splits the videos of a recipe.

    Raises:
        ValueError: If there is nothing to train on, or nothing to hold out where the recipe asks for it.
    """
    if not recipe.data.root:
        raise ValueError("data.root must name the folder of the videos, got none; add --data.root FOLDER")
    annotations = read_place(recipe.data)
    samples, class_names = annotations.samples, annotations.class_names
    train_samples, val_samples = split_recipe_samples(samples, recipe)
    notes, origin = annotations.notes, fingerprint(samples, seed=recipe.seed)
    if (quarantine := read_place_quarantine(recipe.data)) is not None:
        train_samples, val_samples = quarantine.keep(train_samples), quarantine.keep(val_samples)
        notes, origin["quarantine"] = (*notes, quarantine.describe(samples)), quarantine.hash
    if not train_samples or len(class_names) < 2:
        raise ValueError(
            f"data.root must hold training videos of at least two classes, got {len(train_samples)} videos of "
            f"{len(class_names)} classes in {recipe.data.root}; put each class into a folder of its own"
        )
    if not val_samples and recipe.data.val_fraction:
        raise ValueError(
            f"data.val_fraction must leave something to hold out, got {recipe.data.val_fraction} of "
            f"{len(train_samples)} videos whose groups cannot be divided; name smaller groups with "
            "--data.group_pattern, or hold nothing out with --data.val_fraction 0"
        )
    return TrainingData(
        train=train_samples,
        val=val_samples,
        class_names=class_names,
        mirrors=find_mirrors(class_names, overrides=recipe.data.mirrors),
        fingerprint=origin,
        multi_label=annotations.multi_label,
        format=describe_format(annotations.format, annotations.files),
        notes=notes,
        unreadable=UnreadableVideos(
            train_samples,
            root=recipe.data.root,
            max_share=recipe.data.max_unreadable,
            file=Path(recipe.out).absolute() / UNREADABLE,
        ),
    )


def split_recipe_samples(samples: Sequence[Sample], recipe: Recipe) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Returns training and held-out samples, by the data's own split or else by the recipe's."""
    return split_samples(
        samples,
        val_fraction=recipe.data.val_fraction,
        seed=recipe.seed,
        group_pattern=recipe.data.group_pattern,
    )


def training_spec(spec: ClipSpec, recipe: Recipe, data: TrainingData) -> ClipSpec:
    """Returns the spec of a network with what a recipe says of clips, the names of the classes, and measured times.

    Raises:
        VideoError: If one of the videos that are measured cannot be read.
    """
    clip = recipe.clip
    spec = replace(
        spec,
        sampling=clip.sampling,
        stride=clip.stride,
        stride_seconds=clip.stride_seconds,
        resize=clip.resize,
        crop=clip.crop,
        class_names=data.class_names,
        multi_label=data.multi_label,
    )
    span, spacing = measure_timing(data.train, spec=spec, seed=recipe.seed)
    return replace(spec, span_seconds=span, spacing_seconds=spacing)


def training_loader(recipe: Recipe, data: TrainingData, *, spec: ClipSpec) -> DataLoader[TrainingItem]:
    """Returns the loader of training clips; what it yields depends on the recipe and the epoch alone."""
    clips = TrainingClips(
        data.train,
        spec=spec,
        augmentation=Augmentation(**_fields_of(Augmentation, recipe.augment)),
        mirrors=data.mirrors,
        seed=recipe.seed,
        pixels=PixelAugmentation(**_fields_of(PixelAugmentation, recipe.augment)),
        index_cache=recipe.data.index_cache,
        cache=data.cache,
    )
    workers = choose_workers(recipe.data.num_workers, num_videos=len(data.train))
    return DataLoader(
        ReadableClips(clips),
        batch_sampler=EpochBatches(
            _training_sampler(recipe, data),
            batch_size=batch_size_of(recipe.trainer),
            rank=rank(),
            num_ranks=num_ranks(),
        ),
        collate_fn=CollateReadable(),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
    )


def _training_sampler(recipe: Recipe, data: TrainingData) -> EpochSampler:
    """Returns the order of the training clips; several of each video where the recipe repeats them."""
    if recipe.data.balance == "sampling":
        names, multi_label = data.class_names, data.multi_label
        return balanced_sampler(data.train, class_names=names, multi_label=multi_label, seed=recipe.seed)
    if recipe.augment.repeats == 1:
        return EpochSampler(len(data.train), seed=recipe.seed)
    repeats, batch_size = recipe.augment.repeats, batch_size_of(recipe.trainer) * num_ranks()
    return RepeatSampler(len(data.train), seed=recipe.seed, repeats=repeats, batch_size=batch_size)


def _fields_of(cls: type, augment: AugmentRecipe) -> dict[str, Any]:
    """Returns what a recipe says of the fields of another dataclass, lists as tuples."""
    values = {field.name: getattr(augment, field.name) for field in fields(cls)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def validation_loader(recipe: Recipe, data: TrainingData, *, spec: ClipSpec) -> DataLoader[Any]:
    """Returns the loader of what validation looks at: the centre view of each held-out video."""
    workers = choose_workers(recipe.data.num_workers, num_videos=len(data.val))
    return evaluation_loader(
        data.val,
        spec=spec,
        views=grid_views(spec),
        batch_size=batch_size_of(recipe.trainer),
        num_workers=workers,
        persistent=True,
        index_cache=recipe.data.index_cache,
        cache=data.cache and data.cache.for_evaluation(),
        together=True,
    )


def choose_workers(num_workers: int | None, *, num_videos: int) -> int:
    """Returns how many processes decode: as given, or one for each core that this process may use.

    Where several processes of a run are on this machine, they share its cores.
    """
    if num_workers is not None:
        return num_workers
    return min(max(1, num_cores() // num_local_ranks()), MAX_WORKERS, num_videos)
