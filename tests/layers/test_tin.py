from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.tin import TemporalInterlace
from networks import randomize_


def make_layer(channels: int, **options) -> TemporalInterlace:
    return randomize_(TemporalInterlace(nn.Conv2d(channels, 4, 1).double(), **options), seed=2).eval()


def moved_slowly(layer: TemporalInterlace, x: Tensor, channels: int) -> Tensor:
    """The official rule: floor the offset, and take from the two frames around it; x [N, T, C, H, W]."""
    num_frames = x.shape[1]
    out = x.clone()
    for n in range(len(x)):
        means = x[n, :, :channels].mean(dim=(2, 3))  # [T, F]
        for t, c in product(range(num_frames), range(channels)):
            group = c // (channels // 4)
            offset, weight = offset_slowly(layer, means, t, group), weight_slowly(layer, means, t, group % 2)
            whole = math.floor(offset)
            parts = {t - whole: 1 - (offset - whole), t - whole - 1: offset - whole}
            out[n, t, c] = weight * sum(
                part * x[n, source, c] for source, part in parts.items() if 0 <= source < num_frames
            )
    return out


def convolved_slowly(conv: nn.Conv1d, means: Tensor, t: int, *, causal: bool) -> Tensor:
    """A conv over three frames at frame t of means [T, F], which are zero outside: [Co]."""
    out = conv.bias
    for k in range(3):
        frame = t + k - (2 if causal else 1)
        if 0 <= frame < len(means):
            out = out + conv.weight[:, :, k] @ means[frame]
    return out


def offset_slowly(layer: TemporalInterlace, means: Tensor, t: int, group: int) -> float:
    net, num_frames = layer.offset_net, len(means)
    seen = range(t - num_frames + 1, t + 1) if layer.causal else range(num_frames)
    row = torch.stack([convolved_slowly(net.conv, means, frame, causal=layer.causal)[0] for frame in seen])
    logits = net.fc2.weight @ (net.fc1.weight @ row + net.fc1.bias).clamp(min=0) + net.fc2.bias
    offset = (4 * (1 / (1 + (-logits).exp()) - 0.5))[group % 2].item() * (1 if group < 2 else -1)
    return 1 + offset / 2 if layer.causal else offset


def weight_slowly(layer: TemporalInterlace, means: Tensor, t: int, group: int) -> float:
    logits = convolved_slowly(layer.weight_net.conv, means, t, causal=layer.causal)
    return (2 / (1 + (-logits).exp()))[group].item()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("channels", "num_divisions", "moving"), [(32, 4, 8), (8, 2, 4), (25, 4, 4), (8, 4, 4)])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_equals_the_definition(num_frames: int, channels: int, num_divisions: int, moving: int, causal: bool):
    layer = make_layer(channels, num_frames=num_frames, num_divisions=num_divisions, causal=causal)
    x = torch.randn(2, num_frames, channels, 3, 4, dtype=torch.float64)

    with torch.no_grad():
        expected = layer.net(moved_slowly(layer, x, moving).flatten(0, 1))
        torch.testing.assert_close(layer(x.flatten(0, 1)), expected)


def fixed_layer(*logits: float, causal: bool = False) -> TemporalInterlace:
    """One whose offsets are the same for every clip, with weights of one."""
    layer = TemporalInterlace(nn.Conv2d(16, 16, 1, bias=False), num_frames=5, causal=causal)
    nn.init.dirac_(layer.net.weight)
    for parameter in [*layer.offset_net.parameters(), *layer.weight_net.parameters()]:
        nn.init.zeros_(parameter)
    layer.offset_net.fc2.bias.data = torch.tensor(logits)
    return layer


THREE_QUARTERS = math.log(3.0)
"""Its sigmoid is 3/4, and so the offset 4 (3/4 - 1/2) = 1."""


@pytest.mark.parametrize(
    ("logits", "causal", "rows"),
    [
        # Offsets 1 and 2, then -1 and -2: back, and ahead.
        ((THREE_QUARTERS, 40.0), False, [[0, 1, 2, 3, 4], [0, 0, 1, 2, 3], [2, 3, 4, 5, 0], [3, 4, 5, 0, 0]]),
        # Offsets 0 and -1, then 0 and 1.
        ((0.0, -THREE_QUARTERS), False, [[1, 2, 3, 4, 5], [2, 3, 4, 5, 0], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4]]),
        # 1 + 1/2 and 1, then 1 - 1/2 and 1: all back.
        (
            (THREE_QUARTERS, 0.0),
            True,
            [[0, 0.5, 1.5, 2.5, 3.5], [0, 1, 2, 3, 4], [0.5, 1.5, 2.5, 3.5, 4.5], [0, 1, 2, 3, 4]],
        ),
    ],
)
def test_offsets_move_as_the_official_kernel_does(logits: tuple[float, ...], causal: bool, rows: list[list[float]]):
    frames = torch.arange(1.0, 6.0).view(5, 1, 1, 1).expand(5, 16, 2, 2)

    y = fixed_layer(*logits, causal=causal)(frames)[:, :, 0, 0]

    torch.testing.assert_close(y[:, :4].t(), torch.tensor(rows, dtype=torch.float32))
    assert torch.equal(y[:, 4:], frames[:, 4:, 0, 0])


def test_offsets_start_near_a_half_and_weights_near_one():
    layer = TemporalInterlace(nn.Conv2d(64, 4, 1), num_frames=8)
    means = torch.zeros(1, 16, 10)
    nn.init.zeros_(layer.offset_net.fc2.weight)

    assert torch.equal(layer.weight_net(means), torch.ones(1, 8, 2))
    torch.testing.assert_close(layer.offset_net(means), torch.full((1, 1, 2), 0.5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_right(causal: bool):
    layer = make_layer(9, num_frames=3, num_divisions=2, causal=causal)
    x = torch.randn(6, 9, 2, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_memory_layout_is_kept(memory_format: torch.memory_format):
    layer = TemporalInterlace(nn.BatchNorm2d(16), num_frames=2).to(memory_format=memory_format)
    x = torch.randn(4, 16, 3, 5).contiguous(memory_format=memory_format)

    assert layer(x).is_contiguous(memory_format=memory_format)


def test_a_stream_goes_on_after_t_frames():
    layer = make_layer(16, num_frames=4, causal=True)
    x = torch.randn(14, 16, 3, 3, dtype=torch.float64)

    state, frames = None, []
    for frame in x.split(1):
        y, state = layer.step(frame, state)
        frames.append(y)

    # The offset net sees T values of a conv over three frames.
    state = None
    for frame in x[-6:].split(1):
        y, state = layer.step(frame, state)
    torch.testing.assert_close(frames[-1], y)


def test_parameters_have_the_names_and_shapes_of_mmaction2s_weights():
    layer = TemporalInterlace(nn.Conv2d(64, 64, 1, bias=False), num_frames=8)

    assert {name: list(parameter.shape) for name, parameter in layer.named_parameters()} == {
        "net.weight": [64, 64, 1, 1],
        "offset_net.conv.weight": [1, 16, 3],
        "offset_net.conv.bias": [1],
        "offset_net.fc1.weight": [8, 8],
        "offset_net.fc1.bias": [8],
        "offset_net.fc2.weight": [2, 8],
        "offset_net.fc2.bias": [2],
        "weight_net.conv.weight": [2, 16, 3],
        "weight_net.conv.bias": [2],
    }


def test_its_own_number_of_frames_may_be_set_again_and_no_other():
    layer = TemporalInterlace(nn.Conv2d(16, 4, 1), num_frames=4)

    layer.set_num_frames(4)

    with pytest.raises(
        ValueError, match=r"num_frames must stay 4 in a TemporalInterlace, whose weights .*, got 8; sample"
    ):
        layer.set_num_frames(8)
    assert layer.num_frames == 4


@pytest.mark.parametrize(
    ("net", "num_divisions", "message"),
    [
        (nn.Identity(), 4, "net must be a conv with in_channels, got Identity; take the site entry"),
        (nn.Conv2d(3, 8, 1), 4, "net must take at least 4 channels, got 3; take another site"),
        (nn.Conv2d(16, 8, 1), 0, "num_divisions must be at least 1, got 0; 4 moves a quarter of the channels"),
    ],
)
def test_what_cannot_be_is_refused(net: nn.Module, num_divisions: int, message: str):
    with pytest.raises(ValueError, match=message):
        TemporalInterlace(net, num_frames=4, num_divisions=num_divisions)
