"""How many clips a step takes where a recipe leaves that to the memory of the machine.

Shapes: N clips, T frames, C channels, H height, W width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from kinema.data.memory import available_memory
from kinema.engine.device import choose_device, choose_precision
from kinema.engine.recipe import Recipe
from kinema.engine.training.choosing.choose import LEAST_BATCH, LEAST_STEPS
from kinema.engine.training.frame_cache import memory_for_frames
from kinema.engine.training.optimizing.optimizer import make_optimizer
from kinema.engine.training.optimizing.param_groups import parameter_groups
from kinema.models.classifier import VideoClassifier

Step = Callable[[int], None]
"""Trains one step on so many clips; raises `torch.OutOfMemoryError` where they do not fit."""

MOST: Final = {"cpu": 32, "cuda": 256, "mps": 32}
"""Clips of a batch that are tried at most, by device: a CPU is no faster with more."""
_OF_GPU: Final = 0.9
_OF_FREE: Final = 0.5
_PEAK: Final = 1.25
"""What a step is taken to need on the CPU, over what autograd keeps of its forward: more than was measured."""


def fill_batch_size(recipe: Recipe, model: VideoClassifier, *, num_train: int) -> tuple[Recipe, str | None]:
    """Decides how many clips a batch has, where the recipe leaves that open.

    Args:
        recipe: The recipe.
        model: Its network; it is left as it is, and so are the random states.
        num_train: Training videos.

    Returns:
        The recipe with a number, and a line that says why; none where there was nothing to decide.

    Raises:
        ValueError: If not even the smallest batch fits.
    """
    trainer, augment = recipe.trainer, recipe.augment
    if trainer.batch_size != "auto":
        return recipe, None
    device = choose_device(trainer.accelerator)
    first = augment.repeats * (2 if augment.mixes else 1)
    num_clips = num_train * augment.repeats
    limit = max(first, min(MOST[device.type], num_clips, max(LEAST_BATCH, num_clips // LEAST_STEPS)))
    with _trial_steps(recipe, model, device=device) as step:
        size = find_batch_size(step, first=first, limit=limit)
    if 2 * size <= limit:
        said = f"batch size: {size}, doubled as long as it fits: {2 * size} clips do not fit into memory"
    else:
        said = f"batch size: {size}, which fits; twice as many would be more than {limit}, beyond which none are tried"
    return replace(recipe, trainer=replace(trainer, batch_size=size)), said


def find_batch_size(step: Step, *, first: int, limit: int) -> int:
    """Doubles the clips of a batch as long as they fit.

    Args:
        step: Trains one step.
        first: Clips of the first batch.
        limit: Clips of the last batch, at most.

    Returns:
        The most clips that fit.

    Raises:
        ValueError: If the first batch does not.
    """
    size = 0
    while max(first, 2 * size) <= limit or not size:
        try:
            step(max(first, 2 * size))
        except torch.OutOfMemoryError as error:
            if not size:
                raise ValueError(
                    f"trainer.batch_size must leave memory for at least {first} clips, got auto and too little of it "
                    f"({str(error).partition('. ')[0]}); lower clip.crop or clip.num_frames, or take a smaller backbone"
                ) from error
            break
        size = max(first, 2 * size)
    return size


@contextmanager
def _trial_steps(recipe: Recipe, model: VideoClassifier, *, device: torch.device) -> Iterator[Step]:
    """Gives steps of a copy of the model on a device; nothing is left of it afterwards."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if cuda else []):
        trial = copy.deepcopy(model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        averaged = copy.deepcopy(trial) if cuda and recipe.trainer.ema is not None else None  # takes its room
        yield (_gpu_steps if cuda else _estimated_steps)(recipe, trial.train())
    if cuda:
        del trial, averaged
        torch.cuda.empty_cache()


def _gpu_steps(recipe: Recipe, model: VideoClassifier) -> Step:
    """Returns steps on a GPU; one that leaves less than a tenth of what was free does not fit."""
    room = _OF_GPU * (torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
    forward = _forward(recipe, model)
    groups = parameter_groups(model, recipe.optimizer)
    optimizer = make_optimizer(model, recipe.optimizer, groups=groups, learning_rate=recipe.optimizer.learning_rate)

    def step(num_clips: int) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        optimizer.zero_grad()
        forward(num_clips).backward()
        optimizer.step()
        taken = torch.cuda.max_memory_reserved()
        if taken > room:
            raise torch.OutOfMemoryError(f"{taken / 1e9:.1f} GB taken, {room / 1e9:.1f} GB are free for it")

    return step


def _estimated_steps(recipe: Recipe, model: VideoClassifier) -> Step:
    """Returns steps that do not compute: where memory ends, a system kills, so the need of one clip is measured.

    It is what autograd keeps of a forward, times `_PEAK`; weights, their gradients and two moments are added,
    with `trainer.ema` the averaged weights too. Frames that are kept in memory leave less.
    """
    least = 2 if recipe.augment.mixes else 1
    forward = _forward(recipe, model)
    kept: dict[int, Tensor] = {p.untyped_storage().data_ptr(): p for p in model.parameters()}
    weights = sum(p.untyped_storage().nbytes() for p in kept.values())

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)  # held, so that no other gets its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward(least)
    of_clip = _PEAK * (sum(t.untyped_storage().nbytes() for t in kept.values()) - weights) / least
    frames = memory_for_frames().num_bytes if recipe.data.cache == "ram" else 0
    copies = 4 if recipe.trainer.ema is None else 5
    room = _OF_FREE * (available_memory() - frames) - copies * weights

    def step(num_clips: int) -> None:
        if num_clips * of_clip > room:
            need = f"{num_clips * of_clip / 1e9:.1f} GB needed"
            raise torch.OutOfMemoryError(f"{need}, {max(room, 0) / 1e9:.1f} GB are half of what is free")

    return step


def _forward(recipe: Recipe, model: VideoClassifier) -> Callable[[int], Tensor]:
    """Returns a function that computes the loss of so many gray clips, in the arithmetic of training."""
    config, size = model.config, model.spec.crop
    device = next(model.parameters()).device
    precision = choose_precision(recipe.trainer)
    if precision == "64-true":
        model.double()
    half = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(precision)

    def loss(num_clips: int) -> Tensor:
        dtype = next(model.parameters()).dtype
        shape = (num_clips, config.num_frames, config.in_channels, size, size)  # [N, T, C, H, W]
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            logits = model(torch.zeros(shape, dtype=dtype, device=device))
        return F.cross_entropy(logits.float(), torch.zeros(num_clips, dtype=torch.int64, device=device))

    return loss
