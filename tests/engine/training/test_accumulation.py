"""Steps of several batches: as if the batches were one, also where an epoch does not divide."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from kinema.engine.recipe import ClipRecipe, DataRecipe, ModelRecipe, OptimizerRecipe, Recipe, TrainerRecipe
from kinema.engine.training.accumulation import share_of_step
from kinema.engine.training.train import train


@pytest.mark.parametrize(
    ("num_clips", "batch_size", "accumulate", "expected"),
    [
        (12, 3, 1, [1, 1, 1, 1]),
        (12, 3, 2, [1, 1, 1, 1]),
        (9, 3, 2, [1, 1, 2]),  # the last step has one batch: Lightning halves its loss
        (11, 3, 2, [1, 1, 6 / 5, 4 / 5]),  # 3 and 2 clips, of 5
        (4, 3, 4, [3, 1]),
        (2, 3, 4, [4]),
        (7, 3, 1, [1, 1, 1]),
    ],
)
def test_the_shares_of_the_batches_of_an_epoch(num_clips, batch_size, accumulate, expected):
    options = {"num_clips": num_clips, "batch_size": batch_size, "accumulate": accumulate}
    assert [share_of_step(number, **options) for number in range(len(expected))] == pytest.approx(expected)


@pytest.mark.parametrize("batch_size", [4, 5, 7])
def test_batches_that_are_accumulated_are_one_large_batch(motion_root, tmp_path, batch_size):
    """24 clips: of 4 x 2 all steps are full, of 5 x 2 the last has one batch of 4, of 7 x 2 one of 7 and one of 3."""
    recipe = Recipe(
        out=str(tmp_path / "small"),
        data=DataRecipe(root=str(motion_root), num_workers=0),
        clip=ClipRecipe(num_frames=2, resize=32, crop=32),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False),
        optimizer=OptimizerRecipe(name="sgd", learning_rate=0.1, warmup_epochs=0, schedule="constant"),
        trainer=TrainerRecipe(
            epochs=2,
            batch_size=batch_size,
            accumulate=2,
            precision="64-true",
            batch_norm="frozen",
            clip_norm=1.0,
            loggers=[],
        ),
    )
    large = replace(
        recipe,
        out=str(tmp_path / "large"),
        trainer=replace(recipe.trainer, batch_size=2 * batch_size, accumulate=1),
    )
    small_run, large_run = (train(one, console=Console(file=io.StringIO())) for one in (recipe, large))
    small, whole = load_file(small_run.last), load_file(large_run.last)
    for name, tensor in whole.items():
        torch.testing.assert_close(small[name], tensor)
    first = load_file(large_run.best)
    assert any(not torch.equal(first[name], whole[name]) for name in whole) or large_run.best_epoch == 1
