"""The best epoch, and the patience that waits for a better one."""

from __future__ import annotations

import pytest
import torch

from kinema.engine.recipe import TrainerRecipe
from kinema.engine.training.resuming.best import BestEpoch, check_patience


class FakeTrainer:
    """Is in epochs with given scores."""

    def __init__(self, scores):
        self.scores = scores
        self.current_epoch = -1
        self.should_stop = False

    @property
    def callback_metrics(self):
        top1, loss = self.scores[self.current_epoch]
        return {"val_top1": torch.tensor(top1), "val_loss": torch.tensor(loss)} if top1 is not None else {}


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.5, 1.0), (0.75, 1.0), (0.5, 0.1)], [0, 1]),
        ([(0.5, 1.0), (0.5, 0.5), (0.5, 0.7)], [0, 1]),
        ([(0.5, 1.0), (0.5, 1.0)], [0]),
        ([(None, None), (None, None)], []),
    ],
)
def test_best_is_the_highest_accuracy_and_then_the_lowest_loss(scores, best):
    written = []
    callback = BestEpoch(save=written.append)
    trainer = FakeTrainer(scores)
    for epoch in range(len(scores)):
        trainer.current_epoch = epoch
        callback.on_train_epoch_end(trainer, None)
    assert written == best
    assert callback.best_epoch == (best[-1] if best else None)
    assert (callback.last_epoch, trainer.should_stop) == (len(scores) - 1, False)


def test_a_resumed_run_remembers_its_best_epoch():
    first = BestEpoch(save=lambda epoch: None)
    trainer = FakeTrainer([(0.9, 1.0), (0.8, 1.0)])
    trainer.current_epoch = 0
    first.on_train_epoch_end(trainer, None)
    written = []
    second = BestEpoch(save=written.append)
    second.load_state_dict(first.state_dict())
    trainer.current_epoch = 1
    second.on_train_epoch_end(trainer, None)
    assert (written, second.best_epoch) == ([], 0)


@pytest.mark.parametrize(
    ("patience", "scores", "stops_after"),
    [
        (1, [(0.5, 1.0), (0.5, 1.0)], 1),
        (2, [(0.5, 1.0), (0.5, 1.0), (0.5, 0.9), (0.4, 0.1), (0.5, 0.9)], 4),
        (2, [(0.5, 1.0), (0.6, 1.0), (0.7, 1.0)], None),
        (1, [(None, None), (None, None)], None),
    ],
)
def test_training_ends_when_no_epoch_was_better_for_as_long_as_patience_allows(patience, scores, stops_after):
    said = []
    callback = BestEpoch(save=lambda epoch: None, patience=patience, say=said.append)
    trainer = FakeTrainer(scores)
    stopped = []
    for epoch in range(len(scores)):
        trainer.current_epoch = epoch
        callback.on_train_epoch_end(trainer, None)
        stopped.append(trainer.should_stop)
    assert (stopped.index(True) if True in stopped else None) == stops_after
    assert len(said) == (stops_after is not None)


def test_a_resumed_run_whose_patience_was_over_ends_again():
    trainer = FakeTrainer([(0.75, 1.0), (0.5, 1.0)])
    first = BestEpoch(save=lambda epoch: None)
    for epoch in (0, 1):
        trainer.current_epoch = epoch
        first.on_train_epoch_end(trainer, None)
    said = []
    second = BestEpoch(save=lambda epoch: None, patience=1, say=said.append)
    second.load_state_dict(first.state_dict())
    assert not trainer.should_stop
    second.on_train_start(trainer, None)
    assert trainer.should_stop
    assert said == [
        "stopping after epoch 2: none was better on the held-out videos since epoch 1 (75.0%), for as long as "
        "trainer.patience 1 allows"
    ]


def test_patience_is_refused_where_nothing_is_held_out():
    check_patience(TrainerRecipe(patience=3), num_held_out=1)
    check_patience(TrainerRecipe(), num_held_out=0)
    with pytest.raises(
        ValueError, match=r"trainer\.patience must have held-out videos .* got 3 where none is held out"
    ):
        check_patience(TrainerRecipe(patience=3), num_held_out=0)
