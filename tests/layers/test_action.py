from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kinema.layers.action import ActionExcitation
from kinema.layers.tsm import TemporalShift
from kinema.models.classifier import create_model
from kinema.models.cost import cost
from loops import array, conv_by_loops, normalized_slowly, taps_by_loops
from networks import randomize_

POINTWISE = nn.Conv2d(1, 1, kernel_size=1, bias=False)


def make_layer(channels: int = 8, *, net: nn.Module | None = None, **options) -> ActionExcitation:
    net = nn.Conv2d(channels, 4, 1) if net is None else net
    return randomize_(ActionExcitation(net.double(), reduction=3, **options), seed=2).eval()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def excited_slowly(layer: ActionExcitation, x: Tensor) -> Tensor:
    """The official code's order of work: shift, three paths, each z g + z, their sum; x [N, T, C, H, W]."""
    z = taps_by_loops(array(x), array(layer.shift.taps), axis=1, causal=layer.causal)
    gates = [one(layer, z) for one in (places_slowly, channels_slowly, motion_slowly)]
    return torch.from_numpy(sum(z * gate + z for gate in map(sigmoid, gates)))


def places_slowly(layer: ActionExcitation, z: np.ndarray) -> np.ndarray:
    """STE: a 3 x 3 x 3 conv of the mean over channels, padded with zeros: [N, T, 1, H, W]."""
    kernel, mean = array(layer.spatio_temporal.kernels)[0, 0], z.mean(axis=2)
    n_frames, height, width = mean.shape[1:]
    padded = np.pad(mean, ((0, 0), (2, 0) if layer.causal else (1, 1), (1, 1), (1, 1)))
    y = np.zeros_like(mean)
    for t, i, j in product(range(n_frames), range(height), range(width)):
        y[:, t, i, j] = (padded[:, t : t + 3, i : i + 3, j : j + 3] * kernel).sum(axis=(1, 2, 3))
    return y[:, :, None]


def channels_slowly(layer: ActionExcitation, z: np.ndarray) -> np.ndarray:
    """CE: mean over pixels, squeeze, a dense conv over three frames, ReLU, back: [N, T, C, 1, 1]."""
    reduce, conv, expand = (
        array(part.weight) for part in (layer.channel.reduce, layer.channel.conv, layer.channel.expand)
    )
    squeezed = z.mean(axis=(3, 4)) @ reduce.T
    y = np.zeros((*z.shape[:3], 1, 1))
    for n, t in product(range(z.shape[0]), range(z.shape[1])):
        hidden = np.zeros(len(conv))
        for k in range(3):
            source = t + k - (2 if layer.causal else 1)
            if 0 <= source < z.shape[1]:
                hidden += conv[:, :, k] @ squeezed[n, source]
        y[n, t, :, 0, 0] = expand @ np.maximum(hidden, 0)
    return y


def motion_slowly(layer: ActionExcitation, z: np.ndarray) -> np.ndarray:
    """ME: squeeze, batch norm, K * F_{t+1} - F_t, zero at the last frame, mean over pixels, back: [N, T, C, 1, 1]."""
    motion = layer.motion
    features = conv_by_loops(z.reshape(-1, *z.shape[2:]), array(motion.reduce.weight), POINTWISE)
    features = array(normalized_slowly(torch.from_numpy(features), motion.norm, axis=1))
    moved = conv_by_loops(features, array(motion.transform.weight), motion.transform)
    features, moved = (one.reshape(*z.shape[:2], *one.shape[1:]) for one in (features, moved))
    difference = np.zeros_like(features)
    for t in range(z.shape[1]):
        before, after = (t - 1, t) if layer.causal else (t, t + 1)
        if before >= 0 and after < z.shape[1]:
            difference[:, t] = moved[:, after] - features[:, before]
    return (difference.mean(axis=(3, 4)) @ array(motion.expand.weight).T)[..., None, None]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_equals_the_definition(num_frames: int, causal: bool):
    layer = make_layer(num_frames=num_frames, causal=causal)
    x = torch.randn(2, num_frames, 8, 3, 5, dtype=torch.float64)

    with torch.no_grad():
        expected = layer.net(excited_slowly(layer, x).flatten(0, 1))
        torch.testing.assert_close(layer(x.flatten(0, 1)), expected)


@pytest.mark.parametrize("net", [nn.Conv2d(6, 8, 3, stride=2), nn.Conv2d(6, 6, 3, padding=1, groups=6)])
def test_equals_the_definition_before_any_conv(net: nn.Conv2d):
    layer = make_layer(net=net, num_frames=3, num_divisions=3)
    x = torch.randn(1, 3, 6, 5, 5, dtype=torch.float64)

    with torch.no_grad():
        torch.testing.assert_close(layer(x[0]), layer.net(excited_slowly(layer, x)[0]))


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_right(causal: bool):
    layer = make_layer(net=nn.Conv2d(8, 3, 3, padding=1, stride=2), num_frames=3, causal=causal)
    x = torch.randn(3, 8, 3, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("channels", [16, 19])
def test_it_starts_with_tsms_shift(channels: int):
    layer = ActionExcitation(nn.Conv2d(channels, 4, 1), num_frames=5)
    shift = TemporalShift(nn.Identity(), num_frames=5)
    x = torch.randn(10, channels, 3, 4)

    assert torch.equal(layer.shift(x, num_frames=5, causal=False), shift(x))


def test_a_causal_shift_starts_with_the_channels_that_look_back():
    layer = ActionExcitation(nn.Conv2d(16, 4, 1), num_frames=3, causal=True)
    x = torch.randn(3, 16, 1, 1)
    expected = x.clone()
    expected[1:, 2:4], expected[0, 2:4] = x[:-1, 2:4], 0.0

    assert torch.equal(layer.shift(x, num_frames=3, causal=True), expected)


def test_gates_of_a_half_make_features_four_and_a_half_times_as_large():
    layer = ActionExcitation(nn.Conv2d(8, 8, 1), num_frames=2)
    with torch.no_grad():
        for part in (layer.spatio_temporal, layer.channel.expand, layer.motion.expand):
            part.weight.zero_()
    x = torch.randn(4, 8, 3, 3)

    shifted = layer.shift(x, num_frames=2, causal=False)

    torch.testing.assert_close(layer(x), layer.net(4.5 * shifted))


def test_parameters_have_the_official_shapes():
    layer = ActionExcitation(nn.Conv2d(64, 16, 1, bias=False), num_frames=8)

    assert {name: list(parameter.shape) for name, parameter in layer.named_parameters()} == {
        "net.weight": [16, 64, 1, 1],
        "shift.taps": [64, 3],
        "spatio_temporal.weight": [1, 1, 9, 3],  # 3 x 3 x 3, laid out so that a network can be channels last
        "channel.reduce.weight": [4, 64],
        "channel.conv.weight": [4, 4, 3],
        "channel.expand.weight": [64, 4],
        "motion.reduce.weight": [4, 64, 1, 1],
        "motion.norm.weight": [4],
        "motion.norm.bias": [4],
        "motion.transform.weight": [4, 1, 3, 3],
        "motion.expand.weight": [64, 4],
    }


def added_by_a_block(channels: int) -> int:
    """Parameters that ACTION adds to a block whose first conv takes this many channels."""
    hidden = channels // 16
    shift, ste = 3 * channels, 27
    ce = channels * hidden + 3 * hidden * hidden + hidden * channels
    me = channels * hidden + 2 * hidden + 9 * hidden + hidden * channels
    return shift + ste + ce + me


# A ResNet-50's blocks take 64, 256 x 3, 512 x 4, 1024 x 6 and 2048 x 2 channels; the paper prints 28.08 M.
def test_a_resnet50_has_the_papers_parameters():
    with torch.device("meta"):
        model = create_model("resnet50", temporal="action", num_classes=174, num_frames=8)
    entering = [64] + [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 2
    layers = [module for module in model.modules() if isinstance(module, ActionExcitation)]

    assert [layer.net.in_channels for layer in layers] == entering
    for layer in layers:
        own = sum(parameter.numel() for parameter in layer.parameters()) - layer.net.weight.numel()
        assert own == added_by_a_block(layer.net.in_channels)
    assert 23_864_558 + sum(map(added_by_a_block, entering)) == 28_082_378
    assert sum(parameter.numel() for parameter in model.parameters()) == 28_082_378


def test_its_multiply_adds_are_those_of_its_paths():
    with torch.device("meta"):
        counted, flat = (
            cost(create_model("resnet50", temporal=temporal, num_classes=174), size=224)
            for temporal in ("action", "none")
        )
    # Input channels and the side of the frames, of each block; blocks that stride see their input's pixels.
    blocks = [(64, 56)] + [(256, 56)] * 3 + [(512, 28)] * 4 + [(1024, 14)] * 6 + [(2048, 7)] * 2
    per_pixel = sum(side**2 * (3 * c + 27 + c * (c // 16) + 9 * (c // 16)) for c, side in blocks)
    per_frame = sum(2 * c * (c // 16) + 3 * (c // 16) ** 2 + c * (c // 16) for c, _ in blocks)

    assert counted.macs - flat.macs == 8 * (per_pixel + per_frame)


@pytest.mark.parametrize(("name", "number"), [("resnet101", 18), ("mobilenetv2_100", 10)])
def test_it_stands_where_the_official_code_has_it(name: str, number: int):
    # Every second block of 33, and the inverted residuals with a residual and an expansion, as TSM.
    with torch.device("meta"):
        model = create_model(name, temporal="action", num_classes=5)

    assert sum(isinstance(module, ActionExcitation) for module in model.modules()) == number


def test_a_stream_goes_on_after_t_frames():
    layer = make_layer(num_frames=2, causal=True)
    x = torch.randn(9, 8, 3, 3, dtype=torch.float64)
    layer.set_num_frames(9)
    expected = layer(x)
    layer.set_num_frames(2)

    state = None
    for frame, y_expected in zip(x.split(1), expected.split(1), strict=True):
        y, state = layer.step(frame, state)
        torch.testing.assert_close(y, y_expected)


def test_channels_are_found_behind_other_layers():
    layer = ActionExcitation(TemporalShift(nn.Conv2d(8, 4, 1), num_frames=4), num_frames=4)

    assert layer.channel.reduce.in_features == 8


@pytest.mark.parametrize(
    ("net", "options", "sentence"),
    [
        (nn.ReLU(), {}, "net must be a conv with in_channels, got ReLU; take the site entry"),
        (nn.Conv2d(8, 8, 1), {"num_divisions": 1}, "num_divisions must be at least 2 and at most .*, 8, got 1; 8"),
        (nn.Conv2d(8, 8, 1), {"num_divisions": 9}, "num_divisions must be at least 2 and at most .*, 8, got 9; 8"),
        (nn.Conv2d(8, 8, 1), {"reduction": 0}, "reduction must be at least 1, got 0; 16 is the paper's"),
    ],
)
def test_what_cannot_be_is_refused(net: nn.Module, options: dict[str, int], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        ActionExcitation(net, num_frames=4, **options)
