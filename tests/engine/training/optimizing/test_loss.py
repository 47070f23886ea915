"""Mixing batches and the loss of soft targets."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from kinema.engine.recipe import AugmentRecipe
from kinema.engine.training.optimizing.loss import dominant_labels, mix, training_loss

LABELS = torch.tensor([0, 2, 1, 1])


def clips_of(num_clips=4, size=16):
    return torch.rand(num_clips, 3, 2, size, size, generator=torch.Generator().manual_seed(0))


def mixed(*, key=(0, 0, 0), clips=None, labels=LABELS, **augment):
    clips = clips_of() if clips is None else clips
    return mix(clips, labels, augment=AugmentRecipe(**augment), num_classes=3, key=key)


def test_nothing_is_mixed_by_default():
    clips, labels = mixed()
    assert torch.equal(clips, clips_of())
    assert labels is LABELS


def test_mixup_adds_the_neighbour_in_the_share_of_its_label():
    clips = clips_of()
    for batch in range(20):
        result, soft = mixed(mixup=0.8, key=(0, 0, batch))
        share = soft[0, 0].item()  # label 0 is the first clip's alone
        assert_close(result, share * clips + (1 - share) * clips.roll(1, 0))
        hard = F.one_hot(LABELS, 3).float()
        assert_close(soft, share * hard + (1 - share) * hard.roll(1, 0))
        assert type(result) is torch.Tensor


def test_cutmix_puts_the_same_box_into_all_frames_and_counts_its_area():
    clips = torch.arange(4.0)[:, None, None, None, None].expand(4, 3, 2, 16, 16).contiguous()
    cut = 0
    for batch in range(20):
        result, soft = mixed(cutmix=1.0, clips=clips, key=(0, 0, batch))
        foreign = result != clips
        assert torch.equal(result[foreign], clips.roll(1, 0)[foreign])
        assert torch.equal(foreign, foreign[:1, :1, :1].expand_as(foreign))
        assert soft[0, 0].item() == pytest.approx(1 - foreign.float().mean().item(), abs=1e-6)
        rows, columns = foreign[0, 0, 0].any(dim=1), foreign[0, 0, 0].any(dim=0)
        assert foreign[0, 0, 0].sum() == rows.sum() * columns.sum()
        cut += bool(foreign.any())
    assert cut > 10


@pytest.mark.parametrize("augment", [{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}])
def test_soft_targets_sum_to_one(augment):
    for batch in range(20):
        _, soft = mixed(key=(0, 0, batch), **augment)
        assert soft.shape == (4, 3)
        assert_close(soft.sum(dim=1), torch.ones(4))
        assert (soft >= 0).all()


def test_mixing_depends_on_its_key_alone_and_leaves_the_random_state():
    augment = {"mixup": 0.8, "cutmix": 1.0}
    torch.manual_seed(1)
    first = mixed(key=(3, 2, 1), **augment)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))
    torch.manual_seed(2)
    for one, other in zip(mixed(key=(3, 2, 1), **augment), first, strict=True):
        assert torch.equal(one, other)
    for key in ((4, 2, 1), (3, 3, 1), (3, 2, 2)):
        assert not torch.equal(mixed(key=key, **augment)[1], first[1])


def test_with_both_a_batch_has_one_of_them_and_the_chance_holds():
    clips = torch.arange(4.0)[:, None, None, None, None].expand(4, 3, 2, 16, 16).contiguous()
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    for batch in range(400):
        result, soft = mixed(mixup=1.0, cutmix=1.0, mix_chance=0.6, clips=clips, key=(0, 0, batch))
        whole = torch.equal(result, result.round())  # a box keeps whole numbers, a sum does not
        kinds["none" if soft is LABELS else "cutmix" if whole else "mixup"] += 1
    assert 120 < kinds["none"] < 200
    assert 80 < kinds["mixup"] < 160
    assert 80 < kinds["cutmix"] < 160


def test_soft_targets_are_mixed_like_labels():
    hard = F.one_hot(LABELS, 3)
    by_label, by_target = mixed(mixup=0.8), mixed(mixup=0.8, labels=hard)
    for one, other in zip(by_label, by_target, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_cross_entropy_with_labels_or_soft_targets(smoothing):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    soft = F.one_hot(LABELS, 3).float()
    spread = soft * (1 - smoothing) + smoothing / 3
    expected = -(spread * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert_close(training_loss(logits, LABELS, smoothing=smoothing), expected)
    assert_close(training_loss(logits, soft, smoothing=smoothing), expected)


def test_the_dominant_label_is_the_largest_part():
    assert dominant_labels(LABELS) is LABELS
    assert dominant_labels(torch.tensor([[0.3, 0.7, 0.0], [0.2, 0.2, 0.6]])).tolist() == [1, 2]
