"""Runs that are stopped and go on: equal, bit for bit, to one that was never stopped."""

from __future__ import annotations

import errno
import io
import os
import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from kinema.cli import main
from kinema.engine.training import run_folder
from kinema.engine.training.resuming.checkpoints import AtomicCheckpointIO
from kinema.engine.training.resuming.stopping import Terminated
from kinema.engine.training.task import VideoTask
from kinema.engine.training.train import train
from resuming import assert_same_run, hard_recipe


def quiet():
    return Console(file=io.StringIO(), width=200)


class Watch:
    """Notes what every training step is fed, and does something after a step, or after a batch of a validation."""

    def __init__(self, monkeypatch):
        self.fed = []
        self.validations = 0
        self.after_step = {}
        self.after_validation = {}
        step, validate = VideoTask.training_step, VideoTask.validation_step

        def training_step(task, batch, batch_idx):
            loss = step(task, batch, batch_idx)
            rate = task.optimizers().param_groups[0]["lr"]
            self.fed.append((task.current_epoch, batch_idx, batch["index"].tolist(), task.global_step, rate))
            if (action := self.after_step.pop(len(self.fed), None)) is not None:
                action(task)
            return loss

        def validation_step(task, batch):
            validate(task, batch)
            self.validations += 1
            if (action := self.after_validation.pop(self.validations, None)) is not None:
                action(task)

        monkeypatch.setattr(VideoTask, "training_step", training_step)
        monkeypatch.setattr(VideoTask, "validation_step", validation_step)


def terminate(task):
    signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def watch(monkeypatch):
    return Watch(monkeypatch)


@pytest.fixture(scope="module")
def whole(motion_root, tmp_path_factory):
    """A run that was never stopped, and what it was fed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        watch = Watch(monkeypatch)
        train(hard_recipe(motion_root, out), console=quiet())
    return out, watch.fed


def stop(recipe, error=Terminated, match=None):
    with pytest.raises(error, match=match):
        train(recipe, console=quiet())
    assert not (Path(recipe.out) / run_folder.LAST).exists()


def go_on(recipe):
    console = quiet()
    result = train(recipe, resume=True, console=console)
    assert "from its last checkpoint" in console.file.getvalue()
    return result


@pytest.mark.parametrize("batch", [1, 6, 9, 12])
def test_a_run_that_is_stopped_in_a_step_goes_on_with_the_next_batch(motion_root, tmp_path, watch, whole, batch):
    expected, fed = whole
    recipe = hard_recipe(motion_root, tmp_path, checkpoint_steps=None)
    watch.after_step[batch] = terminate
    stop(recipe)
    go_on(recipe)
    assert watch.fed == fed
    assert_same_run(tmp_path, expected)


def test_a_run_that_is_stopped_in_a_validation_runs_it_again_and_no_training(motion_root, tmp_path, watch, whole):
    expected, fed = whole
    recipe = hard_recipe(motion_root, tmp_path)
    watch.after_validation[1] = terminate
    stop(recipe)
    assert (len(watch.fed), watch.validations) == (6, 1)
    watch.after_validation[3] = terminate  # and once more, in its second batch
    with pytest.raises(Terminated):
        go_on(recipe)
    assert (len(watch.fed), watch.validations) == (6, 3)
    go_on(recipe)
    assert (watch.fed, watch.validations) == (fed, 3 + 2 + 2)
    assert_same_run(tmp_path, expected)


def test_a_run_killed_between_two_checkpoints_goes_on_from_the_first(motion_root, tmp_path, watch, whole):
    expected, fed = whole
    recipe = hard_recipe(motion_root, tmp_path, checkpoint_steps=2)

    def crash(task):
        raise ArithmeticError

    watch.after_step[11] = crash  # step 5 is at work: the last checkpoint is of step 4, after eight batches
    stop(recipe, ArithmeticError)
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / run_folder.CHECKPOINT)["global_step"] == 4
    go_on(recipe)
    assert watch.fed[11:] == fed[8:]
    assert_same_run(tmp_path, expected)


@pytest.mark.parametrize("options", [{"workers": 2, "repeats": 2}, {"precision": "32-true", "ema": None}])
def test_workers_repeats_and_precision_make_no_difference(motion_root, tmp_path, watch, options):
    train(hard_recipe(motion_root, tmp_path / "whole", **options), console=quiet())
    fed, watch.fed = watch.fed, []
    recipe = hard_recipe(motion_root, tmp_path / "run", **options)
    watch.after_step[3] = terminate
    stop(recipe)
    go_on(recipe)
    assert watch.fed == fed
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_run_whose_patience_is_over_ends_early_and_stays_so(motion_root, tmp_path, watch):
    recipe = hard_recipe(motion_root, tmp_path, epochs=9, patience=1, ema=0.99)  # an average that hardly moves
    console = quiet()
    result = train(recipe, console=console)
    num_epochs = len(watch.fed) // 6
    assert num_epochs < 9
    assert result.last_epoch == num_epochs - 1 == result.best_epoch + 1
    assert f"stopping after epoch {num_epochs}: none was better" in console.file.getvalue()
    before = load_file(tmp_path / run_folder.LAST)
    again = go_on(recipe)
    assert (len(watch.fed) // 6, again.last_epoch) == (num_epochs, result.last_epoch)
    after = load_file(tmp_path / run_folder.LAST)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_is_not_resumed_by_another_number_of_processes(motion_root, tmp_path, watch):
    recipe = hard_recipe(motion_root, tmp_path)
    watch.after_step[2] = terminate
    stop(recipe)
    files, path = AtomicCheckpointIO(), tmp_path / run_folder.CHECKPOINT
    checkpoint = files.load_checkpoint(path)
    checkpoint["callbacks"]["RankStates"]["ranks"] *= 2
    files.save_checkpoint(checkpoint, path)
    with pytest.raises(
        ValueError, match=r"trainer\.devices must give as many processes as the run began with, 2, .* got 1"
    ):
        train(recipe, resume=True, console=quiet())


def test_what_a_run_keeps_may_change_on_the_way_but_not_what_it_computes(motion_root, tmp_path, watch, whole):
    expected, _ = whole
    recipe = hard_recipe(motion_root, tmp_path)
    watch.after_step[2] = terminate
    stop(recipe)
    go_on(replace(recipe, trainer=replace(recipe.trainer, checkpoint_steps=None)))
    assert_same_run(tmp_path, expected)
    for change in ({"batch_size": 8}, {"ema": None}, {"patience": 3}, {"devices": 2}):
        with pytest.raises(ValueError, match=rf"trainer\.{next(iter(change))} must be as the run began with"):
            train(replace(recipe, trainer=replace(recipe.trainer, **change)), resume=True, console=quiet())


def test_a_full_disk_is_one_sentence_and_the_checkpoint_before_stands(motion_root, tmp_path, watch, whole, capsys):
    expected, fed = whole
    recipe = hard_recipe(motion_root, tmp_path)
    checkpoint = tmp_path / run_folder.CHECKPOINT
    watch.after_step[4] = lambda task: checkpoint.with_name(".last.ckpt.partial").symlink_to("/dev/full")
    stop(recipe, OSError, match=r"out must be a folder that can be written to, got .* \(No space left on device\)")
    before = checkpoint.read_bytes()
    checkpoint.with_name(".last.ckpt.partial").symlink_to("/dev/full")
    assert main(["train", "--resume", "--out", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("kinema: out must be a folder")
    assert line.endswith(f"train --resume --out {tmp_path}")
    assert checkpoint.read_bytes() == before
    go_on(recipe)
    assert watch.fed[6:] == fed[2:]  # of the second step nothing was kept, twice
    assert_same_run(tmp_path, expected)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_can_no_longer_be_written_to_is_named(motion_root, tmp_path, watch, whole, monkeypatch, number):
    recipe = hard_recipe(motion_root, tmp_path)
    write = Path.write_bytes

    def refuse(path, content):
        if path.is_relative_to(tmp_path):
            raise OSError(number, os.strerror(number), str(path))
        return write(path, content)

    watch.after_step[4] = lambda task: monkeypatch.setattr(Path, "write_bytes", refuse)
    stop(recipe, OSError, match=rf"got {tmp_path} \({os.strerror(number)}\); .* go on with: kinema train --resume")
    monkeypatch.setattr(Path, "write_bytes", write)
    go_on(recipe)
    assert_same_run(tmp_path, whole[0])


def test_a_worker_that_is_killed_is_one_sentence_and_nothing_is_lost(motion_root, tmp_path, watch, whole, capsys):
    expected, _ = whole
    recipe = hard_recipe(motion_root, tmp_path, workers=2)

    def kill_a_worker(task):
        os.kill(task.train_loader._iterator._workers[0].pid, signal.SIGKILL)

    watch.after_step[3] = kill_a_worker
    stop(recipe, ChildProcessError, match=r"data\.num_workers must be processes that live, got one that ended \(")
    watch.after_step[len(watch.fed) + 2] = kill_a_worker
    assert main(["train", "--resume", "--out", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("kinema: data.num_workers must be processes that live")
    assert line.endswith(f"train --resume --out {tmp_path}")
    go_on(recipe)
    assert_same_run(tmp_path, expected)


def test_ctrl_c_waits_for_the_step_and_a_second_one_does_not(motion_root, tmp_path, watch, whole, capfd, monkeypatch):
    expected, fed = whole
    recipe = hard_recipe(motion_root, tmp_path)
    watch.after_step[1] = lambda task: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(recipe, console=quiet())
    assert not isinstance(caught.value, Terminated)
    assert "stopping at the end of this step; once more: at once" in capfd.readouterr().err
    assert len(watch.fed) == 2

    monkeypatch.setattr("kinema.engine.training.resuming.stopping._ONE_REQUEST_SECONDS", 0.0)

    def twice(task):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    watch.after_step[3] = twice
    with pytest.raises(KeyboardInterrupt):
        go_on(recipe)
    assert len(watch.fed) == 3
    go_on(recipe)
    assert watch.fed[3:] == fed[2:]
    assert_same_run(tmp_path, expected)


def test_signals_are_as_before_when_a_run_is_over(motion_root, tmp_path, watch):
    with ExitStack() as stack:
        for signum in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, signum, signal.getsignal(signum))
        handler = lambda *_: None  # noqa: E731
        signal.signal(signal.SIGINT, handler)
        signal.signal(signal.SIGTERM, handler)
        watch.after_step[1] = terminate
        stop(hard_recipe(motion_root, tmp_path))
        assert signal.getsignal(signal.SIGINT) is handler
        assert signal.getsignal(signal.SIGTERM) is handler


def test_an_average_of_64_bits_goes_on_with_all_of_them(motion_root, tmp_path, monkeypatch):
    recipe = hard_recipe(motion_root, tmp_path / "run", precision="64-true")
    whole = replace(recipe, out=str(tmp_path / "whole"))
    train(whole, console=quiet())
    Watch(monkeypatch).after_step[8] = terminate
    stop(recipe, Terminated)
    train(recipe, resume=True, console=quiet())
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    weights = load_file(tmp_path / "run" / "last.safetensors")
    assert {weight.dtype for weight in weights.values() if weight.is_floating_point()} == {torch.float64}
