"""What many samples are, taken together; of a table, without making a sample of each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.columns import ENCODING, SPLITS
from kinema.data.annotations.sample import Sample
from kinema.data.annotations.table import SampleTable


def by_name(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Returns samples in the order of their names, as bytes of UTF-8; those of one name keep their order."""
    if isinstance(samples, SampleTable):
        return samples.by_name()
    return sorted(samples, key=lambda sample: sample.name.encode(*ENCODING))


def select(samples: Sequence[Sample], chosen: NDArray[np.bool_]) -> Sequence[Sample]:
    """Returns the samples where a mask [N] holds: of a table a table, else a list."""
    if isinstance(samples, SampleTable):
        return samples.select(chosen)
    return [samples[place] for place in np.flatnonzero(chosen).tolist()]


def names_of(samples: Sequence[Sample]) -> Iterator[str]:
    """Yields the name of each sample."""
    return samples.names() if isinstance(samples, SampleTable) else (sample.name for sample in samples)


def class_names_of(samples: Sequence[Sample]) -> set[str]:
    """Returns the classes that occur."""
    if isinstance(samples, SampleTable):
        numbers = np.unique(samples.all_label_numbers()[1])
        return {samples.classes[number] for number in numbers.tolist() if number >= 0}
    return {name for sample in samples for name in sample.class_names}


def split_mask(samples: Sequence[Sample], split: str | None) -> NDArray[np.bool_]:
    """Tells of each sample whether it is in a split of the data's own, or, for none, in no split [N]."""
    if isinstance(samples, SampleTable):
        return samples.split_numbers == SPLITS.index(split)
    return np.fromiter((sample.split == split for sample in samples), dtype=bool, count=len(samples))


def facts_of(samples: Sequence[Sample]) -> Iterator[tuple[object, ...]]:
    """Yields name, class, split, group and, where it has any, further classes of each sample."""
    if isinstance(samples, SampleTable):
        return samples.facts()
    return (
        (sample.name, sample.class_name, sample.split, sample.group, *([sample.also] if sample.also else []))
        for sample in samples
    )


def label_pairs(samples: Sequence[Sample]) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Lists every class of every sample.

    Returns:
        Places of the samples, in order [M]; numbers of the classes [M]; and the names that these count in, sorted. A
        sample without a class is one of the class without a name.
    """
    if isinstance(samples, SampleTable):
        places, numbers = samples.all_label_numbers()
        known = (*samples.classes, "")  # the number -1 is the last one
        names = sorted({known[number] for number in np.unique(numbers).tolist()})
        rank = {name: place for place, name in enumerate(names)}
        return places, np.array([rank.get(name, -1) for name in known])[numbers], names
    classes = [sample.class_names or ("",) for sample in samples]
    names = sorted({name for some in classes for name in some})
    rank = {name: place for place, name in enumerate(names)}
    counts = [len(some) for some in classes]
    labels = [rank[name] for some in classes for name in some]
    return np.repeat(np.arange(len(classes)), counts), np.array(labels, dtype=np.int64), names
