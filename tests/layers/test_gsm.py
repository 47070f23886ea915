from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.gsm import Gate, GateShift, interleave
from loops import gates_slowly
from networks import randomize_


def make_layer(channels: int, **options) -> GateShift:
    return randomize_(GateShift(nn.BatchNorm2d(channels).double(), **options), seed=2).eval()


def shifted_slowly(layer: GateShift, x: Tensor) -> Tensor:
    """The definition, channel by channel: x [N, T, C, H, W]."""
    num_frames, channels = x.shape[1], x.shape[2] // 4 * 4
    half, quarter = channels // 2, channels // 4
    conv = layer.gate.conv
    gates = gates_slowly(x[:, :, :channels], layer.gate.norm, conv.kernels, conv.bias, causal=layer.causal)
    out = x.clone()
    for t, c in product(range(num_frames), range(channels)):
        side = c // half
        source = t + 1 if side == 0 and not layer.causal else t - 1
        value = x[:, t, c] - gates[:, t, side] * x[:, t, c]
        if 0 <= source < num_frames:
            value = value + gates[:, source, side] * x[:, source, c]
        row, place = divmod(c - side * half, quarter)
        out[:, t, side * half + 2 * place + row] = value
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("channels", [8, 12, 4, 11])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_equals_the_definition(num_frames: int, channels: int, causal: bool):
    layer = make_layer(channels, num_frames=num_frames, causal=causal)
    x = torch.randn(2, num_frames, channels, 3, 4, dtype=torch.float64)

    with torch.no_grad():
        expected = layer.net(shifted_slowly(layer, x).flatten(0, 1))
        torch.testing.assert_close(layer(x.flatten(0, 1)), expected)


def test_open_gates_move_one_half_back_and_one_ahead_and_order_the_channels_anew():
    layer = GateShift(nn.BatchNorm2d(8, affine=False, eps=0.0), num_frames=3).eval()
    nn.init.constant_(layer.gate.conv.bias, 100.0)  # tanh is then one
    frames = torch.arange(1.0, 4.0).view(3, 1, 1, 1) + 10 * torch.arange(8.0).view(1, 8, 1, 1)

    y = layer(frames).view(3, 8)

    assert y[0].tolist() == [2, 22, 12, 32, 0, 0, 0, 0]
    assert y[1].tolist() == [3, 23, 13, 33, 41, 61, 51, 71]
    assert y[2].tolist() == [0, 0, 0, 0, 42, 62, 52, 72]


@pytest.mark.parametrize(
    ("channels", "order"),
    [(4, [0, 1, 2, 3]), (8, [0, 2, 1, 3, 4, 6, 5, 7]), (12, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11])],
)
def test_a_fresh_layer_orders_the_channels_anew_and_does_no_more(channels: int, order: list[int]):
    layer = GateShift(nn.Conv2d(channels, 3, 1), num_frames=5)
    x = torch.randn(10, channels, 4, 4)

    assert torch.equal(layer(x), layer.net(x[:, order]))


def test_a_fresh_layer_learns_to_move():
    layer = GateShift(nn.BatchNorm2d(8), num_frames=4)

    layer(torch.randn(8, 8, 3, 3)).pow(3).sum().backward()

    assert layer.gate.conv.weight.grad.abs().amax(dim=(1, 2, 3)).min() > 0
    assert layer.gate.conv.bias.grad.abs().min() > 0


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_right(causal: bool):
    layer = make_layer(8, num_frames=3, causal=causal)
    x = torch.randn(3, 8, 2, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [8, 10])
def test_the_memory_layout_is_kept(channels: int, memory_format: torch.memory_format):
    layer = GateShift(nn.BatchNorm2d(channels), num_frames=2).to(memory_format=memory_format)
    x = torch.randn(4, channels, 3, 5).contiguous(memory_format=memory_format)

    assert layer(x).is_contiguous(memory_format=memory_format)


def test_interleaving_is_the_same_in_both_memory_layouts():
    x = torch.randn(2, 16, 3, 5)

    assert torch.equal(interleave(x.contiguous(memory_format=torch.channels_last)), interleave(x))


def test_the_norm_of_frames_is_the_papers_norm_of_clips():
    gate, clips = Gate(8, causal=False), torch.randn(2, 8, 5, 3, 4)  # [N, C, T, H, W]
    norm = nn.BatchNorm3d(8)

    of_frames = gate.norm(clips.transpose(1, 2).flatten(0, 1))

    torch.testing.assert_close(of_frames.unflatten(0, (2, 5)).transpose(1, 2), norm(clips))
    torch.testing.assert_close(gate.norm.running_var, norm.running_var)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Identity(), "net must be a conv or a batch norm, got Identity; take another site"),
        (nn.BatchNorm2d(3), "net must take at least 4 channels, two for each half, got 3; take another site"),
    ],
)
def test_what_has_no_two_halves_is_refused(net: nn.Module, message: str):
    with pytest.raises(ValueError, match=message):
        GateShift(net, num_frames=4)
