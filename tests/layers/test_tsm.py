from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.sth import STHConv
from kinema.layers.tsm import TemporalShift


def shifted_slowly(x: Tensor, *, fold: int, causal: bool) -> Tensor:
    """The definition, one number at a time: x [N, T, C]."""
    y = torch.zeros_like(x)
    for n in range(x.shape[0]):
        for t in range(x.shape[1]):
            for c in range(x.shape[2]):
                source = t
                if c < fold:
                    source = t - 1 if causal else t + 1
                elif c < 2 * fold and not causal:
                    source = t - 1
                y[n, t, c] = x[n, source, c] if 0 <= source < x.shape[1] else 0.0
    return y


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("channels", "num_divisions"), [(16, 8), (16, 4), (19, 8), (5, 8), (6, 2)])
@pytest.mark.parametrize("num_frames", [1, 2, 7])
def test_equals_the_definition(channels: int, num_divisions: int, num_frames: int, causal: bool):
    x = torch.randn(2, num_frames, channels)
    layer = TemporalShift(nn.Identity(), num_frames=num_frames, num_divisions=num_divisions, causal=causal)

    y = layer(x.view(-1, channels, 1, 1)).view_as(x)

    assert torch.equal(y, shifted_slowly(x, fold=channels // num_divisions, causal=causal))


def test_first_channels_look_ahead_and_second_ones_back():
    frames = torch.arange(1.0, 5.0).view(4, 1, 1, 1).expand(4, 8, 1, 1)

    y = TemporalShift(nn.Identity(), num_frames=4)(frames).view(4, 8)

    assert y[:, 0].tolist() == [2, 3, 4, 0]
    assert y[:, 1].tolist() == [0, 1, 2, 3]
    assert y[:, 2].tolist() == [1, 2, 3, 4]


def test_online_only_the_first_eighth_moves_and_it_looks_back():
    frames = torch.arange(1.0, 5.0).view(4, 1, 1, 1).expand(4, 8, 1, 1)

    y = TemporalShift(nn.Identity(), num_frames=4, causal=True)(frames).view(4, 8)

    assert y[:, 0].tolist() == [0, 1, 2, 3]
    assert y[:, 1].tolist() == [1, 2, 3, 4]


def test_equals_a_depthwise_conv_with_one_hot_kernels():
    x = torch.randn(3, 6, 16, 4, 4)
    kernels = torch.zeros(16, 1, 3, 1, 1)
    kernels[:2, :, 2], kernels[2:4, :, 0], kernels[4:, :, 1] = 1.0, 1.0, 1.0

    expected = nn.functional.conv3d(x.transpose(1, 2), kernels, padding=(1, 0, 0), groups=16).transpose(1, 2)

    assert torch.equal(TemporalShift(nn.Identity(), num_frames=6)(x.flatten(0, 1)), expected.flatten(0, 1))


def test_the_wrapped_conv_keeps_its_weights_under_the_official_name():
    conv = nn.Conv2d(8, 4, 1, bias=False)

    layer = TemporalShift(conv, num_frames=4)

    assert list(layer.state_dict()) == ["net.weight"]
    assert layer.net is conv


def test_the_input_is_left_alone():
    x = torch.randn(8, 16, 2, 2)
    before = x.clone()

    TemporalShift(nn.Identity(), num_frames=4)(x)

    assert torch.equal(x, before)


def test_a_layer_inside_steps_along():
    inner = STHConv(nn.Conv2d(8, 8, 3, padding=1), num_frames=4, causal=True)
    layer = TemporalShift(inner, num_frames=4, causal=True)
    x = torch.randn(2, 4, 8, 5, 5)

    state, frames = None, []
    for frame in x.unbind(dim=1):
        y, state = layer.step(frame, state)
        frames.append(y)

    torch.testing.assert_close(torch.stack(frames, dim=1).flatten(0, 1), layer(x.flatten(0, 1)))


def test_two_folds_must_fit():
    with pytest.raises(ValueError, match="num_divisions must be at least 2, got 1"):
        TemporalShift(nn.Identity(), num_frames=4, num_divisions=1)


def test_a_division_so_fine_that_nothing_moves_is_refused():
    conv = nn.Conv2d(16, 4, 1)
    TemporalShift(conv, num_frames=8, num_divisions=16)
    with pytest.raises(ValueError, match="num_divisions must be at most the channels that come in, 16, got 17"):
        TemporalShift(conv, num_frames=8, num_divisions=17)
