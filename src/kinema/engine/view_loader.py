"""Loads the views of videos that are scored; one that cannot be read does not stop the others.

Shapes: V views, T frames, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kinema.data.annotations import Sample
from kinema.data.dataset import load_views
from kinema.data.samplers import EvaluationBatches
from kinema.data.video.cached import FrameCache, open_kept
from kinema.data.video.opening import VideoError
from kinema.data.views import View
from kinema.engine.processes.ranks import num_ranks, rank
from kinema.spec import ClipSpec

Views = Sequence[View] | Callable[[int], Sequence[View]]
"""The views of every video, or a function from its index to them."""


class ViewBatch(TypedDict):
    """The readable ones of a few videos, and why the others are not."""

    clips: Tensor
    indices: list[int]
    errors: dict[int, str]


class EvaluationClips(Dataset[tuple[int, Tensor | str]]):
    """Index and all views [V, T, C, H, W] of each video; in place of the views of an unreadable one, the reason."""

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        spec: ClipSpec,
        views: Views,
        index_cache: bool = False,
        cache: FrameCache | None = None,
    ) -> None:
        """Remembers where to look; nothing is opened yet."""
        self.samples = samples
        self.spec = spec
        self.views = views
        self.index_cache = index_cache
        self.cache = cache

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        views = self.views(index) if callable(self.views) else self.views
        try:
            sample, modality = self.samples[index], self.spec.modality
            with open_kept(sample, modality=modality, index_cache=self.index_cache, cache=self.cache) as video:
                return index, load_views(video, views, self.spec)
        except VideoError as error:
            return index, str(error)


def evaluation_loader(
    samples: Sequence[Sample],
    *,
    spec: ClipSpec,
    views: Views,
    batch_size: int,
    num_workers: int,
    persistent: bool = False,
    index_cache: bool = False,
    cache: FrameCache | None = None,
    together: bool = False,
) -> DataLoader[tuple[int, Tensor | str]]:
    """Returns a loader of view batches, in the order of the samples; persistent workers suit one that is used often.

    Where the processes of a run evaluate together, each has its part of the batches.
    """
    part = {"rank": rank(), "num_ranks": num_ranks()} if together else {}
    return DataLoader(
        EvaluationClips(samples, spec=spec, views=views, index_cache=index_cache, cache=cache),
        batch_sampler=EvaluationBatches(len(samples), batch_size=batch_size, **part),
        num_workers=num_workers,
        persistent_workers=persistent and num_workers > 0,
        collate_fn=_collate_views,
        generator=torch.Generator(),
    )


def _collate_views(items: Sequence[tuple[int, Tensor | str]]) -> ViewBatch:
    """Stacks the readable videos of a batch and keeps the reasons of the others."""
    clips = [clip for _, clip in items if isinstance(clip, Tensor)]
    return {
        "clips": torch.stack(clips) if clips else torch.empty(0),
        "indices": [index for index, clip in items if isinstance(clip, Tensor)],
        "errors": {index: reason for index, reason in items if isinstance(reason, str)},
    }
