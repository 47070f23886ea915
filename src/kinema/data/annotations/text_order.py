"""The order of a million texts, found without making a million Python objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.columns import PADDING, Texts


def order_of(texts: Texts, places: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorts texts by their bytes; equal ones keep their order.

    Eight bytes after eight are compared, and from the second eight on only among texts that are equal so far.

    Args:
        texts: Texts without zero bytes.
        places: Which of them to sort [N].

    Returns:
        Indices into the places in sorted order [N], and for each place the rank of its text among the different texts
        [N].
    """
    words = np.ndarray(len(texts.block) - PADDING + 1, dtype=">u8", buffer=texts.block.data, strides=(1,))
    ends = texts.ends[places]
    starts = np.where(places > 0, texts.ends[places - 1], 0)
    order = np.arange(len(places))
    first = np.zeros(len(places), dtype=bool)  # whether the text at a position of the order differs from the one before
    first[:1] = True
    open_ = np.arange(len(places))  # positions of the order among which ties are left
    tie = np.zeros(len(places), dtype=np.int64)  # which tie each belongs to
    offset = 0
    while len(open_):
        rows = order[open_]
        begin = np.minimum(starts[rows] + offset, ends[rows])
        lacking = 8 * np.maximum(begin + PADDING - ends[rows], 0).astype(np.uint64)  # bits beyond its end
        word = words[begin].astype(np.uint64) >> lacking << lacking
        sorting = np.lexsort((word, tie))
        rows, word = rows[sorting], word[sorting]
        order[open_] = rows
        differs = np.ones(len(open_), dtype=bool)
        differs[1:] = (word[1:] != word[:-1]) | (tie[1:] != tie[:-1])
        first[open_[differs]] = True
        alone = differs & np.append(differs[1:], True)
        left = ~alone & (word & np.uint64(0xFF) != 0)  # a text that ended has a zero there, like its equals
        open_, tie = open_[left], np.cumsum(differs)[left]
        offset += PADDING
    ranks = np.empty(len(places), dtype=np.int64)
    ranks[order] = np.cumsum(first) - 1
    return order, ranks
