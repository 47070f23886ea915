"""The modes of a model's modules, training or evaluation: changed for a while, and put back one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def restored_modes(model: nn.Module) -> Iterator[None]:
    """Puts each module back into the mode that it was in; frozen parts of a model may differ from the rest."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode for a while."""
    with restored_modes(model):
        model.eval()
        yield
