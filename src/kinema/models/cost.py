"""What a model costs: parameters, and multiply-adds as papers print them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from kinema.models.classifier import VideoClassifier


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one view, a clip of T frames."""

    parameters: int
    """Trainable numbers."""
    macs: int
    """Multiply-adds of convolutions and matrix products, which papers on video print as FLOPs."""
    num_frames: int
    """Frames T of the clip."""
    size: int
    """Height and width of a frame, in pixels."""

    @property
    def params(self) -> int:
        """The same as `parameters`."""
        return self.parameters

    @property
    def flops(self) -> int:
        """Operations: two for each multiply-add."""
        return 2 * self.macs

    def __str__(self) -> str:
        """Says it in a line."""
        return (
            f"{self.parameters / 1e6:.2f} M parameters, {self.macs / 1e9:.2f} G multiply-adds "
            f"for {self.num_frames} frames of {self.size} x {self.size}"
        )


def cost(model: VideoClassifier, *, size: int | None = None) -> Cost:
    """Counts without computing: shapes only, on torch's meta device; layers run their plain way.

    Args:
        model: The model; it is left as it is.
        size: Height and width of a frame; by default the crop of the model's spec.

    Returns:
        The cost of one clip.
    """
    size = size or model.spec.crop
    shapes = {name: tensor.to("meta") for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    config = model.config
    clip = torch.empty(1, config.num_frames, config.in_channels, size, size, device="meta")
    with _plain_and_evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(model, shapes, (clip.to(next(model.parameters()).dtype),))
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=counter.get_total_flops() // 2,
        num_frames=config.num_frames,
        size=size,
    )


@contextmanager
def _plain_and_evaluating(model: nn.Module) -> Iterator[None]:
    """Switches every module to evaluation and to its plain way, and back."""
    modules: list[Any] = list(model.modules())
    before = [(module.training, getattr(module, "way", None)) for module in modules]
    try:
        for module in modules:
            module.training = False
            if hasattr(module, "way"):
                module.way = "plain"
        yield
    finally:
        for module, (training, way) in zip(modules, before, strict=True):
            module.training = training
            if way is not None:
                module.way = way
