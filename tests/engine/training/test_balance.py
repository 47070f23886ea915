"""Classes of few videos: how often they are drawn, and what they weigh in the loss."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.testing import assert_close

from kinema.data.samplers import BalancedSampler
from kinema.engine.multi_label import multi_label_loss
from kinema.engine.recipe import AugmentRecipe, ClipRecipe, DataRecipe, ModelRecipe, Recipe, TrainerRecipe
from kinema.engine.training.balance import balanced_sampler, describe_balance, inverse_frequency
from kinema.engine.training.optimizing.loss import training_loss
from kinema.engine.training.train import train

LABELS = [0] * 12 + [2] * 3 + [5] * 2


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("labels", [LABELS, [0, 1] * 4, [3], [0, 0, 0, 0, 1], list(range(7))])
def test_every_class_is_drawn_equally_often_in_an_epoch_of_the_same_length(labels):
    sampler = BalancedSampler(labels, seed=1)
    for epoch in range(4):
        keys = epoch_of(sampler, epoch)
        assert len(keys) == len(sampler) == len(labels)
        assert len(set(keys)) == len(keys)
        counts = Counter(labels[index] for _, index, _ in keys)
        assert counts.keys() == set(labels)
        assert max(counts.values()) - min(counts.values()) <= 1
        for label in set(labels):
            times = [Counter(index for _, index, _ in keys)[i] for i, one in enumerate(labels) if one == label]
            assert max(times) - min(times) <= 1


def test_a_sample_that_comes_again_is_another_repeat_of_it():
    keys = epoch_of(BalancedSampler(LABELS, seed=1), 3)
    for index in {index for _, index, _ in keys}:
        repeats = [repeat for _, one, repeat in keys if one == index]
        assert repeats == list(range(len(repeats)))
    assert max(repeat for *_, repeat in keys) == 2  # 5 or 6 draws of 2 videos


def test_seed_and_epoch_alone_decide_what_is_drawn():
    sampler, other = BalancedSampler(LABELS, seed=1), BalancedSampler(LABELS, seed=2)
    first = epoch_of(sampler, 0)
    assert epoch_of(sampler, 1)[0][0] == 1
    assert [key[1:] for key in epoch_of(sampler, 1)] != [key[1:] for key in first]
    assert epoch_of(sampler, 0) == first == epoch_of(BalancedSampler(LABELS, seed=1), 0) != epoch_of(other, 0)


def test_all_samples_of_a_large_class_are_seen_in_the_end():
    sampler = BalancedSampler(LABELS, seed=1)
    assert {index for epoch in range(12) for _, index, _ in epoch_of(sampler, epoch)} == set(range(len(LABELS)))


@pytest.mark.parametrize(
    ("counts", "weights"),
    [([1, 3], [2.0, 2 / 3]), ([5, 5, 5], [1.0, 1.0, 1.0]), ([2, 0, 6], [2.0, 1.0, 2 / 3]), ([10, 1], [0.55, 5.5])],
)
def test_classes_weigh_the_same_in_sum_and_their_videos_one_in_the_mean(counts, weights):
    found = inverse_frequency(np.array(counts))
    assert_close(found, torch.tensor(weights))
    assert_close((found * torch.tensor(counts)).sum() / sum(counts), torch.tensor(1.0))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_weighed_loss_is_that_of_a_slow_loop_for_labels_and_for_their_mixtures(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(5, 3, generator=generator), torch.tensor([0, 2, 1, 1, 0])
    weights, soft = torch.tensor([0.5, 3.0, 1.0]), torch.rand(5, 3, generator=generator).softmax(dim=1)
    for targets in (labels, soft):
        expected = 0.0
        for row in range(5):
            log_probabilities = logits[row].log_softmax(dim=0)
            for label in range(3):
                share = float(targets[row] == label) if targets is labels else targets[row, label].item()
                share = (1 - smoothing) * share + smoothing / 3
                expected -= weights[label].item() * share * log_probabilities[label].item() / 5
        found = training_loss(logits, targets, smoothing=smoothing, weights=weights)
        assert_close(found.item(), expected, rtol=1e-5, atol=1e-6)


def test_equal_weights_are_no_weights():
    logits, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 2, 1, 1])
    assert_close(training_loss(logits, labels, weights=torch.ones(3)), training_loss(logits, labels))


def test_what_is_shown_weighs_more_where_a_video_may_show_several_classes():
    logits, shown = torch.tensor([[0.3, -1.0]]), torch.tensor([[1.0, 0.0]])
    plain = -torch.nn.functional.logsigmoid(torch.tensor([0.3, 1.0]))
    assert_close(multi_label_loss(logits, shown), plain.mean())
    weighed = multi_label_loss(logits, shown, weights=torch.tensor([4.0, 7.0]))
    assert_close(weighed, (plain * torch.tensor([4.0, 1.0])).mean())


def test_what_is_made_up_for_is_said_with_the_range_of_the_weights():
    counts = np.array([40, 10, 0])
    assert describe_balance("none", counts) is None
    assert describe_balance("sampling", counts) == (
        "balance: classes have 10 to 40 training videos; each is drawn 25 times an epoch"
    )
    assert describe_balance("loss", counts) == (
        "balance: classes have 10 to 40 training videos; they weigh 2.5 to 0.625 in the loss"
    )


def test_videos_of_several_classes_are_not_drawn_more_often():
    with pytest.raises(ValueError, match=r"data\.balance must be none or loss .* got 'sampling'; .* weigh them"):
        balanced_sampler([], class_names=("a", "b"), multi_label=True, seed=0)


def test_repeats_and_balanced_draws_do_not_go_together():
    with pytest.raises(ValueError, match=r"augment\.repeats must be 1 where data\.balance is sampling, got 2"):
        Recipe(data=DataRecipe(balance="sampling"), augment=AugmentRecipe(repeats=2))


@pytest.mark.parametrize("balance", ["sampling", "loss"])
def test_a_run_on_unequal_classes_says_how_it_makes_up_for_them(motion_root, tmp_path, balance):
    paths = sorted((motion_root / "train").rglob("*.mp4"))
    few = [path for path in paths if path.parent != paths[0].parent or path == paths[0]]
    rows = [f"{path.relative_to(motion_root)},{path.parent.name}" for path in few]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
    console = Console(file=io.StringIO(), width=200)
    recipe = Recipe(
        out=str(tmp_path / "run"),
        data=DataRecipe(
            root=str(motion_root),
            annotations=str(tmp_path / "list.csv"),
            balance=balance,
            num_workers=0,
            val_fraction=0,
        ),
        clip=ClipRecipe(num_frames=2, resize=32, crop=32),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False),
        trainer=TrainerRecipe(epochs=1, batch_size=8),
    )
    result = train(recipe, console=console)
    assert "balance: classes have 1 to 3 training videos" in console.file.getvalue()
    assert result.last.is_file()
