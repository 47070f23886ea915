from __future__ import annotations

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from kinema.layers.stam import STAMConv
from kinema.layers.tadaconv import Route, TAdaConv
from loops import conv3d_slowly, normalized_slowly
from networks import randomize_

CONVS = {
    "plain": {"kernel_size": 3, "padding": 1, "bias": False},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "unpadded": {"kernel_size": (3, 2)},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "depthwise": {"kernel_size": 3, "padding": 1, "groups": 4, "stride": 2},
}


def make_layer(*, conv: str = "plain", **options) -> TAdaConv:
    layer = TAdaConv(nn.Conv2d(4, 8, **CONVS[conv]), nn.BatchNorm2d(8), **options)
    layer = randomize_(layer.double(), seed=4).eval()
    with torch.no_grad():
        layer.route.expand.weight.mul_(100.0)  # randomize_ keeps it small for the sake of deep networks
    return layer


def defined_slowly(layer: TAdaConv, x: Tensor) -> Tensor:
    """The paper's equations: each frame is convolved with kernels of its own; x [N, T, Ci, H, W]."""
    conv, n_frames = layer.conv, x.shape[1]
    first = -2 if layer.causal else -1
    alphas = torch.stack([alpha_slowly(layer.route, clip.mean(dim=(2, 3)), layer.causal) for clip in x])  # [N, T, Ci]
    groups = torch.arange(conv.out_channels) // (conv.out_channels // conv.groups)
    width = conv.weight.shape[1]
    clips = []
    for n in range(x.shape[0]):
        frames = []
        for t in range(n_frames):
            alpha = alphas[n, t].view(conv.groups, width)[groups]  # [Co, Ci / g]
            weight = conv.weight * alpha[:, :, None, None]
            y = conv3d_slowly(x[n : n + 1, t : t + 1], weight.unsqueeze(2), conv, causal=False)[0, 0]
            frames.append(y if conv.bias is None else y + conv.bias.view(-1, 1, 1))
        clips.append(torch.stack(frames))
    y = torch.stack(clips)
    pooled = torch.zeros_like(y)
    for t in range(n_frames):
        seen = [t + first + k for k in range(3) if 0 <= t + first + k < n_frames]
        pooled[:, t] = sum(y[:, s] for s in seen) / 3
    return normalized_slowly(y, layer.norm, axis=2) + normalized_slowly(pooled, layer.pool_norm, axis=2)


def alpha_slowly(route: Route, means: Tensor, causal: bool) -> Tensor:
    """The route of one clip, frame by frame: means [T, Ci] to alpha [T, Ci]."""
    first, n_frames = (-2 if causal else -1), len(means)

    def conv(rows: list[Tensor], weight: Tensor, t: int) -> Tensor:
        return sum(weight[:, :, k] @ rows[t + first + k] for k in range(3) if 0 <= t + first + k < n_frames)

    rows, hidden = [], []
    for t in range(n_frames):
        clip_mean = means[: t + 1].mean(dim=0) if causal else means.mean(dim=0)
        rows.append(means[t] + route.describe.weight @ clip_mean + route.describe.bias)
    for t in range(n_frames):
        numbers = conv(rows, route.reduce.weight, t) + route.reduce.bias
        hidden.append(normalized_slowly(numbers, route.norm, axis=0).clamp(min=0))
    return torch.stack([1 + conv(hidden, route.expand.weight, t) for t in range(n_frames)])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("conv", CONVS)
def test_equals_the_definition(conv: str, causal: bool):
    layer = make_layer(conv=conv, num_frames=3, causal=causal)
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)

    with torch.no_grad():
        y = layer(x.flatten(0, 1)).unflatten(0, (2, 3))
        torch.testing.assert_close(y, defined_slowly(layer, x))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_equals_the_definition_for_other_lengths(num_frames: int, causal: bool):
    layer = make_layer(conv="strided", num_frames=num_frames, causal=causal)
    x = torch.randn(1, num_frames, 4, 5, 3, dtype=torch.float64)

    with torch.no_grad():
        torch.testing.assert_close(layer(x[0])[None], defined_slowly(layer, x))


@pytest.mark.parametrize("conv", ["strided", "grouped"])
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_right(causal: bool, conv: str):
    layer = make_layer(conv=conv, num_frames=3, causal=causal)
    x = torch.randn(3, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_starts_as_the_conv_and_its_norm_to_the_last_bit(causal: bool, training: bool):
    both = randomize_(nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16))).train(training)
    x = torch.randn(8, 8, 5, 5)
    expected = both(x)

    layer = TAdaConv(*both, num_frames=4, causal=causal).train(training)

    assert torch.equal(layer(x), expected)


def test_weights_are_as_many_as_in_the_official_code():
    conv, norm = nn.Conv2d(64, 64, 3, bias=False), nn.BatchNorm2d(64)
    before = sum(parameter.numel() for parameter in [*conv.parameters(), *norm.parameters()])

    layer = TAdaConv(conv, norm, num_frames=8)

    # One C x C matrix with bias, 3 x C x C/4 weights twice with one bias, and two batch norms.
    added = 64 * 64 + 64 + 2 * (3 * 64 * 16) + 16 + 2 * 16 + 2 * 64
    assert sum(parameter.numel() for parameter in layer.parameters()) - before == added


def test_the_activation_of_a_norm_is_left_out():
    conv, norm = nn.Conv2d(4, 8, 3), randomize_(BatchNormAct2d(8)).eval()
    layer = TAdaConv(conv, norm, num_frames=2).eval()
    x = torch.randn(2, 4, 5, 5)

    assert layer(x).min() < 0
    torch.testing.assert_close(layer(x).clamp(min=0), norm(conv(x)))
    assert type(layer.norm) is nn.BatchNorm2d


@pytest.mark.parametrize(
    ("conv", "norm", "options", "sentence"),
    [
        (nn.Linear(4, 4), nn.BatchNorm2d(4), {}, "conv must be an nn.Conv2d, got Linear; choose another site"),
        (nn.Conv2d(4, 4, 3), nn.LayerNorm(4), {}, "norm must be an nn.BatchNorm2d, got LayerNorm"),
        (nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), {"reduction": 0}, "reduction must be at least 1, got 0; 4 is"),
    ],
)
def test_what_cannot_be_is_refused(conv: nn.Module, norm: nn.Module, options: dict[str, int], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        TAdaConv(conv, norm, num_frames=4, **options)


@pytest.mark.parametrize("horizon", [None, 1, 3])
def test_a_stream_is_calibrated_by_the_last_frames_only(horizon: int | None):
    layer = make_layer(conv="strided", num_frames=4, causal=True, horizon=horizon)
    long = make_layer(conv="strided", num_frames=11, causal=True, horizon=horizon or 4)
    long.load_state_dict(layer.state_dict())
    frames, state = torch.randn(11, 2, 4, 5, 3, dtype=torch.float64), None
    for frame in frames:
        y, state = layer.step(frame, state)

    torch.testing.assert_close(y, long(frames.transpose(0, 1).flatten(0, 1)).unflatten(0, (2, 11))[:, -1])


@pytest.mark.parametrize("layer", [TAdaConv, STAMConv])
def test_a_synchronized_norm_has_synchronized_ones_beside_it(layer: type):
    built = layer(nn.Conv2d(8, 8, 3), nn.SyncBatchNorm(8), num_frames=2)
    norms = [module for module in built.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(norms) == (2 if layer is TAdaConv else 4)


@pytest.mark.parametrize("layer", [TAdaConv, STAMConv])
def test_a_norm_of_another_conv_is_refused(layer: type):
    with pytest.raises(ValueError, match="norm must have the conv's 8 channels, got 4; pair a conv"):
        layer(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(4), num_frames=2)
