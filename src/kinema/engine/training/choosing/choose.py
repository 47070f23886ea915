"""What a recipe is where a person has said nothing: chosen by the data and the machine, and said with the reason.

There is no early stopping, for on the few videos that little data holds out it would stop by chance; and nothing that
a run's first weights decide, which are known later.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Final, NamedTuple

import numpy as np
import torch

from kinema.data.memory import gigabytes
from kinema.data.video.opening import VideoError
from kinema.data.video.section import open_sample
from kinema.engine.device import choose_device
from kinema.engine.processes.ranks import num_ranks
from kinema.engine.recipe import ClipRecipe, Recipe
from kinema.engine.training.data import TrainingData
from kinema.engine.training.frame_cache import memory_for_frames
from kinema.models.classifier import ModelConfig
from kinema.models.weights import read_metadata
from kinema.spec import ClipSpec


class Size(NamedTuple):
    """A network that a device trains in reasonable time."""

    memory: int
    """Least memory of the GPU, in GiB; 0: any device."""
    backbone: str
    resize: int
    crop: int
    batch_size: int


SIZES: Final = (
    Size(30, "resnet50.tv_in1k", 256, 224, 32),
    Size(15, "resnet50.tv_in1k", 256, 224, 16),
    Size(10, "resnet50.tv_in1k", 256, 224, 8),
    Size(0, "resnet18.tv_in1k", 128, 112, 8),
)
"""What is taken on which device: the first that its memory holds."""

UNEQUAL: Final = 3
"""Times that the largest class may have the videos of the smallest before they are balanced."""
LEAST_STEPS, LEAST_BATCH = 4, 8
"""Steps that an epoch keeps where larger batches of all processes would leave fewer, and the batch always taken."""
MEASURED: Final = 8
"""Videos whose frames are measured."""

_OF_SIZE: Final = frozenset(
    {"model.backbone", "model.init", "clip.num_frames", "clip.resize", "clip.crop", "clip.modality", "clip.stack"}
)
_SIZE_FIELDS: Final = ("model.backbone", "clip.num_frames", "clip.resize", "clip.crop")
_WINDOW: Final = frozenset({"clip.sampling", "clip.stride", "clip.stride_seconds"})
_PIXELS: Final = frozenset({"clip.modality", "clip.stack"})
_LAYERS: Final = frozenset({"model.temporal", "model.options", "model.causal"})


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What choices depend on, of the training videos."""

    class_counts: tuple[int, ...]
    """Videos of each class."""
    multi_label: bool
    """Whether a video may show several classes."""
    num_bytes: int | None
    """Size of all their frames once decoded, by that of a few; none where none can be read."""


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """What choices depend on, of the machine."""

    device: str
    """`cpu`, `cuda` or `mps`."""
    device_memory: int
    """Bytes of the GPU; 0 without one."""
    memory_for_frames: int
    """Bytes that decoded frames may take; 0 where none can be kept in memory."""
    frames_bound: str = "half of the free memory"
    """What bounds them."""


@dataclass(frozen=True, kw_only=True)
class StartFacts:
    """What the weights to start from are of."""

    config: ModelConfig
    spec: ClipSpec


def choose(
    recipe: Recipe,
    *,
    given: Collection[str],
    data: DataFacts,
    machine: MachineFacts,
    start: StartFacts | None = None,
) -> tuple[Recipe, list[str]]:
    """Chooses what a person has not given.

    Args:
        recipe: What was given, and defaults.
        given: Dotted names of the fields that a person has given, which stay as they are.
        data: The training videos.
        machine: The machine.
        start: The weights in `model.init`.

    Returns:
        The recipe, and a line for each choice, with its reason.
    """
    lines = []
    if start is not None and "model.backbone" not in given:
        recipe, line = _like_the_weights(recipe, start, given=given)
        lines.append(line)
    elif not _of_size(recipe, given):
        recipe, line = _size(recipe, data, machine, given=given)
        lines.append(line)
    elif not {*_SIZE_FIELDS, "trainer.batch_size"} <= {*given}:
        lines.append(_not_chosen(recipe, given=given))
    if not {"data.balance", "augment.repeats"}.intersection(given) and not data.multi_label:
        least, most = min(filter(None, data.class_counts)), max(data.class_counts)
        if most > UNEQUAL * least:
            recipe = replace(recipe, data=replace(recipe.data, balance="sampling"))
            lines.append(f"chosen: data.balance sampling, for the largest class has {most / least:.3g} times as many")
            lines[-1] += f" videos ({most}) as the smallest ({least})"
    if not {"data.cache", "data.cache_folder", "data.cache_short_side"}.intersection(given) and data.num_bytes:
        size, room = gigabytes(data.num_bytes), gigabytes(machine.memory_for_frames)
        saves = "on a disk with room for them --data.cache disk saves decoding from the second epoch on"
        if not machine.memory_for_frames:
            lines.append(f"not chosen: data.cache, for {machine.frames_bound}; {saves}")
        elif data.num_bytes <= machine.memory_for_frames:
            recipe = replace(recipe, data=replace(recipe.data, cache="ram"))
            lines.append(f"chosen: data.cache ram, for the decoded frames take about {size}, and {room} may be taken")
        else:
            lines.append(f"not chosen: data.cache, for the decoded frames would take about {size} of {room}")
            lines[-1] += f" ({machine.frames_bound}); {saves}"
    return recipe, lines


def choose_by_facts(recipe: Recipe, data: TrainingData, *, given: Collection[str]) -> tuple[Recipe, list[str]]:
    """Measures data and machine, and chooses what a person has not given.

    Args:
        recipe: What was given, and defaults.
        data: The videos of the run.
        given: Dotted names of the fields that a person has given.

    Returns:
        The recipe, and a line for each choice, with its reason.

    Raises:
        ValueError: If `model.init` is no weights file, or the device is not there.
    """
    device, start, room = choose_device(recipe.trainer.accelerator), None, memory_for_frames()
    if recipe.model.init and "model.backbone" not in given:
        metadata = read_metadata(recipe.model.init)
        if {"config", "spec"} <= metadata.keys():  # what is missing is said where the weights are read
            config, spec = ModelConfig.from_json(metadata["config"]), ClipSpec.from_json(metadata["spec"])
            start = StartFacts(config=config, spec=spec)
    return choose(
        recipe,
        given=given,
        data=DataFacts(
            class_counts=tuple(data.class_counts.tolist()),
            multi_label=data.multi_label,
            num_bytes=_frame_bytes(recipe, data),
        ),
        machine=MachineFacts(
            device=device.type,
            device_memory=torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0,
            memory_for_frames=room.num_bytes,
            frames_bound=room.reason,
        ),
        start=start,
    )


def _of_size(recipe: Recipe, given: Collection[str]) -> list[str]:
    """Returns what was given of backbone and size; a file of weights is of a backbone."""
    names = _OF_SIZE | ({"model.pretrained"} if recipe.model.pretrained not in (True, False, "auto") else set())
    return sorted(names.intersection(given))


def _not_chosen(recipe: Recipe, *, given: Collection[str]) -> str:
    """Says what stays at its default because something else was given."""
    clip, reasons = recipe.clip, _of_size(recipe, given)
    verb = "is" if len(reasons) == 1 else "are"
    line = f"not chosen: backbone, size and batch, for {' and '.join(reasons)} {verb} given; they are "
    line += f"{recipe.model.backbone} on {clip.num_frames} frames of {clip.crop} x {clip.crop}"
    return f"{line}, batches of {recipe.trainer.batch_size}"


def _size(recipe: Recipe, data: DataFacts, machine: MachineFacts, *, given: Collection[str]) -> tuple[Recipe, str]:
    """Chooses backbone, size and batch by the device."""
    size = next(size for size in SIZES if size.memory * 2**30 <= machine.device_memory)
    num_train = sum(data.class_counts)
    batch_size = size.batch_size
    while batch_size > LEAST_BATCH and num_train < LEAST_STEPS * batch_size * num_ranks():
        batch_size //= 2
    place = f"a GPU of {machine.device_memory / 2**30:.0f} GiB" if machine.device_memory else f"device {machine.device}"
    clip = replace(recipe.clip, resize=size.resize, crop=size.crop)
    line = f"chosen: {size.backbone} on {clip.num_frames} frames of {size.crop} x {size.crop}"
    trainer = recipe.trainer
    if "trainer.batch_size" not in given:
        trainer = replace(trainer, batch_size=batch_size)
        line += f", batches of {batch_size}"
    chosen = replace(recipe, model=replace(recipe.model, backbone=size.backbone), clip=clip, trainer=trainer)
    return chosen, f"{line}, for {place} and {num_train} training videos"


def _like_the_weights(recipe: Recipe, start: StartFacts, *, given: Collection[str]) -> tuple[Recipe, str]:
    """Takes network and clips of the weights that a run starts from, where they are not given."""
    config, spec = start.config, start.spec
    model = replace(recipe.model, backbone=config.backbone)
    if not _LAYERS.intersection(given):
        temporal = config.temporal[0] if len(config.temporal) == 1 else list(config.temporal)
        model = replace(model, temporal=temporal, options=config.options, causal=config.causal)
    if "model.head" not in given:
        model = replace(model, head=config.head)
    together = [group for group in (_WINDOW, _PIXELS, {"clip.resize", "clip.crop"}) if group.intersection(given)]
    kept = {*given}.union(*together)
    values = {field.name: getattr(spec, field.name) for field in fields(ClipRecipe) if f"clip.{field.name}" not in kept}
    if values.get("modality") == "rgb":
        values["stack"] = None
    clip = replace(recipe.clip, **values)
    layers = model.temporal if isinstance(model.temporal, str) else "+".join(model.temporal)
    line = f"chosen: {layers} on {model.backbone}, {clip.num_frames} frames of {clip.crop} x {clip.crop}"
    return replace(recipe, model=model, clip=clip), f"{line}, as in the weights of model.init"


def _frame_bytes(recipe: Recipe, data: TrainingData) -> int | None:
    """Estimates the bytes of all decoded training frames by a few videos, which the seed chooses."""
    chosen = np.random.default_rng(recipe.seed).permutation(len(data.train))[:MEASURED]
    sizes = []
    for index in sorted(chosen.tolist()):
        try:
            with open_sample(
                data.train[index], modality=recipe.clip.modality, index_cache=recipe.data.index_cache
            ) as video:
                sizes.append(len(video) * video.frames([0]).nbytes)
        except VideoError:  # said and counted where it is loaded
            continue
    return round(sum(sizes) / len(sizes) * len(data.train)) if sizes else None
