"""How many clips a batch takes where the recipe leaves that to the memory."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from kinema.cli import main
from kinema.engine.processes.launch import launch
from kinema.engine.recipe import AugmentRecipe, ClipRecipe, DataRecipe, ModelRecipe, Recipe, TrainerRecipe
from kinema.engine.training.choosing import batch_size
from kinema.engine.training.choosing.batch_size import fill_batch_size, find_batch_size
from kinema.engine.training.choosing.epochs import batch_size_of
from kinema.engine.training.frame_cache import FrameRoom
from kinema.engine.training.run_folder import stored_recipe
from kinema.engine.training.train import train
from kinema.models.classifier import create_model

AUTO = TrainerRecipe(batch_size="auto", accelerator="cpu", epochs=1)


def memory_of(num_clips, tried):
    def step(size):
        tried.append(size)
        if size > num_clips:
            raise torch.OutOfMemoryError("Tried to allocate 2 GB. More words of it.")

    return step


@pytest.mark.parametrize(
    ("room", "first", "limit", "size", "tried"),
    [
        (9, 1, 256, 8, [1, 2, 4, 8, 16]),
        (8, 1, 256, 8, [1, 2, 4, 8, 16]),
        (1, 1, 256, 1, [1, 2]),
        (999, 1, 32, 32, [1, 2, 4, 8, 16, 32]),
        (999, 1, 24, 16, [1, 2, 4, 8, 16]),
        (999, 1, 1, 1, [1]),
        (20, 3, 64, 12, [3, 6, 12, 24]),
        (999, 6, 6, 6, [6]),
    ],
)
def test_a_batch_is_doubled_as_long_as_it_fits(room, first, limit, size, tried):
    sizes = []
    assert find_batch_size(memory_of(room, sizes), first=first, limit=limit) == size
    assert sizes == tried


def test_a_network_of_which_one_clip_does_not_fit_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"batch_size must leave memory for at least 1 clips.*\(Tried to allocate 2 G"):
        find_batch_size(memory_of(0, []), first=1, limit=8)


def small_model():
    torch.manual_seed(0)
    model = create_model("test_resnet", temporal="tsm", num_frames=2, num_classes=3, dropout=0.5)
    model.spec = replace(model.spec, crop=32, resize=32)
    return model


def test_the_model_and_the_random_states_are_as_before():
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    recipe, line = fill_batch_size(Recipe(trainer=AUTO), model, num_train=90)
    assert batch_size_of(recipe.trainer) == 16
    assert line == "batch size: 16, which fits; twice as many would be more than 22, beyond which none are tried"
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_less_memory_and_wider_numbers_make_smaller_batches(monkeypatch, precision):
    sizes = []
    for free in (40e6, 400e6):
        monkeypatch.setattr(batch_size, "available_memory", lambda free=free: int(free))
        recipe = Recipe(trainer=replace(AUTO, precision=precision))
        found, line = fill_batch_size(recipe, small_model(), num_train=1000)
        sizes.append(batch_size_of(found.trainer))
    assert 1 <= sizes[0] < sizes[1] == 32
    assert line == "batch size: 32, which fits; twice as many would be more than 32, beyond which none are tried"


def test_averaged_weights_and_kept_frames_leave_less(monkeypatch):
    monkeypatch.setattr(batch_size, "available_memory", lambda: int(100e6))
    monkeypatch.setattr(batch_size, "memory_for_frames", lambda: FrameRoom(int(80e6), "half of the free memory"))
    sizes = []
    for recipe in (Recipe(trainer=AUTO), Recipe(trainer=AUTO, data=DataRecipe(cache="ram"))):
        found, _ = fill_batch_size(recipe, small_model(), num_train=1000)
        sizes.append(batch_size_of(found.trainer))
    assert sizes[1] < sizes[0]
    weights = sum(parameter.nbytes for parameter in small_model().parameters())
    monkeypatch.setattr(batch_size, "available_memory", lambda: int(9 * weights))
    monkeypatch.setattr(batch_size, "_PEAK", 0)  # clips take nothing: only the weights and their copies do
    fill_batch_size(Recipe(trainer=AUTO), small_model(), num_train=1000)
    with pytest.raises(ValueError, match="must leave memory for at least 1 clip"):
        fill_batch_size(Recipe(trainer=replace(AUTO, ema=0.9)), small_model(), num_train=1000)


@pytest.mark.parametrize(("num_train", "size"), [(5, 4), (24, 8), (63, 8), (64, 16), (127, 16), (128, 32)])
def test_an_epoch_keeps_a_few_steps(num_train, size):
    recipe, _ = fill_batch_size(Recipe(trainer=AUTO), small_model(), num_train=num_train)
    assert batch_size_of(recipe.trainer) == size


def test_larger_pictures_make_smaller_batches(monkeypatch):
    sizes = {}
    for crop in (32, 64):
        model = small_model()
        model.spec = replace(model.spec, crop=crop, resize=crop)
        monkeypatch.setattr(batch_size, "available_memory", lambda: int(60e6))
        found, line = fill_batch_size(Recipe(trainer=AUTO), model, num_train=1000)
        sizes[crop] = batch_size_of(found.trainer)
        assert f"{2 * sizes[crop]} clips do not fit" in line or sizes[crop] == 32
    assert 1 < sizes[64] < sizes[32]


def test_a_batch_of_auto_goes_with_repeats_and_mixing():
    augment = AugmentRecipe(repeats=3, mixup=0.8)
    recipe, _ = fill_batch_size(Recipe(trainer=AUTO, augment=augment), small_model(), num_train=32)
    assert recipe.trainer.batch_size == 24


def test_a_number_is_left_as_it_is():
    recipe = Recipe(trainer=TrainerRecipe(batch_size=5))
    assert fill_batch_size(recipe, small_model(), num_train=24) == (recipe, None)


def test_several_processes_need_a_number_and_none_is_started_without():
    recipe = Recipe(trainer=replace(AUTO, devices=2, accelerator="cpu"))
    with pytest.raises(ValueError, match=r"trainer\.batch_size must be a number where several processes"):
        launch(recipe, resume=False, overwrite=False)


def test_a_run_keeps_the_size_it_found_and_is_resumed_with_it(motion_root, tmp_path, monkeypatch, capsys):
    out, console = tmp_path / "run", Console(file=io.StringIO(), width=200)
    recipe = Recipe(
        out=str(out),
        data=DataRecipe(root=str(motion_root), num_workers=0),
        clip=ClipRecipe(num_frames=2, resize=32, crop=32),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False),
        trainer=replace(AUTO, precision="32-true"),
    )
    train(recipe, console=console)
    assert "batch size: 8, which fits" in console.file.getvalue()
    assert stored_recipe(out).trainer.batch_size == 8
    monkeypatch.setattr(batch_size, "available_memory", lambda: pytest.fail("it must not be looked for again"))
    assert train(recipe, resume=True, console=console).recipe.trainer.batch_size == 8


def test_a_word_that_is_not_auto_is_refused(capsys):
    assert main(["train", "--data.root", "x", "--trainer.batch_size", "most"]) == 2
    assert "trainer.batch_size must be int or 'auto', got" in capsys.readouterr().err.replace('"', "'")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_left_as_empty_as_it_was():
    before = torch.cuda.memory_allocated(), torch.cuda.get_rng_state()
    recipe, _ = fill_batch_size(Recipe(trainer=replace(AUTO, accelerator="cuda")), small_model(), num_train=256)
    assert recipe.trainer.batch_size == 64
    assert torch.cuda.memory_allocated() == before[0]
    assert torch.equal(torch.cuda.get_rng_state(), before[1])
