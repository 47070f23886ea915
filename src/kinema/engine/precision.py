"""Which arithmetic a machine trains fastest in."""

from __future__ import annotations

import torch

from kinema.engine.recipe import Precision, TrainerRecipe


def choose_precision(trainer: TrainerRecipe) -> Precision:
    """Returns the recipe's precision; for `auto`, bfloat16 where the device computes in it, else 32 bits.

    Where a device only emulates bfloat16, it is slower than 32 bits.

    Raises:
        ValueError: If the recipe asks for a device that is not there.
    """
    absent = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if absent.get(trainer.accelerator):
        raise ValueError(
            f"trainer.accelerator must be a device of this machine, got {trainer.accelerator!r}, which torch does not "
            "find; leave it out, or install a torch that supports the device"
        )
    if trainer.precision != "auto":
        return trainer.precision
    if trainer.accelerator in ("auto", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif trainer.accelerator == "mps" or (trainer.accelerator == "auto" and torch.backends.mps.is_available()):
        fast = False
    else:
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return "bf16-mixed" if fast else "32-true"
