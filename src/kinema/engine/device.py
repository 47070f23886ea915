"""What a machine computes on, and in which arithmetic and layout it trains fastest."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from kinema.engine.recipe import Accelerator, Precision, TrainerRecipe

Model = TypeVar("Model", bound=nn.Module)


def choose_device(accelerator: Accelerator) -> torch.device:
    """Returns the device that a name means here; `auto` takes a GPU where there is one.

    Raises:
        ValueError: If the device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available[accelerator]:
        raise ValueError(
            f"accelerator must be a device of this machine, got {accelerator!r}, which torch does not find; leave it "
            "out, or install a torch that supports the device"
        )
    return torch.device(accelerator)


def choose_precision(trainer: TrainerRecipe) -> Precision:
    """Returns the recipe's precision; for `auto`, bfloat16 where the device computes in it, else 32 bits.

    Where a device only emulates bfloat16, it is slower than 32 bits.

    Raises:
        ValueError: If the recipe asks for a device that is not there.
    """
    device = choose_device(trainer.accelerator).type
    if trainer.precision != "auto":
        return trainer.precision
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "mps":
        fast = False
    else:
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return "bf16-mixed" if fast else "32-true"


def to_channels_last(model: Model) -> Model:
    """Lays the weights of 2D convs out channels last, in place, which is faster to train; kernels over time stay."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return model
