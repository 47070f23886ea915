from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kinema.layers.hybrid import temporal_mask
from kinema.layers.sth import Attention, STHConv
from networks import randomize_


def make_layer(conv: nn.Conv2d, *, way: str = "masked", **options) -> STHConv:
    layer = randomize_(STHConv(conv.double(), **options), seed=5)
    layer.way = way
    return layer


def parts_slowly(layer: STHConv, x: Tensor, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Equation 2 and figure 2, one product at a time; x [N, T, Ci, H, W]."""
    (size_h, size_w), (pad_h, pad_w), stride = conv.kernel_size, conv.padding, conv.stride[0]
    dilation = conv.dilation[0]
    n_clips, n_frames, in_channels, height, width = x.shape
    is_temporal = hybrid_slowly(conv.out_channels, in_channels, round(1 / layer.fraction))
    out_h = (height + 2 * pad_h - dilation * (size_h - 1) - 1) // stride + 1
    out_w = (width + 2 * pad_w - dilation * (size_w - 1) - 1) // stride + 1
    temporal = np.zeros((n_clips, n_frames, conv.out_channels, out_h, out_w))
    spatial = np.zeros_like(temporal)
    clips = x.movedim(0, -1).tolist()  # [T][Ci][H][W][N]
    temporal_rows, spatial_rows = iter(layer.temporal.tolist()), iter(layer.spatial.tolist())

    def at(t: int, c: int, i: int, j: int) -> np.ndarray | float:
        """The clips' numbers at one place, zero outside."""
        inside = 0 <= t < n_frames and 0 <= i < height and 0 <= j < width
        return np.array(clips[t][c][i][j]) if inside else 0.0

    for o, c in product(range(conv.out_channels), range(in_channels)):
        kernel = next(temporal_rows if is_temporal[o][c] else spatial_rows)
        for t, i, j in product(range(n_frames), range(out_h), range(out_w)):
            top, left = i * stride - pad_h, j * stride - pad_w
            if is_temporal[o][c]:
                middle = (top + dilation * (size_h // 2), left + dilation * (size_w // 2))
                first = t - 2 if layer.causal else t - 1
                temporal[:, t, o, i, j] += sum(kernel[k] * at(first + k, c, *middle) for k in range(3))
            else:
                spatial[:, t, o, i, j] += sum(
                    kernel[a][b] * at(t, c, top + dilation * a, left + dilation * b)
                    for a, b in product(range(size_h), range(size_w))
                )
    return torch.from_numpy(temporal), torch.from_numpy(spatial)


def hybrid_slowly(out_channels: int, in_channels: int, num_types: int) -> list[list[bool]]:
    """Output group g sees input slice g through time; slices as equal as possible."""

    def kind(channel: int, channels: int) -> int:
        edges = [int(g * channels / num_types + 0.5) for g in range(num_types + 1)]
        return next(g for g in range(num_types) if edges[g] <= channel < edges[g + 1])

    return [[kind(o, out_channels) == kind(c, in_channels) for c in range(in_channels)] for o in range(out_channels)]


def join_slowly(layer: STHConv, temporal: Tensor, spatial: Tensor) -> Tensor:
    """Equation 3, with our reading of figure 4, clip by clip and frame by frame."""
    y = torch.zeros_like(temporal)
    for n in range(temporal.shape[0]):
        for t in range(temporal.shape[1]):
            if layer.attention is None:
                y[n, t] = temporal[n, t] + spatial[n, t]
                continue
            seen = slice(0, t + 1) if layer.causal else slice(None)
            means = torch.cat([temporal[n, seen].mean(dim=(0, 2, 3)), spatial[n, seen].mean(dim=(0, 2, 3))])
            scores = layer.attention.expand.weight @ (layer.attention.reduce.weight @ means).clamp(min=0)
            exp_t, exp_s = scores.exp().chunk(2)
            alpha_t, alpha_s = 2 * exp_t / (exp_t + exp_s), 2 * exp_s / (exp_t + exp_s)
            y[n, t] = alpha_t[:, None, None] * temporal[n, t] + alpha_s[:, None, None] * spatial[n, t]
    return y if layer.bias is None else y + layer.bias[:, None, None]


CONVS = {
    "plain": {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, "bias": False},
    "strided": {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "padding": 1, "stride": 2},
    "channels that do not divide": {"in_channels": 9, "out_channels": 11, "kernel_size": 3, "padding": 1, "stride": 2},
    "unpadded": {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 0},
    "dilated": {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 2, "dilation": 2},
    "5 x 3": {"in_channels": 8, "out_channels": 8, "kernel_size": (5, 3), "padding": (2, 1)},
    "padded beyond its kernel": {"in_channels": 8, "out_channels": 8, "kernel_size": 1, "padding": 1},
}


@pytest.mark.parametrize("way", ["masked", "plain"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("kind", CONVS)
def test_equals_the_definition(kind: str, attention: bool, causal: bool, way: str):
    conv = nn.Conv2d(**CONVS[kind])
    layer = make_layer(conv, way=way, num_frames=3, fraction=0.25, attention=attention, causal=causal)
    x = torch.randn(2, 3, conv.in_channels, 5, 3, dtype=torch.float64)

    with torch.no_grad():
        y = layer(x.flatten(0, 1)).unflatten(0, (2, 3))
        torch.testing.assert_close(y, join_slowly(layer, *parts_slowly(layer, x, conv)))


@pytest.mark.parametrize("fraction", [1 / 8, 1 / 4, 1 / 2])
@pytest.mark.parametrize("num_frames", [1, 4])
def test_equals_the_definition_for_every_fraction(fraction: float, num_frames: int):
    conv = nn.Conv2d(10, 9, kernel_size=3, padding=1, bias=False)
    layer = make_layer(conv, num_frames=num_frames, fraction=fraction)
    x = torch.randn(1, num_frames, 10, 4, 3, dtype=torch.float64)

    with torch.no_grad():
        y = layer(x.flatten(0, 1)).unflatten(0, (1, num_frames))
        torch.testing.assert_close(y, join_slowly(layer, *parts_slowly(layer, x, conv)))


@pytest.mark.parametrize("fraction", [1 / 8, 1 / 4, 0.3, 0.4, 1 / 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_both_ways_are_equal_forward_and_backward(stride: int, fraction: float):
    conv = nn.Conv2d(19, 16, kernel_size=3, padding=1, stride=stride)
    layer = make_layer(conv, num_frames=4, fraction=fraction)
    x = torch.randn(8, 19, 6, 5, dtype=torch.float64, requires_grad=True)
    inputs = [x, *layer.parameters()]

    gradients = []
    for way in ("masked", "plain"):
        layer.way = way
        y = layer(x)
        gradients.append([y, *torch.autograd.grad(y.sin().sum(), inputs)])

    torch.testing.assert_close(gradients[0], gradients[1])


def test_gradients_are_right():
    layer = make_layer(nn.Conv2d(4, 4, kernel_size=3, padding=1, stride=2), num_frames=3)
    x = torch.randn(3, 4, 4, 4, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_equals_a_grouped_temporal_and_a_block_masked_spatial_conv():
    layer = make_layer(nn.Conv2d(8, 8, kernel_size=3, padding=1, bias=False), num_frames=5, attention=False)
    x = torch.randn(5, 8, 6, 6, dtype=torch.float64)
    clip = x.transpose(0, 1)[None]  # [1, C, T, H, W]
    grouped = layer.temporal.view(8, 2, 3, 1, 1)
    masked = torch.zeros(8, 8, 3, 3, dtype=torch.float64)
    masked[~temporal_mask(8, 8, fraction=0.25)] = layer.spatial.detach()

    temporal = nn.functional.conv3d(clip, grouped, padding=(1, 0, 0), groups=4)[0].transpose(0, 1)

    torch.testing.assert_close(layer(x), temporal + nn.functional.conv2d(x, masked, padding=1))


def test_spatial_kernels_are_the_convs_own():
    conv = nn.Conv2d(8, 8, kernel_size=3, padding=1)

    layer = STHConv(conv, num_frames=4)

    off_diagonal = ~torch.block_diag(*[torch.ones(2, 2)] * 4).bool()
    assert torch.equal(layer.spatial, conv.weight[off_diagonal])
    assert torch.equal(layer.bias, conv.bias)


@pytest.mark.parametrize(
    ("fraction", "weights"),
    [(1 / 8, 64 * 64 * (3 * 1 + 9 * 7) // 8), (1 / 4, 64 * 64 * (3 * 1 + 9 * 3) // 4), (1 / 2, 64 * 64 * (3 + 9) // 2)],
)
def test_weights_are_as_many_as_the_paper_says(fraction: float, weights: int):
    layer = STHConv(nn.Conv2d(64, 64, 3, bias=False), num_frames=8, fraction=fraction)

    assert layer.temporal.numel() + layer.spatial.numel() == weights
    assert sum(parameter.numel() for parameter in layer.attention.parameters()) == 64 * 64


@pytest.mark.parametrize(
    ("out_channels", "in_channels", "fraction", "rows"),
    [
        (4, 4, 1 / 2, ["TTss", "TTss", "ssTT", "ssTT"]),
        (4, 8, 1 / 4, ["TTssssss", "ssTTssss", "ssssTTss", "ssssssTT"]),
        (4, 6, 1 / 4, ["TTssss", "ssTsss", "sssTTs", "sssssT"]),
        (3, 5, 0.4, ["TTsss", "ssTTs", "TsssT"]),
    ],
)
def test_the_hybrid_arrangement(out_channels: int, in_channels: int, fraction: float, rows: list[str]):
    mask = temporal_mask(out_channels, in_channels, fraction=fraction)

    assert ["".join("T" if here else "s" for here in row) for row in mask.tolist()] == rows


def test_output_keeps_its_scale_when_a_conv_is_replaced():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    x = torch.randn(16, 64, 8, 8)

    ratio = STHConv(conv, num_frames=8)(x).std() / conv(x).std()

    assert 0.85 < ratio < 1.15


def test_attention_starts_as_plain_addition():
    conv = nn.Conv2d(8, 8, kernel_size=3, padding=1)
    torch.manual_seed(0)
    with_attention = STHConv(conv, num_frames=4)
    without = STHConv(conv, num_frames=4, attention=False)
    without.load_state_dict(with_attention.state_dict(), strict=False)
    x = torch.randn(8, 8, 5, 5)

    assert torch.equal(with_attention(x), without(x))


@pytest.mark.parametrize("causal", [False, True])
def test_coefficients_belong_to_clips_and_add_up_to_two(causal: bool):
    layer = make_layer(nn.Conv2d(8, 12, kernel_size=3, padding=1), num_frames=4, causal=causal)
    x = torch.randn(8, 8, 5, 5, dtype=torch.float64)

    alpha_t, alpha_s = layer.coefficients(x)

    assert alpha_t.shape == alpha_s.shape == (2, 12)
    torch.testing.assert_close(alpha_t + alpha_s, torch.full((2, 12), 2.0, dtype=torch.float64))
    assert (alpha_t[0] - alpha_t[1]).abs().max() > 1e-3
    temporal, spatial = (part.unflatten(0, (2, 4)) for part in layer.parts(x))
    last = alpha_t[..., None, None] * temporal[:, -1] + alpha_s[..., None, None] * spatial[:, -1]
    torch.testing.assert_close(layer(x).unflatten(0, (2, 4))[:, -1], last + layer.bias[:, None, None])


def test_attention_has_no_bias():
    assert [name for name, _ in Attention(8).named_parameters()] == ["reduce.weight", "expand.weight"]


@pytest.mark.parametrize("fraction", [0.0, -0.25, 0.6, 1.0])
def test_a_fraction_out_of_range_is_refused(fraction: float):
    with pytest.raises(ValueError, match=r"fraction must lie above 0 and at most at 1/2, got .*; 1/4 is the paper's"):
        STHConv(nn.Conv2d(8, 8, 3), num_frames=4, fraction=fraction)


@pytest.mark.parametrize(
    ("conv", "sentence"),
    [
        (nn.Conv2d(8, 8, 3, groups=2), "conv must have groups=1, got 2"),
        (nn.Linear(8, 8), "conv must be an nn.Conv2d, got Linear"),
        (nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), "conv must be padded with zeros"),
        (nn.Conv2d(8, 8, (2, 3), padding="same"), "conv must have an odd kernel when padded 'same'"),
        (nn.Conv2d(3, 8, 3), "fraction must give each kernel type an input and an output channel"),
        (nn.Conv2d(8, 3, 3), "fraction must give each kernel type an input and an output channel"),
    ],
)
def test_a_conv_without_a_hybrid_is_refused(conv: nn.Module, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        STHConv(conv, num_frames=4)


@pytest.mark.parametrize(("word", "number"), [("same", 1), ("valid", 0)])
def test_padding_may_be_a_word(word: str, number: int):
    conv = nn.Conv2d(8, 8, 3, padding=word)
    layer = STHConv(conv, num_frames=2)

    assert layer.padding == (number, number)
    assert layer(torch.randn(2, 8, 5, 5)).shape == conv(torch.randn(2, 8, 5, 5)).shape


def test_coefficients_need_attention():
    layer = STHConv(nn.Conv2d(8, 8, 3), num_frames=2, attention=False)

    with pytest.raises(ValueError, match="attention must be on for coefficients"):
        layer.coefficients(torch.zeros(2, 8, 5, 5))


def test_the_plain_way_exports_too():
    layer = make_layer(nn.Conv2d(8, 8, 3, padding=1), way="plain", num_frames=4).eval()
    batch = 4 * torch.export.Dim("num_clips", min=1, max=16)
    example = torch.randn(8, 8, 5, 5, dtype=torch.float64)

    program = torch.export.export(layer, (example,), dynamic_shapes=({0: batch},))

    x = torch.randn(12, 8, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(program.module()(x), layer(x))
