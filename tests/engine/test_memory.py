"""Too little memory: one sentence that says what to lower, in training, evaluation and prediction."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

import kinema.engine.evaluate as evaluation
import kinema.predict as prediction
from kinema.cli import main
from kinema.engine.memory import (
    enough_memory,
    evaluation_sentence,
    is_out_of_memory,
    prediction_sentence,
    training_sentence,
)
from kinema.engine.recipe import (
    ClipRecipe,
    DataPlace,
    EvaluationRecipe,
    EvaluationViews,
    Recipe,
    TrainerRecipe,
)
from kinema.engine.run_error import RunError
from kinema.engine.training.task import VideoTask

GPU = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8.00 GiB of which 1.00 GiB is free."
)
TOO_MANY = 2**48
"""Bytes that no machine has."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError(GPU), True),
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("unable to mmap 64 bytes from file </torch_1>: Cannot allocate memory (12)"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("could not create a memory object"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (RunError("trainer.batch_size must fit into memory: out of memory"), False),
    ],
)
def test_what_counts_as_too_little_memory(error, expected):
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize("allocate", [lambda: torch.empty(TOO_MANY, dtype=torch.uint8), lambda: np.empty(TOO_MANY)])
def test_a_true_allocation_that_is_refused_is_one_sentence(allocate):
    with pytest.raises(RunError) as caught, enough_memory(lambda refused: f"it needs {refused}"):
        allocate()
    expected = (
        "262144.00 GiB more than this machine has left" if caught.value.args[0].count("GiB") else "more than this"
    )
    assert str(caught.value).startswith(f"it needs {expected}")
    assert is_out_of_memory(caught.value.__cause__)


@pytest.mark.parametrize(
    "text",
    [
        "unable to allocate shared memory(shm) for file </torch_1_2_1>: No space left on device (28)",
        "unable to write to file </torch_1_2_1>: No space left on device (28)",
        "unable to mmap 64 bytes from file </torch_1>: Cannot allocate memory (12)",
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
        "shared memory. Please try to raise your shared memory limit.",
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_shared_memory_that_is_full_has_a_sentence_of_its_own(text, wrapped):
    def fail():
        if not wrapped:
            raise RuntimeError(text)
        raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly") from RuntimeError(text)

    with (
        pytest.raises(RunError, match=r"data\.num_workers .* shared memory .*--data\.num_workers 0 .*--shm-size"),
        enough_memory(lambda refused: "trainer.batch_size"),
    ):
        fail()


def test_another_error_stays_as_it_is():
    with pytest.raises(RuntimeError, match="shapes"), enough_memory(lambda refused: refused):
        raise RuntimeError("shapes")


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        (
            TrainerRecipe(batch_size=64, precision="32-true"),
            "trainer.batch_size must fit into memory, got 64, which needs 2 GiB more than the GPU has left for a step "
            "of 64 clips of 8 frames of 224 x 224; take --trainer.batch_size 32 --trainer.accumulate 2 (as many clips "
            "a step), or --trainer.batch_size auto; or --trainer.precision bf16-mixed; or lower --clip.crop (224) or "
            "--clip.num_frames (8), and begin anew with --overwrite",
        ),
        (
            TrainerRecipe(batch_size=5, accumulate=3, precision="bf16-mixed"),
            "trainer.batch_size must fit into memory, got 5, which needs 2 GiB more than the GPU has left for a step "
            "of 5 clips of 8 frames of 224 x 224; take --trainer.batch_size 2 --trainer.accumulate 8 (about as many "
            "clips a step), or --trainer.batch_size auto; or lower --clip.crop (224) or --clip.num_frames (8), "
            "and begin anew with --overwrite",
        ),
        (
            TrainerRecipe(batch_size=8, precision="bf16-mixed", devices=2),
            "trainer.batch_size must fit into memory, got 8, which needs 2 GiB more than the GPU has left for a step "
            "of 8 clips of 8 frames of 224 x 224; take --trainer.batch_size 4 --trainer.accumulate 2 (as many clips a "
            "step); or lower --clip.crop (224) or --clip.num_frames (8), and begin anew with --overwrite",
        ),
        (
            TrainerRecipe(batch_size=1, precision="bf16-mixed"),
            "trainer.batch_size must fit into memory, got 1, which needs 2 GiB more than the GPU has left for a step "
            "of 1 clip of 8 frames of 224 x 224; lower --clip.crop (224) or --clip.num_frames (8), "
            "and begin anew with --overwrite",
        ),
    ],
)
def test_training_says_what_to_lower(trainer, expected, tmp_path):
    recipe = Recipe(out=str(tmp_path), clip=ClipRecipe(num_frames=8, resize=256, crop=224), trainer=trainer)
    assert training_sentence(recipe, "2 GiB more than the GPU has left") == expected


def test_evaluation_and_prediction_say_what_to_lower():
    recipe = EvaluationRecipe(data=DataPlace(root="x"), batch_size=8, views=EvaluationViews(num_clips=10, num_crops=3))
    assert evaluation_sentence(recipe, "more than the GPU has left") == (
        "batch_size must fit into memory, got 8, which needs more than the GPU has left for 8 x 10 x 3 clips at once; "
        "take --batch_size 4, fewer --data.num_workers, or --accelerator cpu"
    )
    assert "got 10 x 3, which needs 1 GiB; take fewer of them, or --accelerator cpu" in prediction_sentence(
        10, 3, "1 GiB"
    )


@pytest.fixture(scope="module")
def weights(motion_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("memory") / "run"
    assert train(motion_root, out) == 0
    return out / "last.safetensors"


def train(root, out, *flags):
    small = ["--clip.num_frames", "2", "--clip.resize", "32", "--clip.crop", "32", "--trainer.epochs", "1"]
    model = ["--model.backbone", "test_resnet", "--model.temporal", "tsm", "--model.pretrained", "false"]
    data = ["--data.root", str(root), "--data.num_workers", "0", "--trainer.precision", "32-true"]
    return main(["train", "--out", str(out), *small, *model, *data, *flags])


def refuse(*arguments):
    raise torch.OutOfMemoryError(GPU)


def test_every_command_ends_with_its_sentence(motion_root, tmp_path, weights, monkeypatch, capsys):
    capsys.readouterr()
    monkeypatch.setattr(VideoTask, "training_step", refuse)
    monkeypatch.setattr(evaluation, "predict_views", refuse)
    monkeypatch.setattr(prediction, "predict_views", refuse)
    refused = "which needs 2.50 GiB more than the GPU has left"
    assert train(motion_root, tmp_path / "run", "--trainer.batch_size", "4") == 1
    told = capsys.readouterr().err
    assert told.startswith(f"kinema: trainer.batch_size must fit into memory, got 4, {refused} for a step of 4 clips")
    assert told.count("\n") == 1

    monkeypatch.undo()
    monkeypatch.setattr(evaluation, "predict_views", refuse)
    monkeypatch.setattr(prediction, "predict_views", refuse)
    monkeypatch.setattr(VideoTask, "validation_step", lambda *_: None)
    monkeypatch.setattr(VideoTask, "on_validation_epoch_end", lambda *_: None)
    assert train(motion_root, tmp_path / "run", "--trainer.batch_size", "4", "--overwrite") == 1
    told = capsys.readouterr().err
    assert f"memory when weights are scored, got 4, {refused}; the weights are whole: score them with" in told
    assert (tmp_path / "run" / "last.safetensors").is_file()

    place = ["--data.root", str(motion_root), "--data.num_workers", "0"]
    assert main(["evaluate", str(weights), *place, "--batch_size", "2"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"kinema: batch_size must fit into memory, got 2, {refused} for 2 x 1 x 1 clips at once;")

    video = next((motion_root / "val").rglob("*.mp4"))
    assert main(["predict", str(weights), str(video), "--num_clips", "2"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"kinema: num_clips x num_crops must fit into memory, got 2 x 1, {refused};")
