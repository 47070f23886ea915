"""What a machine computes on, and in which arithmetic it trains fastest."""

from __future__ import annotations

import torch

from kinema.engine.recipe import Accelerator, Precision, TrainerRecipe


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
        ValueError: If the recipe asks for a device that is not there, or for what it cannot compute in.
    """
    device = choose_device(trainer.accelerator).type
    if device == "cpu" and trainer.precision == "16-mixed":
        raise ValueError(
            "trainer.precision must be one that a CPU trains in, got '16-mixed', which is for GPUs; take bf16-mixed"
        )
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
