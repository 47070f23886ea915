"""Repeated augmentation: every sample so many times an epoch, together in a batch, each time seen otherwise."""

from __future__ import annotations

import pytest

from kinema.data.samplers import EpochSampler, RepeatSampler


@pytest.mark.parametrize(("length", "repeats", "batch_size"), [(10, 2, 4), (7, 3, 6), (5, 4, 4), (3, 2, 8)])
def test_all_clips_of_a_sample_are_in_one_batch(length, repeats, batch_size):
    sampler = RepeatSampler(length, seed=1, repeats=repeats, batch_size=batch_size)
    sampler.set_epoch(2)
    keys = list(sampler)
    assert len(keys) == len(sampler) == length * repeats
    assert sorted(keys) == [(2, index, repeat) for index in range(length) for repeat in range(repeats)]
    batches = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    for batch in batches:
        indices = [index for _, index, _ in batch]
        assert all(indices.count(index) == repeats for index in indices)
        neighbours = list(zip(indices, indices[1:] + indices[:1], strict=True))
        assert len(set(indices)) == 1 or all(one != other for one, other in neighbours)


def test_samples_come_in_the_order_of_an_epoch_without_repeats():
    plain, repeated = EpochSampler(9, seed=4), RepeatSampler(9, seed=4, repeats=2, batch_size=6)
    for sampler in (plain, repeated):
        sampler.set_epoch(3)
    assert [key[:2] for key in repeated if key[2] == 0] == list(plain)


def test_a_batch_that_repeats_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="repeats must divide the batch of 8 clips, got 3"):
        RepeatSampler(9, seed=4, repeats=3, batch_size=8)
