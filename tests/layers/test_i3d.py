from __future__ import annotations

import pytest
import torch
from torch import nn

from kinema.layers.i3d import InflatedConv
from loops import conv3d_slowly
from networks import randomize_

CONVS = {
    "1 x 1": {"kernel_size": 1, "bias": False},
    "3 x 3": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "unpadded": {"kernel_size": (3, 2)},
    "dilated and grouped": {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
    "depthwise": {"kernel_size": 3, "padding": 1, "groups": 4},
}


@pytest.mark.parametrize("temporal_size", [1, 3, 5])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", CONVS)
def test_equals_the_definition(kind: str, causal: bool, temporal_size: int):
    conv = nn.Conv2d(4, 8, **CONVS[kind]).double()
    layer = randomize_(InflatedConv(conv, num_frames=3, causal=causal, temporal_size=temporal_size))
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)

    with torch.no_grad():
        y = layer(x.flatten(0, 1)).unflatten(0, (2, 3))
        expected = conv3d_slowly(x, layer.conv.kernels, conv, causal=causal)
        torch.testing.assert_close(y, expected if conv.bias is None else expected + layer.conv.bias.view(-1, 1, 1))


@pytest.mark.parametrize("num_frames", [1, 3])
def test_gradients_are_right(num_frames: int):
    conv = nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=2).double()
    layer = randomize_(InflatedConv(conv, num_frames=num_frames))
    x = torch.randn(num_frames, 4, 4, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize(("causal", "inner"), [(False, slice(1, 4)), (True, slice(2, 5))])
def test_a_clip_of_equal_frames_gives_what_the_2d_conv_gives(causal: bool, inner: slice):
    conv = nn.Conv2d(4, 8, 3, padding=1).double()
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)

    y = InflatedConv(conv, num_frames=5, causal=causal)(x.expand(5, -1, -1, -1))

    torch.testing.assert_close(y[inner], conv(x).expand(3, -1, -1, -1))
    assert not torch.allclose(y[0], conv(x)[0])  # at the ends a kernel sees zeros


@pytest.mark.parametrize("causal", [False, True])
def test_inflated_at_the_centre_it_starts_as_the_2d_conv(causal: bool):
    conv = nn.Conv2d(4, 8, 3, padding=1, stride=2)
    x = torch.randn(8, 4, 6, 6)

    torch.testing.assert_close(InflatedConv(conv, num_frames=4, causal=causal, start="centre")(x), conv(x))


def test_the_2d_conv_is_left_alone():
    conv = nn.Conv2d(4, 8, 3)
    before = conv.weight.clone()

    with torch.no_grad():
        InflatedConv(conv, num_frames=4, start="centre").conv.weight.zero_()

    assert torch.equal(conv.weight, before)


@pytest.mark.parametrize(
    ("conv", "options", "sentence"),
    [
        (nn.Linear(4, 4), {}, "conv must be an nn.Conv2d, got Linear; choose another site"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), {}, "conv must be padded with zeros, got padding_mode"),
        (nn.Conv2d(4, 4, 3), {"temporal_size": 2}, "temporal_size must be odd and at least 1, got 2; 3 is usual"),
        (nn.Conv2d(4, 4, 3), {"temporal_size": -1}, "temporal_size must be odd and at least 1, got -1"),
        (nn.Conv2d(4, 4, 3), {"start": "center"}, "start must be repeat or centre, got 'center'"),
    ],
)
def test_what_cannot_be_inflated_is_refused(conv: nn.Module, options: dict[str, object], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        InflatedConv(conv, num_frames=4, **options)


def test_what_was_frozen_stays_frozen():
    layer = InflatedConv(nn.Conv2d(4, 4, 3).requires_grad_(False), num_frames=2)
    assert not any(parameter.requires_grad for parameter in layer.parameters())
