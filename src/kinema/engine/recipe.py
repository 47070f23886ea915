"""All numbers of a run in one strict tree: filled from YAML and flags, kept beside the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from kinema.engine.augment_recipe import AugmentRecipe
from kinema.engine.data_recipe import DataPlace, DataRecipe
from kinema.spec import Modality, Sampling, check_sampling
from kinema.wording import check

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "64-true"]
Accelerator = Literal["auto", "cpu", "cuda", "mps"]


def check_layer_options(options: dict[str, Any], *, name: str) -> None:
    """Refuses what has a place of its own among the options of a temporal layer.

    Raises:
        ValueError: If there is such a name.
    """
    own = sorted(
        {*ModelRecipe.__dataclass_fields__, "num_frames", "num_classes", "spec", "modality", "stack"} & options.keys()
    )
    check(not own, name, "hold options of the temporal layer only", own, "set these by their own flags")


@dataclass(frozen=True, kw_only=True)
class ClipRecipe:
    """How a video becomes a clip; mean, standard deviation and interpolation come with the backbone."""

    num_frames: int = 8
    """Frames T of a clip."""
    sampling: Sampling = "segments"
    """How they spread over a video: `segments`, one from each of T equal parts of it (TSN); `dense`, each (64 // T)-th
    of a window of 64 frames (TSM); `stride`, at a fixed distance."""
    stride: int | None = None
    """Frames of the video from one frame of a clip to the next, for the sampling `stride`."""
    stride_seconds: float | None = None
    """Seconds from one frame of a clip to the next, for the sampling `stride`, in place of a number of frames: videos
    of 12 and of 30 frames per second are then looked at alike."""
    resize: int = 128
    """Short side, in pixels, that a frame is scaled to before the crop."""
    crop: int = 112
    """Side, in pixels, of the square that the network sees."""
    modality: Modality = "rgb"
    """What the network sees: frames (`rgb`), optical flow that `kinema data flow` has extracted (`flow`), or
    differences of neighbouring frames (`rgbdiff`)."""
    stack: int | None = None
    """Fields of flow, or differences, that each of the T is made of; null: 5, as TSN. Frames are not stacked."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check(
            self.stack is None or (self.modality != "rgb" and self.stack >= 1),
            "clip.stack",
            "be at least 1, and left out for modality 'rgb'",
            self.stack,
            "null takes 5 for flow and rgbdiff",
        )
        check(self.num_frames >= 1, "clip.num_frames", "be at least 1", self.num_frames, "8 and 16 are usual")
        check_sampling(self.sampling, self.stride, self.stride_seconds, num_frames=self.num_frames, prefix="clip.")
        check(
            1 <= self.crop <= self.resize,
            "clip.crop",
            f"lie between 1 and clip.resize ({self.resize})",
            self.crop,
            "112 with 128 and 224 with 256 are usual",
        )


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """The network."""

    backbone: str = "resnet18.tv_in1k"
    """A 2D network by its timm name, weights in full (`resnet50.tv_in1k`), or a whole video network (`r3d_18`)."""
    temporal: list[str] | str = "sth"
    """Temporal layer (`none`, `tsm`, `sth`, `stm`, ...: docs/layers.md), or several, applied from left to right."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the temporal layer, such as `fraction: 0.25` of `sth`."""
    pretrained: bool | str = "auto"
    """Published weights (ImageNet's; of whole video networks, Kinetics-400's): `true`, `false`, `auto` (start from them
    if they can be had, else say so and start from random weights), or a file of 2D weights, in timm's or torchvision's
    layout."""
    init: str | None = None
    """A kinema weights file, folder or hf://owner/name to start from; with another class list the head is made anew."""
    dropout: float = 0.0
    """Chance that a feature before the head is dropped in training."""
    causal: bool = False
    """Whether temporal layers look only at the past, as a live stream needs."""
    head: str = "linear"
    """What makes logits of the frames' features: `linear`, the mean of each frame's own, or `trn`, relations of frames
    (docs/heads.md)."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check_layer_options(self.options, name="model.options")
        check(0 <= self.dropout < 1, "model.dropout", "lie in [0, 1)", self.dropout, "0.5 is usual on little data")
        check(
            not (self.init and self.pretrained not in (False, "auto")),
            "model.pretrained",
            "not name weights where model.init is given",
            self.pretrained,
            "the init file brings the weights: leave model.pretrained out",
        )
        named = isinstance(self.pretrained, bool) or self.pretrained == "auto" or "." in self.pretrained
        check(named, "model.pretrained", "be true, false, auto or a file", self.pretrained, "as in resnet50.pth")


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """How the weights move."""

    name: Literal["adamw", "sgd"] = "adamw"
    """Optimizer: `adamw` or `sgd`."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of `sgd`; first beta of `adamw`."""
    weight_decay: float = 0.05
    """Weight decay; biases and batch norm have none."""
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    """Learning rate after the warm-up: `cosine` down to 0, `constant`, or `steps` down at the milestones."""
    warmup_epochs: float | None = None
    """Epochs in which the rate climbs to its peak; null: a twentieth of all."""
    milestones: list[float] = field(default_factory=list)
    """Epochs at which the schedule `steps` multiplies the rate by `gamma`."""
    gamma: float = 0.1
    """Factor of the schedule `steps`."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        rate = self.learning_rate
        check(0 < rate < math.inf, "optimizer.learning_rate", "be positive", rate, "1e-3 suits adamw, 1e-2 sgd")
        check(0 <= self.momentum < 1, "optimizer.momentum", "lie in [0, 1)", self.momentum, "0.9 is usual")
        check(self.weight_decay >= 0, "optimizer.weight_decay", "be 0 or more", self.weight_decay, "0.05 suits adamw")
        warmup = self.warmup_epochs
        check(warmup is None or warmup >= 0, "optimizer.warmup_epochs", "be 0 or more", warmup, "null takes 5 %")
        check(0 < self.gamma <= 1, "optimizer.gamma", "lie in (0, 1]", self.gamma, "0.1 is usual")
        check(
            self.schedule != "steps" or bool(self.milestones),
            "optimizer.milestones",
            "name at least one epoch for the schedule 'steps'",
            self.milestones,
            "for 50 epochs, [20, 40] is usual",
        )
        idle = self.schedule != "steps" and bool(self.milestones)
        check(not idle, "optimizer.milestones", "be left out unless schedule is 'steps'", self.milestones, "drop them")


@dataclass(frozen=True, kw_only=True)
class TrainerRecipe:
    """How long, and on what."""

    epochs: int | None = None
    """Times that every training video is seen; null: as many as `min_steps` asks for, 10 at least."""
    min_steps: int | None = None
    """Optimization steps that a run has at least where `epochs` is null: little data is seen more often. Null: 300 from
    learned weights, 900 from random ones."""
    batch_size: int = 8
    """Clips of one step of the loader."""
    accumulate: int = 1
    """Batches whose gradients are added up before the weights move."""
    clip_norm: float | None = 5.0
    """Largest norm of the gradient; null: no limit."""
    precision: Precision | Literal["auto"] = "auto"
    """Arithmetic of training; `auto`: bfloat16 where the device computes in it, else 32 bits. Evaluation always runs in
    the weights' own precision."""
    accelerator: Accelerator = "auto"
    """Device: `auto` takes a GPU where there is one."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("min_steps", "batch_size", "accumulate"):
            number = getattr(self, name)
            check(
                number is None or number >= 1,
                f"trainer.{name}",
                "be at least 1",
                number,
                "leave it out for the default",
            )
        epochs, norm = self.epochs, self.clip_norm
        check(epochs is None or epochs >= 1, "trainer.epochs", "be at least 1", epochs, "null picks by the data's size")
        check(norm is None or norm > 0, "trainer.clip_norm", "be positive", norm, "null takes the limit away")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All numbers of a run."""

    seed: int = 0
    """Seed of the split, the initial weights, the order of the videos and the views."""
    out: str = "runs/train"
    """Folder for weights, checkpoints, logs and the full recipe."""
    data: DataRecipe = field(default_factory=DataRecipe)
    clip: ClipRecipe = field(default_factory=ClipRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    trainer: TrainerRecipe = field(default_factory=TrainerRecipe)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check(0 <= self.seed < 2**32, "seed", "lie in [0, 2**32)", self.seed, "0 is the default")
        check(bool(self.out), "out", "name a folder", self.out, "runs/train is the default")
        self.augment.check_batch(self.trainer.batch_size)


@dataclass(frozen=True, kw_only=True)
class EvaluationViews:
    """Where to look in each video."""

    num_clips: int = 1
    """Clips along time; their logits are averaged."""
    num_crops: int = 1
    """Crops in space of each clip: 1 is the centre, 3 stand along the long side, 5 in the corners and the centre; 10
    are these and their mirror images, for classes that no mirror changes."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """What is scored, and how."""

    split: Literal["auto", "train", "val", "test", "all"] = "auto"
    """Part of the data; `auto` takes the data's own `val`; or what training held out of this very data; or the data's
    `test`; or all of it."""
    batch_size: int = 8
    """Videos that are loaded at once."""
    accelerator: Accelerator = "auto"
    """Device: `auto` takes a GPU where there is one."""
    data: DataPlace = field(default_factory=DataPlace)
    views: EvaluationViews = field(default_factory=EvaluationViews)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check(self.batch_size >= 1, "batch_size", "be at least 1", self.batch_size, "8 is the default")
        check(
            bool(self.data.root), "data.root", "name the folder of the videos", self.data.root, "add --data.root FOLDER"
        )
