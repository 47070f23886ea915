"""Lost numbers: the run stops before they reach the weights, names the videos, and keeps its last checkpoint."""

from __future__ import annotations

import json
import math
import os
from itertools import count

import pytest
import torch

from kinema.cli import main
from kinema.data.annotations import Sample
from kinema.data.quarantine import read_quarantine
from kinema.engine.run_error import RunError
from kinema.engine.training import task as task_module
from kinema.engine.training.optimizing.loss import training_loss
from kinema.engine.training.run_folder import stored_recipe
from kinema.engine.training.watching.finite import FiniteNumbers, advice_for

FLAGS = ["--clip.num_frames", "2", "--clip.resize", "32", "--clip.crop", "32", "--trainer.batch_size", "4"]
FLAGS += ["--model.backbone", "test_resnet", "--model.temporal", "tsm", "--model.pretrained", "false"]
FLAGS += ["--data.num_workers", "0", "--trainer.epochs", "2", "--trainer.precision", "32-true"]


def lost_loss(logits):
    return (logits * math.nan).sum()


def lost_gradient(logits):
    return (logits * 0).sum().sqrt()  # 0, and its slope is infinite


def spoil(monkeypatch, batches, wrong):
    """Lets the loss of some batches of a run go wrong, counted over all epochs from 0."""
    numbers = count()

    def loss(logits, targets, **options):
        right = training_loss(logits, targets, **options)
        return right + wrong(logits) if next(numbers) in batches else right

    monkeypatch.setattr(task_module, "training_loss", loss)


def train(root, out, *flags):
    return main(["train", "--data.root", str(root), "--out", str(out), *FLAGS, *flags])


def listed_in(file):
    return [entry["name"] for entry in map(json.loads, file.read_text().splitlines())]


def order_of(root, out, monkeypatch, *, steps):
    """Returns the names of the videos of the first batches of a run."""
    seen = []
    step = task_module.VideoTask.training_step

    def look(self, batch, batch_idx):
        seen.append([self.train_loader.dataset.samples[index].name for index in batch["index"].tolist()])
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(task_module.VideoTask, "training_step", look)
        assert train(root, out, "--trainer.epochs", "1") == 0
    return seen[:steps]


def test_a_lost_loss_is_one_sentence_with_the_batch_and_the_run_goes_on(motion_root, tmp_path, monkeypatch, capsys):
    expected = order_of(motion_root, tmp_path / "whole", monkeypatch, steps=3)[2]
    spoil(monkeypatch, {6 + 2}, lost_loss)  # the third batch of the second epoch
    out = tmp_path / "run"
    assert train(motion_root, out) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("kinema: loss must stay finite, got nan, in epoch 2 at train/")
    assert f"and 1 more, all listed in {out / 'lost.jsonl'}; lower --optimizer.learning_rate" in told
    assert (
        "leave these videos out with --data.quarantine, and begin anew with --overwrite, or from its best weights"
        in told
    )
    assert f"with --model.init {out / 'best.safetensors'} and another --out" in told
    assert "32-true" not in told
    assert len(listed_in(out / "lost.jsonl")) == len(read_quarantine(out / "lost.jsonl").rows) == 4
    assert set(listed_in(out / "lost.jsonl")) != set(expected)  # another epoch has another order

    assert main(["train", "--resume", "--out", str(out)]) == 0  # the loss is right from here on
    assert (out / "last.safetensors").is_file()


@pytest.mark.parametrize(("wrong", "word"), [(lost_loss, "loss must"), (lost_gradient, "gradient must")])
def test_of_a_step_of_several_batches_those_are_named_that_are_lost(motion_root, tmp_path, monkeypatch, wrong, word):
    batches = order_of(motion_root, tmp_path / "whole", monkeypatch, steps=4)
    spoil(monkeypatch, {2}, wrong)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINEMA_TRACEBACK", "1")
        with pytest.raises(RunError, match=rf"^{word} stay finite, got .* in epoch 1 at "):
            train(motion_root, tmp_path / "run", "--trainer.accumulate", "2")
    named = listed_in(tmp_path / "run" / "lost.jsonl")
    assert named == (batches[2] if wrong is lost_loss else [*batches[2], *batches[3]])


def test_the_weights_of_a_lost_step_are_those_before_it(motion_root, tmp_path, monkeypatch):
    kept = {}
    spoil(monkeypatch, {1}, lost_gradient)

    def stop(self, *args, **options):
        kept["weights"] = [batch.logits for batch in self.batches]
        raise RunError("here")

    monkeypatch.setattr(FiniteNumbers, "check", stop)
    assert train(motion_root, tmp_path / "run") == 1
    assert len(kept["weights"]) == 1  # looked at before the step is taken, not after it


def test_the_videos_of_a_lost_step_are_left_out_of_a_run_in_the_same_folder(motion_root, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil(patch, {2}, lost_loss)
        assert train(motion_root, out) == 1
    lost = listed_in(out / "lost.jsonl")
    assert train(motion_root, out, "--overwrite", "--data.quarantine", str(out / "lost.jsonl")) == 0
    assert not (out / "lost.jsonl").exists()
    assert listed_in(out / "quarantine.jsonl") == lost
    assert stored_recipe(out).data.quarantine == str(out / "quarantine.jsonl")
    assert main(["train", "--resume", "--out", str(out)]) == 0
    assert f"{len(lost)} of " in capsys.readouterr().out


@pytest.fixture
def numbers(tmp_path):
    samples = [Sample(tmp_path / f"{name}.mp4", "walk", name=f"{name}.mp4") for name in "abcd"]
    return FiniteNumbers(samples, file=tmp_path / "lost.jsonl")


def note(numbers, *indices, loss=1.0, logits=1.0):
    numbers.note(torch.tensor(indices), torch.tensor(loss), torch.full((len(indices), 2), logits))


def test_in_16_bits_a_gradient_that_overflows_is_no_error_while_the_factor_can_be_lowered(numbers):
    infinite = torch.tensor(math.inf)
    for scale in (2.0**16, 1.0, 2.0**-13):
        note(numbers, 0, 1)
        numbers.check(infinite, scale=lambda scale=scale: scale, epoch=0, advice="rest")
    assert not numbers.file.exists()
    note(numbers, 0, 1)
    with pytest.raises(RunError, match=r"^gradient must stay finite, got one of norm inf in epoch 1 at a\.mp4, b\.mp4"):
        numbers.check(infinite, scale=lambda: 2.0**-14, epoch=0, advice="rest")
    note(numbers, 2, loss=math.inf, logits=math.nan)
    with pytest.raises(
        RunError, match=r"^loss must stay finite, got inf, as the logits are not finite, .* c\.mp4, all"
    ):
        numbers.check(infinite, scale=lambda: 2.0**16, epoch=0, advice="rest")
    assert listed_in(numbers.file) == ["c.mp4"]


def test_a_video_is_named_once_and_a_step_that_ended_is_forgotten(numbers):
    note(numbers, 3)
    numbers.check(torch.tensor(1.0), scale=None, epoch=0, advice="rest")
    note(numbers, 0, 1, 0, 1)
    with pytest.raises(RunError, match=r"at a\.mp4, b\.mp4, all listed in .*lost\.jsonl; rest$"):
        numbers.check(torch.tensor(math.nan), scale=None, epoch=4, advice="rest")
    assert listed_in(numbers.file) == ["a.mp4", "b.mp4"]


def test_advice_names_what_there_is_to_lower(tmp_path):
    assert "lower --trainer.clip_norm, train with --trainer.precision 32-true, or" in advice_for(
        "bf16-mixed", 5.0, out=tmp_path
    )
    assert advice_for("64-true", None, out=tmp_path).startswith(
        "lower --optimizer.learning_rate, set --trainer.clip_norm, or leave"
    )
    assert advice_for("64-true", None, out=tmp_path).endswith("and begin anew with --overwrite")


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() and os.environ.get("KINEMA_REQUIRE") != "gpu", reason="no CUDA device"
)
def test_a_run_in_16_bits_on_a_gpu_goes_past_gradients_that_overflow(motion_root, tmp_path):
    flags = ["--trainer.precision", "16-mixed", "--trainer.accelerator", "cuda", "--trainer.accumulate", "2"]
    assert train(motion_root, tmp_path / "run", *flags) == 0
    assert not (tmp_path / "run" / "lost.jsonl").exists()
