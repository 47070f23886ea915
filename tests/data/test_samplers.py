"""The order of an epoch: its batches, the part of them that a process sees, and repeated augmentation."""

from __future__ import annotations

import pytest

from kinema.data.samplers import EpochBatches, EpochSampler, RepeatSampler


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


@pytest.mark.parametrize(
    ("length", "batch_size", "num_ranks"), [(12, 2, 2), (13, 2, 2), (15, 2, 2), (1, 4, 3), (9, 1, 4)]
)
def test_processes_together_see_the_batches_of_one(length, batch_size, num_ranks):
    keys = list(EpochSampler(length, seed=5))
    step = batch_size * num_ranks
    whole = [keys[start : start + step] for start in range(0, length, step)]
    parts = [
        EpochBatches(EpochSampler(length, seed=5), batch_size=batch_size, rank=rank, num_ranks=num_ranks)
        for rank in range(num_ranks)
    ]
    assert {len(part) for part in parts} == {len(whole)}
    together = [list(batches) for batches in zip(*parts, strict=True)]
    assert [sorted(key for batch in batches for key in batch) for batches in together] == [
        sorted(batch) for batch in whole
    ]
    for batches in together:
        sizes = [len(batch) for batch in batches]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= batch_size


@pytest.mark.parametrize("repeats", [1, 2])
def test_batches_that_a_resumed_run_has_seen_are_left_out_of_their_epoch_alone(repeats):
    sampler = RepeatSampler(7, seed=0, repeats=repeats, batch_size=2)
    batches = EpochBatches(sampler, batch_size=2)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        epochs.append(list(batches))
    batches.start = (1, 3)
    for epoch in (1, 1, 0, 2):  # a loader with workers begins the epoch twice
        sampler.set_epoch(epoch)
        assert list(batches) == epochs[epoch][3 if epoch == 1 else 0 :]
        assert len(batches) == len(epochs[epoch])


def test_a_process_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"rank must lie in \[0, 2\), got 2; ranks count from 0"):
        EpochBatches(EpochSampler(7, seed=0), batch_size=2, rank=2, num_ranks=2)
