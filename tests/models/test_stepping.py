"""Layers around a block run frame by frame with the layers inside it."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from timm.models.resnet import Bottleneck
from torch import nn

from kinema.layers.contract import TemporalLayer
from kinema.models.temporalize import temporalize
from networks import randomize_

T = 4


def causal_block(order: list[str], **options: object) -> TemporalLayer:
    """The layer around the only block of a network."""
    network = nn.Sequential(OrderedDict(layer1=nn.Sequential(Bottleneck(16, 4))))
    temporalize(network, order, num_frames=T, causal=True, **options)
    layer = randomize_(network).double().eval()[0][0]
    assert isinstance(layer, TemporalLayer)
    return layer


@pytest.mark.parametrize("num_clips", [1, 4])
@pytest.mark.parametrize("order", [["tsm", "nonlocal"], ["tam", "tsm", "motionsqueeze"], ["tdn", "nonlocal"]])
def test_steps_reach_the_layers_inside_a_block(order: list[str], num_clips: int):
    layer = causal_block(order)
    x = torch.randn(num_clips, T, 16, 6, 5, dtype=torch.float64)

    state, frames = None, []
    for frame in x.unbind(dim=1):
        y, state = layer.step(frame, state)
        frames.append(y)

    torch.testing.assert_close(torch.stack(frames, dim=1).flatten(0, 1), layer(x.flatten(0, 1)))


def test_a_step_leaves_the_state_and_the_layers_as_they_were():
    layer = causal_block(["tsm", "nonlocal"])
    first, second = torch.randn(2, 3, 16, 6, 5, dtype=torch.float64)
    whole = torch.randn(T, 16, 6, 5, dtype=torch.float64)
    before = layer(whole)
    _, state = layer.step(first)

    once, _ = layer.step(second, state)
    again, _ = layer.step(second, state)

    assert torch.equal(once, again)
    assert torch.equal(layer(whole), before)


def test_a_step_that_fails_leaves_the_layers_as_they_were():
    layer = causal_block(["tsm", "nonlocal"])

    with pytest.raises(RuntimeError):
        layer.step(torch.zeros(1, 5, 6, 5, dtype=torch.float64))

    assert all("forward" not in vars(module) for module in layer.modules())
