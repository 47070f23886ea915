"""Small networks for the tests, with nothing in them that hides a fault."""

from __future__ import annotations

import math

import torch
from torch import nn

from kinema.layers.nonlocal_block import NonLocal
from kinema.layers.sth import STHConv
from kinema.layers.tadaconv import Route


def randomize_(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draws every parameter and batch-norm statistic anew, none zero or constant, and keeps activations in range.

    A fresh network hides faults: timm zeroes the last batch norm of each block, attention starts as a constant, and a
    fresh head gives logits near zero.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, std: float, mean: float = 0.0) -> None:
        tensor.copy_(mean + std * torch.randn(tensor.shape, generator=generator))

    scales: dict[nn.Module, float] = {}
    for module in model.modules():
        if isinstance(module, Route):  # it scales the features that it comes from, which would explode with depth
            scales[module.expand] = 0.01
        if isinstance(module, NonLocal):  # great scores would make of softmax a choice of one
            scales |= {module.theta: 0.3, module.phi: 0.3}
    with torch.no_grad():
        for module in model.modules():
            is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            for name, parameter in module.named_parameters(recurse=False):
                if is_norm and name == "weight":
                    normal(parameter, 0.1, mean=0.7)
                elif parameter.ndim < 2:
                    normal(parameter, 0.2)
                elif isinstance(module, STHConv):  # its parameters hold one basic kernel a row
                    normal(parameter, math.sqrt(2.0 * module.groups / (module.in_channels * parameter[0].numel())))
                else:
                    normal(parameter, scales.get(module, 1.0) * math.sqrt(2.0 / parameter[0].numel()))
            if is_norm and module.running_mean is not None:
                normal(module.running_mean, 0.2)
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return model
