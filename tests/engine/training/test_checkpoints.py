"""Checkpoints: never half a file, nothing unpickled, and every random generator in them."""

from __future__ import annotations

import random
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.engine.training.checkpoints import AtomicCheckpointIO, EpochCheckpoints, RandomStates
from kinema.models.weights import write_atomically


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "deep" / "file.bin"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "last.ckpt"
    write_atomically(path, b"old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr("os.fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_that_cannot_be_saved_leaves_the_old_one(tmp_path):
    path = tmp_path / "last.ckpt"
    files = AtomicCheckpointIO()
    files.save_checkpoint({"weight": torch.arange(3)}, path)
    with pytest.raises(AttributeError, match="pickle"):
        files.save_checkpoint({"weight": torch.arange(4), "function": lambda: None}, path)
    assert files.load_checkpoint(path)["weight"].tolist() == [0, 1, 2]


def test_a_leftover_of_a_killed_write_is_overwritten(tmp_path):
    path = tmp_path / "last.ckpt"
    (tmp_path / ".last.ckpt.partial").write_bytes(b"half")
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    path, sprung = tmp_path / "evil.ckpt", tmp_path / "sprung"
    torch.save({"trap": Trap(sprung)}, path)
    with pytest.raises(ValueError, match=r"evil\.ckpt: .* \(not a checkpoint, or one with code in it\)"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not sprung.exists()


def test_other_people_may_read_what_was_written(tmp_path):
    write_atomically(tmp_path / "file", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def draws():
    return random.random(), np.random.random(), torch.rand(1).item(), random.gauss(0, 1), np.random.normal()


def test_random_states_come_back_through_a_file_when_the_next_epoch_begins(tmp_path):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    draws()
    files = AtomicCheckpointIO()
    files.save_checkpoint({"states": RandomStates().state_dict()}, tmp_path / "x.ckpt")
    expected = [draws(), draws()]
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    states = RandomStates()
    states.load_state_dict(files.load_checkpoint(tmp_path / "x.ckpt")["states"])
    draws()
    states.on_train_epoch_start(None, None)
    first = draws()
    states.on_train_epoch_start(None, None)
    assert [first, draws()] == expected


class FakeTrainer:
    """Counts the checkpoints of epochs with given scores."""

    def __init__(self, scores):
        self.scores = scores
        self.current_epoch = -1
        self.saved = []

    @property
    def callback_metrics(self):
        top1, loss = self.scores[self.current_epoch]
        return {"val_top1": torch.tensor(top1), "val_loss": torch.tensor(loss)} if top1 is not None else {}

    def save_checkpoint(self, path, weights_only):
        self.saved.append((self.current_epoch, path, weights_only))


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.5, 1.0), (0.75, 1.0), (0.5, 0.1)], [0, 1]),
        ([(0.5, 1.0), (0.5, 0.5), (0.5, 0.7)], [0, 1]),
        ([(0.5, 1.0), (0.5, 1.0)], [0]),
        ([(None, None), (None, None)], []),
    ],
)
def test_best_is_the_highest_accuracy_and_then_the_lowest_loss(tmp_path, scores, best):
    written = []
    callback = EpochCheckpoints(tmp_path / "last.ckpt", save_best=written.append)
    trainer = FakeTrainer(scores)
    for epoch in range(len(scores)):
        trainer.current_epoch = epoch
        callback.on_train_epoch_end(trainer, None)
    assert written == best
    assert callback.best_epoch == (best[-1] if best else None)
    assert trainer.saved == [(epoch, tmp_path / "last.ckpt", False) for epoch in range(len(scores))]


def test_a_resumed_run_remembers_its_best_epoch(tmp_path):
    first = EpochCheckpoints(tmp_path / "x", save_best=lambda epoch: None)
    trainer = FakeTrainer([(0.9, 1.0), (0.8, 1.0)])
    trainer.current_epoch = 0
    first.on_train_epoch_end(trainer, None)
    written = []
    second = EpochCheckpoints(tmp_path / "x", save_best=written.append)
    second.load_state_dict(first.state_dict())
    trainer.current_epoch = 1
    second.on_train_epoch_end(trainer, None)
    assert (written, second.best_epoch) == ([], 0)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half of one"])
def test_a_broken_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.ckpt: the checkpoint cannot be read .*--overwrite"):
        AtomicCheckpointIO().load_checkpoint(path)
