"""In which order an epoch goes through the samples of a dataset.

Repeated augmentation: Hoffer et al. 2020, "Augment your batch", arXiv 1901.09335.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from kinema.wording import check


class EpochSampler(Sampler[tuple[int, ...]]):
    """Yields (epoch, index) over a dataset, in an order that (seed, epoch) alone decides."""

    def __init__(self, length: int, *, seed: int, shuffle: bool = True) -> None:
        """Begins at epoch 0.

        Args:
            length: Number of samples.
            seed: Seed of the run.
            shuffle: Whether each epoch has its own order; else the order is ascending.
        """
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the next iteration runs through."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        epoch = self.epoch
        order = (
            np.random.default_rng((self.seed, epoch)).permutation(self.length)
            if self.shuffle
            else np.arange(self.length)
        )
        for index in map(int, order):
            yield epoch, index


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


class BalancedSampler(EpochSampler):
    """Yields (epoch, index, repeat) of as many samples as there are, every class equally often.

    Of a class with more samples than its share of the epoch, other ones are left out in each epoch; one with fewer
    comes several times, no sample of it more than once more than another. Each time is a repeat, with views of its own.
    """

    def __init__(self, labels: Sequence[int], *, seed: int) -> None:
        """Begins at epoch 0.

        Args:
            labels: The class of each sample.
            seed: Seed of the run.
        """
        super().__init__(len(labels), seed=seed)
        of_class = np.asarray(labels)
        self.members = [np.flatnonzero(of_class == label) for label in np.unique(of_class)]

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        epoch, rng = self.epoch, np.random.default_rng((self.seed, self.epoch))
        share, more = divmod(self.length, len(self.members))
        with_more = set(rng.permutation(len(self.members))[:more].tolist())
        chosen: list[int] = []
        for place, members in enumerate(self.members):
            count = share + (place in with_more)
            rounds = [rng.permutation(members) for _ in range(math.ceil(count / len(members)))]
            chosen += np.concatenate([*rounds, members[:0]])[:count].tolist()
        times: Counter[int] = Counter()
        for index in rng.permutation(np.asarray(chosen, dtype=np.int64)).tolist():
            yield epoch, index, times[index]
            times[index] += 1


class EpochBatches(Sampler[list[tuple[int, ...]]]):
    """Yields the batches of an epoch, or of one process its part of them.

    All processes together see in each step the samples that a single one with as many times larger batches would see,
    and each sample once an epoch. All have the same number of batches; in the last one of an epoch their sizes may
    differ by one, and a process may have an empty one.
    """

    def __init__(self, sampler: EpochSampler, *, batch_size: int, rank: int = 0, num_ranks: int = 1) -> None:
        """Begins at the sampler's epoch, with its first batch.

        Args:
            sampler: The order of all samples.
            batch_size: Samples of a batch of one process.
            rank: Which process of several this is, from 0 on.
            num_ranks: How many there are.

        Raises:
            ValueError: If there is no such rank.
        """
        check(0 <= rank < num_ranks, "rank", f"lie in [0, {num_ranks})", rank, "ranks count from 0")
        self.sampler = sampler
        self.batch_size = batch_size
        self.rank = rank
        self.num_ranks = num_ranks
        self.start = (0, 0)
        """An epoch, and how many of its first batches are left out: those that a resumed run has seen."""

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / (self.batch_size * self.num_ranks))

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        epoch, start = self.start
        step = self.batch_size * self.num_ranks
        keys = itertools.islice(self.sampler, start * step if self.sampler.epoch == epoch else 0, None)
        while together := list(itertools.islice(keys, step)):
            yield together[self.rank :: self.num_ranks]


class EvaluationBatches(Sampler[list[int]]):
    """Yields batches of indices in ascending order, or to one process of several every so manieth of them.

    The batches are those of a single process, since what a network gives for a video may depend, in its last bit, on
    what stands beside it in the batch. All processes have the same number of batches; the last one may be empty.
    """

    def __init__(self, length: int, *, batch_size: int, rank: int = 0, num_ranks: int = 1) -> None:
        """Remembers which batches to yield.

        Args:
            length: Number of samples.
            batch_size: Samples of a batch.
            rank: Which process of several this is, from 0 on.
            num_ranks: How many there are.

        Raises:
            ValueError: If there is no such rank.
        """
        check(0 <= rank < num_ranks, "rank", f"lie in [0, {num_ranks})", rank, "ranks count from 0")
        self.length = length
        self.batch_size = batch_size
        self.rank = rank
        self.num_ranks = num_ranks

    def __len__(self) -> int:
        return math.ceil(self.length / (self.batch_size * self.num_ranks))

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(len(self)):
            start = (number * self.num_ranks + self.rank) * self.batch_size
            yield list(range(start, min(start + self.batch_size, self.length)))
