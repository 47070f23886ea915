from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.gsf import GateShiftFuse
from kinema.layers.gsm import GateShift
from loops import gates_slowly
from networks import randomize_


def make_layer(channels: int, **options) -> GateShiftFuse:
    return randomize_(GateShiftFuse(nn.BatchNorm2d(channels).double(), **options), seed=2).eval()


def fused_slowly(layer: GateShiftFuse, x: Tensor, channels: int) -> Tensor:
    """The definition, channel by channel: x [N, T, C, H, W], of which the first channels are gated."""
    num_frames, half, quarter = x.shape[1], channels // 2, channels // 4
    conv = layer.gate.conv
    gates = gates_slowly(x[:, :, :channels], layer.gate.norm, conv.kernels, conv.bias, causal=layer.causal)
    moved, kept = torch.zeros_like(x[:, :, :channels]), torch.zeros_like(x[:, :, :channels])
    for t, c in product(range(num_frames), range(channels)):
        side = c // half
        source = t + 1 if side == 0 and not layer.causal else t - 1
        kept[:, t, c] = x[:, t, c] - gates[:, t, side] * x[:, t, c]
        if 0 <= source < num_frames:
            moved[:, t, c] = gates[:, source, side] * x[:, source, c]
    out = x.clone()
    for t, c in product(range(num_frames), range(channels)):
        side = c // half
        weight = weight_slowly(layer, moved, kept, t, c)
        row, place = divmod(c - side * half, quarter)
        out[:, t, side * half + 2 * place + row] = weight * moved[:, t, c] + (1 - weight) * kept[:, t, c]
    return out


def weight_slowly(layer: GateShiftFuse, moved: Tensor, kept: Tensor, t: int, c: int) -> Tensor:
    """Weighs one channel of one frame by its neighbours in its half, and the frames around it: [N, 1, 1]."""
    num_frames, half = moved.shape[1], moved.shape[2] // 2
    side = c // half
    logits = layer.fusion.conv.bias[side].repeat(len(moved))
    for number, features in enumerate((moved, kept)):
        for i, k in product(range(3), range(3)):
            channel, frame = c + i - 1, t + k - (2 if layer.causal else 1)
            if channel // half == side and 0 <= frame < num_frames:
                kernel = layer.fusion.conv.weight[side, number, i, k]
                logits = logits + kernel * features[:, frame, channel].mean(dim=(1, 2))
    return (1 / (1 + (-logits).exp()))[:, None, None]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("channels", "fraction", "gated"), [(32, 0.25, 8), (8, 1.0, 8), (9, 1.0, 8), (24, 0.25, 8)])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_equals_the_definition(num_frames: int, channels: int, fraction: float, gated: int, causal: bool):
    layer = make_layer(channels, num_frames=num_frames, causal=causal, fraction=fraction)
    x = torch.randn(2, num_frames, channels, 3, 4, dtype=torch.float64)

    with torch.no_grad():
        expected = layer.net(fused_slowly(layer, x, gated).flatten(0, 1))
        torch.testing.assert_close(layer(x.flatten(0, 1)), expected)


@pytest.mark.parametrize(
    ("channels", "fraction", "gated"),
    [(256, 0.25, 64), (64, 0.25, 16), (24, 0.25, 8), (4, 0.25, 4), (7, 1.0, 4), (100, 0.01, 4), (40, 0.5, 20)],
)
def test_the_gated_channels_are_a_multiple_of_four(channels: int, fraction: float, gated: int):
    layer = GateShiftFuse(nn.BatchNorm2d(channels), num_frames=2, fraction=fraction)

    assert layer.gate.channels == gated


def test_equal_weights_give_half_of_gsm():
    net = nn.BatchNorm2d(8, affine=False, eps=0.0).eval()  # the identity
    layer, gsm = GateShiftFuse(net, num_frames=3, fraction=1.0).eval(), GateShift(net, num_frames=3).eval()
    gsm.gate.load_state_dict(layer.gate.state_dict())
    for parameter in layer.fusion.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(6, 8, 3, 3)

    torch.testing.assert_close(layer(x), gsm(x) / 2)


def test_a_fresh_layer_has_open_gates_and_sees_order():
    layer = GateShiftFuse(nn.BatchNorm2d(16), num_frames=3).eval()
    x = torch.randn(3, 16, 3, 3)

    assert layer.gate.conv.weight.abs().min() > 0
    assert not torch.allclose(layer(x.flip(0)).flip(0), layer(x), atol=1e-3)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_right(causal: bool):
    layer = make_layer(10, num_frames=3, causal=causal, fraction=0.8)
    x = torch.randn(3, 10, 2, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_memory_layout_is_kept(fraction: float, memory_format: torch.memory_format):
    layer = GateShiftFuse(nn.BatchNorm2d(8), num_frames=2, fraction=fraction).to(memory_format=memory_format)
    x = torch.randn(4, 8, 3, 5).contiguous(memory_format=memory_format)

    assert layer(x).is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("fraction", [0.0, -0.25, 1.5])
def test_fractions_out_of_range_are_refused(fraction: float):
    with pytest.raises(ValueError, match=r"fraction must be above 0 and at most 1, got .*; a quarter is usual"):
        GateShiftFuse(nn.BatchNorm2d(8), num_frames=4, fraction=fraction)
