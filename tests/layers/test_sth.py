from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kinema.layers.hybrid import temporal_mask
from kinema.layers.sth import STHConv
from kinema.layers.sth_attention import Attention
from networks import randomize_


def make_layer(conv: nn.Conv2d, *, way: str = "masked", **options) -> STHConv:
    return randomize_(STHConv(conv.double(), way=way, **options), seed=5)


def parts_slowly(layer: STHConv, x: Tensor, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Equation 2 and figure 2, one product at a time; x [N, T, Ci, H, W]."""
    (size_h, size_w), (pad_h, pad_w), stride = conv.kernel_size, conv.padding, conv.stride[0]
    dilation = conv.dilation[0]
    n_clips, n_frames, _, height, width = x.shape
    is_temporal = temporal_slowly(conv, round(1 / layer.fraction), hybrid=layer.arrangement == "hybrid")
    out_h = (height + 2 * pad_h - dilation * (size_h - 1) - 1) // stride + 1
    out_w = (width + 2 * pad_w - dilation * (size_w - 1) - 1) // stride + 1
    temporal = np.zeros((n_clips, n_frames, conv.out_channels, out_h, out_w))
    spatial = np.zeros_like(temporal)
    clips = x.movedim(0, -1).tolist()  # [T][Ci][H][W][N]
    temporal_rows, spatial_rows = iter(layer.temporal.tolist()), iter(layer.spatial.tolist())
    taps = layer.temporal_size

    def at(t: int, c: int, i: int, j: int) -> np.ndarray | float:
        """The clips' numbers at one place, zero outside."""
        inside = 0 <= t < n_frames and 0 <= i < height and 0 <= j < width
        return np.array(clips[t][c][i][j]) if inside else 0.0

    per_group, outputs = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    for o, own in product(range(conv.out_channels), range(per_group)):
        kernel = next(temporal_rows if is_temporal[o][own] else spatial_rows)
        c = o // outputs * per_group + own
        for t, i, j in product(range(n_frames), range(out_h), range(out_w)):
            top, left = i * stride - pad_h, j * stride - pad_w
            if is_temporal[o][own]:
                middle = (top + dilation * (size_h // 2), left + dilation * (size_w // 2))
                first = t - layer.dilation * (taps - 1 if layer.causal else taps // 2)
                temporal[:, t, o, i, j] += sum(
                    kernel[k] * at(first + layer.dilation * k, c, *middle) for k in range(taps)
                )
            else:
                spatial[:, t, o, i, j] += sum(
                    kernel[a][b] * at(t, c, top + dilation * a, left + dilation * b)
                    for a, b in product(range(size_h), range(size_w))
                )
    return torch.from_numpy(temporal), torch.from_numpy(spatial)


def temporal_slowly(conv: nn.Conv2d, num_types: int, *, hybrid: bool) -> list[list[bool]]:
    """For each output channel and each input channel of its group, whether they meet through time."""
    inputs, outputs = conv.in_channels // conv.groups, conv.out_channels // conv.groups

    def kind(channel: int, channels: int) -> int:
        """The slice, of slices as equal as possible, that a channel is in."""
        edges = [int(g * channels / num_types + 0.5) for g in range(num_types + 1)]
        return next(g for g in range(num_types) if edges[g] <= channel < edges[g + 1])

    def meets(o: int, c: int) -> bool:
        if inputs == 1:  # depthwise: the channel as a whole
            channel = o // outputs
            return channel % num_types == 0 if hybrid else channel < conv.in_channels // num_types
        return kind(c, inputs) == (kind(o % outputs, outputs) if hybrid else 0)

    return [[meets(o, c) for c in range(inputs)] for o in range(conv.out_channels)]


def join_slowly(layer: STHConv, temporal: Tensor, spatial: Tensor) -> Tensor:
    """Equation 3, with our reading of figure 4, clip by clip and frame by frame."""
    y = torch.zeros_like(temporal)
    for n in range(temporal.shape[0]):
        for t in range(temporal.shape[1]):
            if layer.attention is None:
                y[n, t] = temporal[n, t] + spatial[n, t]
                continue
            seen = slice(0, t + 1) if layer.causal else slice(None)
            means = [part[n, seen].mean(dim=(0, 2, 3)) for part in (temporal, spatial)]
            squeezed = torch.cat(means) if layer.attention.squeeze == "concat" else sum(means)
            scores = layer.attention.expand.weight @ (layer.attention.reduce.weight @ squeezed).clamp(min=0)
            exp_t, exp_s = scores.exp().chunk(2)
            alpha_t, alpha_s = 2 * exp_t / (exp_t + exp_s), 2 * exp_s / (exp_t + exp_s)
            if layer.attention.gate == "sigmoid":
                alpha_t, alpha_s = 2 * exp_t / (1 + exp_t), 2 * exp_s / (1 + exp_s)
            y[n, t] = alpha_t[:, None, None] * temporal[n, t] + alpha_s[:, None, None] * spatial[n, t]
    return y if layer.bias is None else y + layer.bias[:, None, None]


def defined(layer: STHConv, x: Tensor, conv: nn.Conv2d) -> Tensor:
    """What the layer has to give for folded frames x [N*T, Ci, H, W]."""
    parts = parts_slowly(layer, x.unflatten(0, (-1, layer.num_frames)), conv)
    return join_slowly(layer, *parts).flatten(0, 1)


WAYS = ("fused", "masked", "plain")
CONVS = {
    "ordinary": {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, "bias": False},
    "strided": {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "padding": 1, "stride": 2},
    "channels that do not divide": {"in_channels": 9, "out_channels": 11, "kernel_size": 3, "padding": 1, "stride": 2},
    "unpadded": {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 0},
    "dilated": {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 2, "dilation": 2},
    "5 x 3": {"in_channels": 8, "out_channels": 8, "kernel_size": (5, 3), "padding": (2, 1)},
    "4 x 2": {"in_channels": 8, "out_channels": 8, "kernel_size": (4, 2), "padding": (1, 0)},
    "4 x 4, padded by half": {"in_channels": 8, "out_channels": 8, "kernel_size": 4, "padding": 2},
    "2 x 2, padded and strided": {"in_channels": 8, "out_channels": 8, "kernel_size": 2, "padding": 1, "stride": 2},
    "1 x 1": {"in_channels": 8, "out_channels": 8, "kernel_size": 1, "stride": 2},
    "padded beyond its kernel": {"in_channels": 8, "out_channels": 8, "kernel_size": 1, "padding": 1},
    "grouped": {"in_channels": 12, "out_channels": 8, "kernel_size": 3, "padding": 1, "groups": 2},
    "grouped and strided": {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "stride": 2, "groups": 2},
    "depthwise": {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, "groups": 8, "bias": False},
    "depthwise, doubled, strided": {
        "in_channels": 8, "out_channels": 16, "kernel_size": 5, "padding": 2, "stride": 2, "groups": 8,
    },
}  # fmt: skip
CASES = [
    pytest.param(kind, fusion, causal, way, id=f"{kind}, {fusion}, {'causal, ' if causal else ''}{way}")
    for kind, fusion, causal, way in product(CONVS, ("attention", "sum"), (False, True), WAYS)
    if way != "fused"
    or (not (causal and fusion == "attention") and "groups" not in CONVS[kind] and "padded" not in kind)
]


@pytest.mark.parametrize(("kind", "fusion", "causal", "way"), CASES)
def test_equals_the_definition(kind: str, fusion: str, causal: bool, way: str):
    conv = nn.Conv2d(**CONVS[kind])
    layer = make_layer(conv, way=way, num_frames=3, fraction=0.25, fusion=fusion, causal=causal)
    x = torch.randn(6, conv.in_channels, 5, 3, dtype=torch.float64)

    torch.testing.assert_close(layer(x), defined(layer, x, conv))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("num_frames", [1, 4])
@pytest.mark.parametrize(
    "options",
    [
        {"fraction": 1 / 8},
        {"fraction": 1 / 2},
        {"arrangement": "merge"},
        {"arrangement": "merge", "fraction": 1 / 2, "fusion": "sum"},
        {"temporal_size": 5},
        {"dilation": 2},
        {"dilation": 3, "temporal_size": 5, "fusion": "sum"},
        {"squeeze": "sum", "reduction": 2},
        {"gate": "sigmoid"},
    ],
)
def test_equals_the_definition_with_every_option(options: dict[str, object], num_frames: int, way: str):
    conv = nn.Conv2d(10, 9, kernel_size=3, padding=1, bias=False)
    layer = make_layer(conv, way=way, num_frames=num_frames, **options)
    x = torch.randn(2 * num_frames, 10, 4, 3, dtype=torch.float64)

    torch.testing.assert_close(layer(x), defined(layer, x, conv))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["ordinary", "strided", "unpadded", "dilated", "5 x 3"])
def test_both_kinds_of_kernels_can_be_dilated(kind: str, way: str):
    conv = nn.Conv2d(**CONVS[kind])
    layer = make_layer(conv, way=way, num_frames=3, dilation=2, dilates="both")
    wide = nn.Conv2d(
        **{
            **CONVS[kind],
            "dilation": 2 * conv.dilation[0],
            "padding": tuple(
                own + conv.dilation[0] * (size - 1) // 2
                for own, size in zip(conv.padding, conv.kernel_size, strict=True)
            ),
        }
    )
    x = torch.randn(3, conv.in_channels, 7, 6, dtype=torch.float64)

    torch.testing.assert_close(layer(x), defined(layer, x, wide))
    assert layer(x).shape == conv(x).shape


@pytest.mark.parametrize("way", ["masked", "plain"])
@pytest.mark.parametrize("kind", ["grouped", "depthwise", "depthwise, doubled, strided"])
def test_conv_groups_can_be_merged_too(kind: str, way: str):
    conv = nn.Conv2d(**CONVS[kind])
    layer = make_layer(conv, way=way, num_frames=3, arrangement="merge")
    x = torch.randn(3, conv.in_channels, 5, 4, dtype=torch.float64)

    torch.testing.assert_close(layer(x), defined(layer, x, conv))


def value_and_gradients(layer: STHConv, x: Tensor, way: str) -> list[Tensor]:
    layer.way = way
    y = layer(x)
    return [y, *torch.autograd.grad(y.sin().sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("num_clips", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"fraction": 1 / 8},
        {"fraction": 0.3},
        {"fraction": 0.4},
        {"fraction": 1 / 2, "fusion": "sum"},
        {"arrangement": "merge", "gate": "sigmoid"},
        {"fusion": "sum", "causal": True},
        {"dilation": 5},
    ],
)
def test_all_ways_are_equal_forward_and_backward(
    options: dict[str, object], stride: int, num_clips: int, channels_last: bool
):
    layer = make_layer(nn.Conv2d(19, 16, kernel_size=3, padding=1, stride=stride), num_frames=4, **options)
    x = torch.randn(4 * num_clips, 19, 6, 5, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format).requires_grad_()

    fused, masked, plain = (value_and_gradients(layer, x, way) for way in WAYS)

    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(masked, plain)


@pytest.mark.parametrize("kind", [kind for kind, conv in CONVS.items() if "groups" in conv])
def test_both_ways_of_a_grouped_conv_are_equal_forward_and_backward(kind: str):
    layer = make_layer(nn.Conv2d(**CONVS[kind]), num_frames=3)
    x = torch.randn(6, layer.in_channels, 6, 5, dtype=torch.float64, requires_grad=True)

    torch.testing.assert_close(value_and_gradients(layer, x, "masked"), value_and_gradients(layer, x, "plain"))


@pytest.mark.parametrize("fusion", ["attention", "sum"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("num_clips", [1, 2])
def test_the_fused_way_is_right_where_maps_are_larger_than_kernels(num_clips: int, stride: int, fusion: str):
    # 4 x 16 x 15 output positions or a quarter of them, against twice the 8 x 9 numbers of an output channel's kernels.
    conv = nn.Conv2d(8, 8, kernel_size=3, padding=1, stride=stride)
    layer = make_layer(conv, num_frames=4, fusion=fusion, dilation=2)
    x = torch.randn(4 * num_clips, 8, 16, 15, dtype=torch.float64, requires_grad=True)

    torch.testing.assert_close(value_and_gradients(layer, x, "fused"), value_and_gradients(layer, x, "plain"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("stride", "size"), [(2, (4, 4)), (1, (6, 7))])
def test_gradients_are_right(stride: int, size: tuple[int, int], way: str):
    layer = make_layer(nn.Conv2d(4, 4, kernel_size=3, padding=1, stride=stride), way=way, num_frames=3)
    x = torch.randn(3, 4, *size, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("way", ["masked", "plain"])
@pytest.mark.parametrize("options", [{}, {"fusion": "sum"}, {"causal": True, "horizon": 2}])
@pytest.mark.parametrize(("groups", "num_frames"), [(1, 1), (2, 3), (4, 3)])
def test_gradients_are_right_with_groups_and_of_one_frame(
    groups: int, num_frames: int, options: dict[str, object], way: str
):
    conv = nn.Conv2d(4, 4, kernel_size=3, groups=groups)
    layer = make_layer(conv, way=way, num_frames=num_frames, fraction=0.5, **options)
    x = torch.randn(num_frames, 4, 3, 4, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_what_was_frozen_stays_frozen_and_time_is_learnt():
    layer = STHConv(nn.Conv2d(8, 8, 3).requires_grad_(False), num_frames=2)

    trained = {name for name, parameter in layer.named_parameters() if parameter.requires_grad}

    assert trained == {"temporal", "attention.reduce.weight", "attention.expand.weight"}


def test_a_layer_built_without_numbers_runs_when_it_has_them():
    conv = nn.Conv2d(8, 12, 3, padding=1)
    layer = make_layer(conv, num_frames=2)
    with torch.device("meta"):
        empty = STHConv(nn.Conv2d(8, 12, 3, padding=1), num_frames=2)
    filled = empty.to_empty(device="cpu").double()
    filled.load_state_dict(layer.state_dict())
    x = torch.randn(4, 8, 5, 5, dtype=torch.float64)

    assert torch.equal(filled(x), layer(x))


@pytest.mark.parametrize("horizon", [None, 1, 3])
def test_a_stream_is_weighed_by_the_last_frames_only(horizon: int | None):
    layer = make_layer(nn.Conv2d(8, 8, 3, padding=1), num_frames=4, causal=True, horizon=horizon)
    frames = torch.randn(11, 2, 8, 5, 5, dtype=torch.float64)
    state = None
    for frame in frames:
        y, state = layer.step(frame, state)

    long = make_layer(nn.Conv2d(8, 8, 3, padding=1), num_frames=11, causal=True, horizon=horizon or 4)
    long.load_state_dict(layer.state_dict())

    torch.testing.assert_close(y, long(frames.transpose(0, 1).flatten(0, 1)).unflatten(0, (2, 11))[:, -1])


def test_a_long_stream_in_bfloat16_keeps_its_weights():
    layer = make_layer(nn.Conv2d(8, 8, 3, padding=1), num_frames=4, causal=True).to(torch.bfloat16)
    frame, state = torch.rand(1, 8, 5, 5, dtype=torch.bfloat16), None
    outputs = []
    for _ in range(600):
        y, state = layer.step(frame, state)
        outputs.append(y)

    assert torch.equal(outputs[-1], outputs[10])


@pytest.mark.parametrize("options", [{"horizon": 0, "causal": True}, {"horizon": 4}])
def test_a_horizon_is_for_causal_layers(options: dict[str, object]):
    with pytest.raises(ValueError, match="horizon must be"):
        STHConv(nn.Conv2d(8, 8, 3), num_frames=4, **options)


@pytest.mark.parametrize("options", [{}, {"fusion": "sum"}])
def test_frozen_weights_get_no_gradient_in_the_fused_way(options: dict[str, object]):
    layer = make_layer(nn.Conv2d(8, 8, kernel_size=3), way="fused", num_frames=2, **options).requires_grad_(False)
    layer.temporal.requires_grad_(True)

    layer(torch.randn(4, 8, 5, 5, dtype=torch.float64)).sum().backward()

    assert [name for name, weight in layer.named_parameters() if weight.grad is not None] == ["temporal"]


@pytest.mark.parametrize("fusion", ["attention", "sum"])
def test_the_fused_way_runs_in_autocast(fusion: str):
    layer = make_layer(nn.Conv2d(16, 12, kernel_size=3, padding=1), num_frames=4, fusion=fusion, reduction=1).float()
    x = torch.randn(8, 16, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused, masked = (value_and_gradients(layer, x, way) for way in ("fused", "masked"))

    assert fused[0].dtype == torch.bfloat16
    assert [tensor.dtype for tensor in fused[1:]] == [tensor.dtype for tensor in masked[1:]]
    # bfloat16 has 8 bits of mantissa, and sums of 144 products round at every store.
    torch.testing.assert_close(fused[0], masked[0], atol=0.1, rtol=0.05)
    for own, other in zip(fused[1:], masked[1:], strict=True):
        assert torch.cosine_similarity(own.flatten(), other.flatten(), dim=0) > 0.99


@pytest.mark.parametrize(
    ("conv", "options", "channels_last", "way"),
    [
        ({}, {}, True, "fused"),
        ({}, {"fusion": "sum", "causal": True}, True, "fused"),
        ({}, {}, False, "masked"),
        ({}, {"causal": True}, True, "masked"),
        ({"groups": 2}, {}, True, "masked"),
        ({"padding": 2}, {}, True, "masked"),
        ({}, {"way": "plain"}, True, "plain"),
    ],
)
def test_a_layer_says_which_way_it_runs(
    conv: dict[str, int], options: dict[str, object], channels_last: bool, way: str
):
    layer = STHConv(nn.Conv2d(8, 8, 3, **conv), num_frames=2, **options)
    x = torch.zeros(2, 8, 5, 5)

    assert layer.way_for(x.contiguous(memory_format=torch.channels_last) if channels_last else x) == way


@pytest.mark.parametrize(
    ("conv", "options", "reason"),
    [
        ({"groups": 2}, {}, "groups=2"),
        ({}, {"causal": True}, "causal attention"),
        ({"padding": 2}, {}, r"padding \(2, 2\) beyond half the kernel"),
    ],
)
def test_the_fused_way_says_what_it_cannot(conv: dict[str, int], options: dict[str, object], reason: str):
    layer = STHConv(nn.Conv2d(8, 8, 3, **conv), num_frames=2, way="fused", **options)

    with pytest.raises(ValueError, match=f"way must not be fused for this layer, got {reason}; take auto"):
        layer(torch.zeros(2, 8, 5, 5))


@pytest.mark.parametrize("way", ["auto", *WAYS])
@pytest.mark.parametrize("fusion", ["attention", "sum"])
def test_a_part_of_a_clip_is_refused(fusion: str, way: str):
    layer = STHConv(nn.Conv2d(8, 8, 3), num_frames=4, fusion=fusion, way=way)

    with pytest.raises(ValueError, match="the batch of frames must be a multiple of num_frames 4, got 6"):
        layer(torch.zeros(6, 8, 5, 5).contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("size", [4, 32])
def test_the_fused_way_keeps_only_what_the_network_keeps_anyhow(size: int):
    layer = make_layer(nn.Conv2d(8, 8, kernel_size=3, padding=1, bias=False), num_frames=8, way="fused")
    x = torch.randn(8, 8, size, size, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.shape[-2:] == (size, size):
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x)

    assert x.untyped_storage().data_ptr() in kept
    assert kept.keys() <= {tensor.untyped_storage().data_ptr() for tensor in (x, y)}


def test_equals_a_grouped_temporal_and_a_block_masked_spatial_conv():
    layer = make_layer(nn.Conv2d(8, 8, kernel_size=3, padding=1, bias=False), num_frames=5, fusion="sum")
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
    without = STHConv(conv, num_frames=4, fusion="sum")
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


@pytest.mark.parametrize("options", [{"gate": "sigmoid"}, {"squeeze": "sum"}, {"way": "fused"}, {"causal": True}])
def test_every_kind_of_attention_starts_as_plain_addition(options: dict[str, object]):
    conv = nn.Conv2d(8, 8, kernel_size=3, padding=1).double()
    layer = STHConv(conv, num_frames=4, **options)
    x = torch.randn(8, 8, 5, 5, dtype=torch.float64)

    torch.testing.assert_close(layer(x), sum(layer.parts(x)) + layer.bias[:, None, None])


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, 32 * 32),
        ({"reduction": 8}, 32 * 32 // 2),
        ({"squeeze": "sum"}, 3 * 32 * 32 // 4),
        ({"gate": "sigmoid"}, 1024),
    ],
)
def test_weights_of_the_attention(options: dict[str, object], weights: int):
    assert sum(parameter.numel() for parameter in Attention(32, **options).parameters()) == weights


def test_coefficients_of_a_sigmoid_stand_alone():
    layer = make_layer(nn.Conv2d(8, 12, kernel_size=3, padding=1), num_frames=4, gate="sigmoid")

    alpha_t, alpha_s = layer.coefficients(torch.randn(8, 8, 5, 5, dtype=torch.float64))

    assert (alpha_t + alpha_s - 2).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"arrangement": "mixed"}, "arrangement must be hybrid or merge, got 'mixed'"),
        ({"fusion": "concat"}, "fusion must be attention or sum, got 'concat'"),
        ({"temporal_size": 4}, "temporal_size must be odd and at least 3, got 4"),
        ({"temporal_size": 1}, "temporal_size must be odd and at least 3, got 1"),
        ({"dilation": 0}, "dilation must be an integer of at least 1, got 0"),
        ({"dilation": "alternating"}, "dilation must be an integer of at least 1, got 'alternating'; temporalize"),
        ({"dilates": "space"}, "dilates must be temporal or both, got 'space'"),
        ({"way": "fast"}, "way must be one of auto, fused, masked, plain, got 'fast'"),
        ({"reduction": 0}, "reduction must be at least 1, got 0"),
        ({"squeeze": "max"}, "squeeze must be concat or sum, got 'max'"),
        ({"gate": "tanh"}, "gate must be softmax or sigmoid, got 'tanh'"),
    ],
)
def test_an_unknown_option_is_refused(options: dict[str, object], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        STHConv(nn.Conv2d(8, 8, 3), num_frames=4, **options)


def test_the_spatial_kernels_of_an_even_size_cannot_be_dilated():
    with pytest.raises(ValueError, match="conv must have an odd kernel when its spatial kernels are dilated"):
        STHConv(nn.Conv2d(8, 8, 4), num_frames=4, dilation=2, dilates="both")


def test_attention_has_no_bias():
    assert [name for name, _ in Attention(8).named_parameters()] == ["reduce.weight", "expand.weight"]


@pytest.mark.parametrize("fraction", [0.0, -0.25, 0.6, 1.0])
def test_a_fraction_out_of_range_is_refused(fraction: float):
    with pytest.raises(ValueError, match=r"fraction must lie above 0 and at most at 1/2, got .*; 1/4 is the paper's"):
        STHConv(nn.Conv2d(8, 8, 3), num_frames=4, fraction=fraction)


@pytest.mark.parametrize(
    ("conv", "sentence"),
    [
        (nn.Conv2d(8, 8, 3, groups=4), "fraction must give each kernel type .* got 0.25 for 2 and 2 channels"),
        (nn.Conv2d(1, 8, 3), "fraction must give each kernel type an input and an output channel"),
        (nn.Conv2d(1, 1, 3), "fraction must give each kernel type an input and an output channel"),
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

    assert layer.window.padding == (number, number)
    assert layer(torch.randn(2, 8, 5, 5)).shape == conv(torch.randn(2, 8, 5, 5)).shape


def test_coefficients_need_attention():
    layer = STHConv(nn.Conv2d(8, 8, 3), num_frames=2, fusion="sum")

    with pytest.raises(ValueError, match="fusion must be attention for coefficients, got 'sum'"):
        layer.coefficients(torch.zeros(2, 8, 5, 5))


@pytest.mark.parametrize("way", ["plain", "masked", "auto"])
@pytest.mark.parametrize("kind", ["ordinary", "grouped", "depthwise"])
def test_every_way_but_the_fused_exports(kind: str, way: str):
    layer = make_layer(nn.Conv2d(**CONVS[kind]), way=way, num_frames=4).eval()
    batch = 4 * torch.export.Dim("num_clips", min=1, max=16)
    shape = (layer.in_channels, 5, 5)
    example = torch.randn(8, *shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last)

    program = torch.export.export(layer, (example,), dynamic_shapes=({0: batch},))

    x = torch.randn(12, *shape, dtype=torch.float64)
    torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.parametrize("options", [{}, {"dilation": 2, "temporal_size": 5}, {"fusion": "sum"}])
@pytest.mark.parametrize("kind", ["strided", "grouped", "depthwise"])
def test_steps_equal_the_clip(kind: str, options: dict[str, object]):
    layer = make_layer(nn.Conv2d(**CONVS[kind]), num_frames=7, causal=True, **options)
    x = torch.randn(14, layer.in_channels, 5, 5, dtype=torch.float64)

    state, frames = None, []
    for frame in x.unflatten(0, (2, 7)).unbind(dim=1):
        y, state = layer.step(frame, state)
        frames.append(y)

    torch.testing.assert_close(torch.stack(frames, dim=1).flatten(0, 1), layer(x))


@pytest.mark.parametrize(
    ("conv", "products"),
    [
        ({"groups": 1}, 16 * 16 * (3 * 1 + 9 * 3) // 4),
        ({"groups": 4}, 4 * 4 * 4 * (3 * 1 + 9 * 3) // 4),
        ({"groups": 16}, 4 * 3 + 12 * 9),
    ],
)
def test_the_plain_way_multiplies_no_more_than_it_must(conv: dict[str, int], products: int):
    layer = STHConv(nn.Conv2d(16, 16, 3, padding=1, **conv), num_frames=2, way="plain", fusion="sum").to("meta")

    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(2, 16, 5, 5, device="meta"))

    assert counter.get_total_flops() == 2 * products * 2 * 5 * 5
