from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.tam import TemporalAdaptive
from kinema.layers.tsm import TemporalShift
from loops import normalized_slowly
from networks import randomize_


def make_layer(channels: int = 8, *, net: nn.Module | None = None, **options) -> TemporalAdaptive:
    net = nn.Conv2d(channels, 4, 1) if net is None else net
    return randomize_(TemporalAdaptive(net.double(), **options), seed=2).eval()


def adapted_slowly(layer: TemporalAdaptive, x: Tensor) -> Tensor:
    """The paper's two branches and its adaptive convolution over time, clip by clip; x [N, T, C, H, W]."""
    n_frames, channels = x.shape[1:3]
    first = -2 if layer.causal else -1
    y = torch.zeros_like(x)
    for n in range(x.shape[0]):
        means = x[n].mean(dim=(2, 3))  # [T, C]
        weights = local_slowly(layer, means, first)
        for c, t in product(range(channels), range(n_frames)):
            seen = means[:, c]
            if layer.causal:  # the T means up to t, with zeros before the clip
                seen = torch.cat([torch.zeros(n_frames - 1 - t, dtype=x.dtype), means[: t + 1, c]])
            hidden = normalized_slowly(layer.G[0].weight @ seen, layer.G[1], axis=0).clamp(min=0)
            exponentials = (layer.G[3].weight @ hidden).exp()
            kernel = exponentials / exponentials.sum()
            for k in range(3):
                if 0 <= t + first + k < n_frames:
                    y[n, t, c] += kernel[k] * weights[t + first + k, c] * x[n, t + first + k, c]
    return y


def local_slowly(layer: TemporalAdaptive, means: Tensor, first: int) -> Tensor:
    """The local branch: means [T, C] to weights [T, C]."""
    n_frames = len(means)
    rows = []
    for t in range(n_frames):
        hidden = sum(
            layer.L[0].weight[:, :, k] @ means[t + first + k] for k in range(3) if 0 <= t + first + k < n_frames
        )
        hidden = normalized_slowly(hidden, layer.L[1], axis=0).clamp(min=0)
        rows.append(1 / (1 + (-(layer.L[3].weight[:, :, 0] @ hidden)).exp()))
    return torch.stack(rows)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("num_frames", [1, 2, 5, 8])
def test_equals_the_definition(num_frames: int, causal: bool):
    layer = make_layer(num_frames=num_frames, causal=causal)
    x = torch.randn(2, num_frames, 8, 3, 5, dtype=torch.float64)

    with torch.no_grad():
        expected = layer.net(adapted_slowly(layer, x).flatten(0, 1))
        torch.testing.assert_close(layer(x.flatten(0, 1)), expected)


@pytest.mark.parametrize("net", [nn.Conv2d(6, 8, 3, stride=2), nn.Conv2d(6, 6, 3, padding=1, groups=6)])
def test_equals_the_definition_before_any_conv(net: nn.Conv2d):
    layer = make_layer(net=net, num_frames=3)
    x = torch.randn(1, 3, 6, 5, 5, dtype=torch.float64)

    with torch.no_grad():
        torch.testing.assert_close(layer(x[0]), layer.net(adapted_slowly(layer, x)[0]))


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_right(causal: bool):
    layer = make_layer(net=nn.Conv2d(8, 3, 3, padding=1, stride=2), num_frames=3, causal=causal)
    x = torch.randn(3, 8, 3, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_parameters_have_the_official_weights_names_and_shapes():
    layer = TemporalAdaptive(nn.Conv2d(16, 16, 3, bias=False), num_frames=8)

    assert {name: list(parameter.shape) for name, parameter in layer.named_parameters()} == {
        "net.weight": [16, 16, 3, 3],
        "G.0.weight": [16, 8],
        "G.1.weight": [16],
        "G.1.bias": [16],
        "G.3.weight": [3, 16],
        "L.0.weight": [4, 16, 3],
        "L.1.weight": [4],
        "L.1.bias": [4],
        "L.3.weight": [16, 4, 1],
    }


@pytest.mark.parametrize("num_frames", [1, 4])
def test_a_stream_goes_on_after_t_frames(num_frames: int):
    layer = make_layer(num_frames=num_frames, causal=True)
    x = torch.randn(12, 8, 3, 3, dtype=torch.float64)

    state, frames = None, []
    for frame in x.split(1):
        y, state = layer.step(frame, state)
        frames.append(y)

    # Kernels and weights see the last T means, or three, and kernels the last three weighted frames.
    reach = max(num_frames, 3) + 2
    state = None
    for frame in x[-reach:].split(1):
        y, state = layer.step(frame, state)
    torch.testing.assert_close(frames[-1], y)


def test_channels_are_found_behind_other_layers():
    layer = TemporalAdaptive(TemporalShift(nn.Conv2d(8, 4, 1), num_frames=4), num_frames=4)

    assert layer.L[0].in_channels == 8


def test_its_own_number_of_frames_may_be_set_again_and_no_other():
    layer = TemporalAdaptive(nn.Conv2d(8, 4, 1), num_frames=4)

    layer.set_num_frames(4)

    with pytest.raises(
        ValueError, match=r"num_frames must stay 4 in a TemporalAdaptive, whose weights .*, got 8; sample"
    ):
        layer.set_num_frames(8)
    assert layer.num_frames == 4


def test_what_is_no_conv_is_refused():
    with pytest.raises(ValueError, match="net must be a conv with in_channels, got ReLU; take the site spatial"):
        TemporalAdaptive(nn.ReLU(), num_frames=4)
