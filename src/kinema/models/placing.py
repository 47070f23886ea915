"""Builds a temporal layer from what stands at a site, and says what then stands there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from kinema.layers.plain_norm import plain_batch_norm
from kinema.models.sites import Site, standing_at


def replacements_at(backbone: nn.Module, site: Site, build: Callable[..., Any], *, wraps: bool) -> dict[str, nn.Module]:
    """Builds a layer; the backbone is left as it is.

    Args:
        backbone: A network.
        site: Where the layer is to stand: one module, a conv and its batch norm, or the modules of a split.
        build: Makes the layer from the one module, or from the conv and a plain batch norm; from the modules of a split
            what stands in the place of each.
        wraps: Whether it stands around other layers that are there, or is built from what they stand around.

    Returns:
        Dotted path -> the module to put there: the layer, and what a batch norm that went into it leaves behind.

    Raises:
        ValueError: If the layer refuses what stands there; the sentence begins with the path.
    """
    path = site.paths[0]
    place, module = (path, backbone.get_submodule(path)) if wraps else standing_at(backbone, path)
    try:
        if site.is_split:
            return _around_split(backbone, site, build)
        if len(site.paths) == 1:
            return {place: build(module).train(module.training)}
        norm, rest = split_norm(backbone.get_submodule(site.paths[1]))
        training = norm.training  # a frozen norm stays frozen
        layer = build(module, norm).train(module.training)
        norm.train(training)
        return {place: layer, site.paths[1]: rest.train(training)}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _around_split(backbone: nn.Module, site: Site, build: Callable[..., Any]) -> dict[str, nn.Module]:
    modules = [backbone.get_submodule(path) for path in site.paths]
    modes = [module.training for module in modules]
    built: tuple[nn.Module, ...] = build(*modules)
    return {path: one.train(mode) for path, one, mode in zip(site.paths, built, modes, strict=True)}


def split_norm(norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Takes the batch norm out of a module that may do more.

    Args:
        norm: A BatchNorm2d, or timm's BatchNormAct2d, which also drops and activates.

    Returns:
        A plain batch norm with the same parameters and statistics, and what is left of the module without it.

    Raises:
        ValueError: If it is no batch norm.
    """
    if type(norm) in (nn.BatchNorm2d, nn.SyncBatchNorm):
        return norm, nn.Identity()
    if type(norm) is not BatchNormAct2d:
        raise ValueError(
            f"norm must be a batch norm, got {type(norm).__name__}; take a backbone with batch norms, or another layer"
        )
    return plain_batch_norm(norm, channels=norm.num_features), nn.Sequential(OrderedDict(drop=norm.drop, act=norm.act))
