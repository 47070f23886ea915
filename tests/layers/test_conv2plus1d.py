from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.conv2plus1d import ParallelConv2Plus1D, SequentialConv2Plus1D
from loops import conv2d_slowly, conv3d_slowly
from networks import randomize_

FORMS = [SequentialConv2Plus1D, ParallelConv2Plus1D]
CONVS = {
    "plain": {"kernel_size": 3, "padding": 1, "bias": False},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "unpadded": {"kernel_size": 3, "stride": 2},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "depthwise": {"kernel_size": 3, "padding": 1, "stride": 2, "groups": 4},
    "5 x 2": {"kernel_size": (5, 2), "padding": (2, 1)},
    "padded beyond its kernel": {"kernel_size": 1, "padding": 1, "stride": 2},
}


def make_layer(form: type, *, seed: int = 5, **options) -> SequentialConv2Plus1D | ParallelConv2Plus1D:
    settings = {"in_channels": 4, "out_channels": 8, **options.pop("conv")}
    return randomize_(form(nn.Conv2d(**settings).double(), **options), seed=seed)


def defined_slowly(layer: SequentialConv2Plus1D | ParallelConv2Plus1D, x: Tensor) -> Tensor:
    """Table 7's two forms: the conv over time after the conv of each frame, or at its centre and beside it."""
    conv, weight = layer.conv, layer.temporal.kernels.detach()
    one = nn.Conv2d(1, 1, 1, groups=1)
    one.groups = conv.groups
    spatial = conv2d_slowly(x, conv)
    if isinstance(layer, SequentialConv2Plus1D):
        return conv3d_slowly(spatial, weight, one, causal=layer.causal)
    kernels = torch.zeros(*weight.shape[:3], *conv.kernel_size, dtype=x.dtype)
    kernels[..., conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = weight[..., 0, 0]
    return spatial + conv3d_slowly(x, kernels, conv, causal=layer.causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", CONVS)
def test_equals_the_definition(kind: str, form: type, causal: bool):
    layer = make_layer(form, conv=CONVS[kind], num_frames=3, causal=causal)
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)

    with torch.no_grad():
        y = layer(x.flatten(0, 1)).unflatten(0, (2, 3))
        torch.testing.assert_close(y, defined_slowly(layer, x))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_frames", [1, 2, 4])
def test_equals_the_definition_for_other_lengths(num_frames: int, form: type):
    layer = make_layer(form, conv=CONVS["strided"], num_frames=num_frames)
    x = torch.randn(1, num_frames, 4, 5, 3, dtype=torch.float64)

    with torch.no_grad():
        torch.testing.assert_close(layer(x.flatten(0, 1))[None], defined_slowly(layer, x))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["strided", "grouped"])
def test_gradients_are_right(kind: str, form: type):
    layer = make_layer(form, conv={**CONVS[kind], "out_channels": 4}, num_frames=3)
    x = torch.randn(3, 4, 4, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", CONVS)
@pytest.mark.parametrize("form", FORMS)
def test_starts_as_the_2d_conv(form: type, kind: str, causal: bool):
    conv = nn.Conv2d(4, 8, **CONVS[kind])
    x = torch.randn(6, 4, 7, 6)

    assert torch.equal(form(conv, num_frames=3, causal=causal)(x), conv(x))


@pytest.mark.parametrize(("word", "numbers"), [("same", (2, 1)), ("valid", (0, 0))])
@pytest.mark.parametrize("form", FORMS)
def test_padding_may_be_a_word(form: type, word: str, numbers: tuple[int, int]):
    named, numbered = (
        randomize_(form(nn.Conv2d(4, 4, (5, 3), padding=padding), num_frames=2)) for padding in (word, numbers)
    )
    x = torch.randn(2, 4, 7, 6)

    torch.testing.assert_close(named(x), numbered(x))


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_as_many_as_table_7_says(form: type):
    conv = nn.Conv2d(64, 64, 3, bias=False)

    assert sum(parameter.numel() for parameter in form(conv, num_frames=8).parameters()) == 64 * 64 * (9 + 3)


class OwnPadding(nn.Conv2d):
    pass


def test_what_has_no_known_centre_is_refused():
    with pytest.raises(ValueError, match=r"conv must be a plain nn.Conv2d to have a known centre, got OwnPadding"):
        ParallelConv2Plus1D(OwnPadding(4, 4, 3), num_frames=2)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_conv_is_refused(form: type):
    with pytest.raises(ValueError, match=r"conv must be an nn.Conv2d, got Linear; choose another site"):
        form(nn.Linear(4, 4), num_frames=2)
