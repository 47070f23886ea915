"""Gives each tensor of one of our models its own out of a foreign file, or says which one does not fit.

Shapes: C channels, D = C / 2 inner channels of Non-local.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.models.files.read import shown
from kinema.models.foreign.findings import Findings
from kinema.models.foreign.layouts import POOL, Layout, Renames, mobilenet_names

TRUNK = "backbone."
"""Prefix of the 2D network's tensors in our models."""
COUNTER = "num_batches_tracked"
"""Counts the batches that a batch norm has seen; nothing depends on it here, and some files are without it."""
NORM_EPS = 1e-5
"""What a batch norm adds to the variance."""


@dataclass(frozen=True)
class Fitted:
    """The tensors of a model, out of a file."""

    state: dict[str, Tensor]
    """By our names."""
    used: tuple[str, ...]
    """The file's names of what went in."""
    filled: tuple[str, ...]
    """Our names of what the file does not have, and need not."""


def file_names(keys: Iterable[str], layout: Layout, findings: Findings, *, head: str) -> dict[str, str]:
    """Returns what a layout calls the tensors of our model: our name -> the file's, without a `module.` in front."""
    names = {key: f"{head}.{key.removeprefix('head.')}" for key in keys if key.startswith("head.")}
    marked = findings.temporal != ("none",)  # a shift that the file's names do not show leaves no mark in ours either
    trunk = {
        key: key.removeprefix(TRUNK) if marked else key.removeprefix(TRUNK).replace(".net.", ".")
        for key in keys
        if key.startswith(TRUNK)
    }
    if layout.family != "resnet":
        modules = mobilenet_names(layout.family, findings.shifted)
        parts = {key: name.rpartition(".") for key, name in trunk.items()}
        return names | {key: f"{layout.trunk}{modules[module]}.{last}" for key, (module, _, last) in parts.items()}
    renames = (layout.nonlocal_renames if findings.nonlocals else ()) + layout.renames
    renames += POOL if findings.temporal_pool else ()
    pooled = "0." if findings.pooled_attention else ""
    return names | {
        key: layout.trunk + _renamed(name, renames).replace("{pooled}", pooled) for key, name in trunk.items()
    }


def fit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Fitted:
    """Finds every tensor of a model in a file.

    Args:
        own: The model's, for their shapes and types.
        tensors: The file's, by its own names.
        names: Our name -> the file's.

    Returns:
        The tensors for the model.

    Raises:
        ValueError: If one is missing or has another shape; with the file's name of it.
    """
    state: dict[str, Tensor] = {}
    filled, missing = [], []
    for key, wanted in own.items():
        name = names[key]
        if name in tensors:
            state[key] = _shaped(key, wanted, name, tensors[name])
        elif (stand_in := _stand_in(key, wanted, names, tensors)) is not None:
            state[key] = stand_in
            filled.append(key)
        else:
            missing.append(name)
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ValueError(
            f"{shown(missing[0])} must be among the file's tensors, got none of that name{more}; the file is of "
            "another network, or was cut"
        )
    return Fitted(state, tuple(names[key] for key in state if key not in filled), tuple(filled))


def scale_attention(state: Mapping[str, Tensor], blocks: Iterable[str]) -> None:
    """Puts a division of scores by the root of D into the weights that they come from, in place."""
    for block in blocks:
        weight = state[f"{TRUNK}{block}.theta.weight"]
        for key in ("weight", "bias"):
            state[f"{TRUNK}{block}.theta.{key}"].mul_(len(weight) ** -0.5)


def _renamed(name: str, renames: Renames) -> str:
    for pattern, theirs in renames:
        name = re.sub(pattern, theirs, name)
    return name


def _shaped(key: str, wanted: Tensor, name: str, tensor: Tensor) -> Tensor:
    """Returns a tensor in the shape and type of ours; a 1 x 1 x 1 conv of a Non-local block is a 1 x 1 conv."""
    is_point = re.search(r"\.(theta|phi|g|out)\.weight$", key) is not None
    if is_point and tensor.ndim == wanted.ndim + 1 and tensor.shape[2:] == (1, 1, 1):
        tensor = tensor.squeeze(2)
    if tensor.shape != wanted.shape:
        raise ValueError(
            f"{shown(name)} must have shape {list(wanted.shape)}, as {key} has, got {list(tensor.shape)}; the file is "
            "of another network or of other options"
        )
    if wanted.is_floating_point() and not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ValueError(
            f"{shown(name)} must hold floating-point numbers, got {kind}; take the weights from before they were "
            "quantized"
        )
    return tensor.to(wanted.dtype, copy=True).contiguous()


def _stand_in(key: str, wanted: Tensor, names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Makes what a file may leave out: counters, and in mmcv's Non-local blocks the bias or the norm behind them."""
    module, _, last = key.rpartition(".")
    if last == COUNTER:
        return torch.zeros((), dtype=wanted.dtype)
    if not re.search(r"\.(out|norm)$", module) or not module.startswith(f"{TRUNK}layer"):
        return None
    block = module.rpartition(".")[0]
    has_norm = names[f"{block}.norm.weight"] in tensors
    if last == "bias" and module.endswith(".out") and has_norm:
        return torch.zeros(wanted.shape)
    if module.endswith(".norm") and not has_norm:  # a norm that changes nothing
        value = {"weight": 1.0, "running_var": 1.0 - NORM_EPS}.get(last, 0.0)
        return torch.full(wanted.shape, value)
    return None
