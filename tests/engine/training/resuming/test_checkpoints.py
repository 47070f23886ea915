"""Checkpoints: never half a file, nothing unpickled, and every random generator in them."""

from __future__ import annotations

import random
import stat
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from kinema.engine.training.resuming.checkpoints import AtomicCheckpointIO, Checkpoints
from kinema.engine.training.resuming.progress import EpochMeans, RankStates, set_random_states
from kinema.engine.training.resuming.stopping import Stop
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


def test_random_states_come_back_through_a_file_when_the_next_batch_begins(tmp_path):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    draws()
    files = AtomicCheckpointIO()
    files.save_checkpoint({"states": RankStates(EpochMeans()).state_dict()}, tmp_path / "x.ckpt")
    expected = [draws(), draws()]
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    states = RankStates(EpochMeans())
    states.load_state_dict(files.load_checkpoint(tmp_path / "x.ckpt")["states"])
    draws()
    kept = states.state_dict()
    states.on_train_batch_start(None, None, None, 0)
    first = draws()
    states.on_train_batch_start(None, None, None, 1)
    assert [first, draws()] == expected
    set_random_states(kept["ranks"][0]["random"])
    assert [draws(), draws()] == expected  # a checkpoint written before the next batch has them too


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half of one"])
def test_a_broken_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.ckpt: the checkpoint cannot be read .*--overwrite"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_lightning_keeps_that_sigterm_was_received_where_it_is_taken_back(monkeypatch):
    """The field is private: where it is renamed, a run that goes on in the same process would end at once."""
    monkeypatch.setattr(Stop, "listen", lambda self: None)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert trainer.received_sigterm is False
    trainer._signal_connector.received_sigterm = True
    assert trainer.received_sigterm is True
    Checkpoints(Path("last.ckpt"), every=None, stop=Stop()).on_train_start(trainer, L.LightningModule())
    assert trainer.received_sigterm is False
