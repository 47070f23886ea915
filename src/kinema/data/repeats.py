"""Repeated augmentation: several clips of a video in one batch, each with its own draw.

Hoffer et al. 2020, "Augment your batch", arXiv 1901.09335.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from kinema.data.dataset import EpochSampler
from kinema.wording import check


class RepeatSampler(EpochSampler):
    """Yields (epoch, index, repeat): every sample in every epoch, so many times, all of them in one batch.

    So Hoffer et al. do it, and mmaction2, with batches that grow; here a batch keeps its size and has fewer samples.
    timm instead shortens the epoch to as many clips as there are samples, so that it sees only a part of them. Within a
    batch all samples come once before the first comes again, so that neighbours, which MixUp and CutMix mix, are
    different samples wherever a batch holds two.
    """

    def __init__(self, length: int, *, seed: int, repeats: int, batch_size: int) -> None:
        """Begins at epoch 0.

        Args:
            length: Number of samples.
            seed: Seed of the run.
            repeats: Clips of each sample.
            batch_size: Clips of a batch, a multiple of the repeats.

        Raises:
            ValueError: If the repeats do not divide the batch.
        """
        divides = repeats >= 1 and batch_size % repeats == 0
        check(divides, "repeats", f"divide the batch of {batch_size} clips", repeats, "1 turns repeats off")
        super().__init__(length, seed=seed)
        self.repeats = repeats
        self.num_together = batch_size // repeats

    def __len__(self) -> int:
        return self.length * self.repeats

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        keys = super().__iter__()
        while together := list(itertools.islice(keys, self.num_together)):
            for repeat in range(self.repeats):
                yield from ((*key, repeat) for key in together)
