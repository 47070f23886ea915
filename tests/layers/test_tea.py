from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.res2net import Bottle2neck
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_into
from kinema.layers.stm import STMConv
from kinema.layers.tea import MotionExcitation, MotionExcitedNorm, MotionGate, SplitOverTime, tea_block
from kinema.models.temporalize import temporalize
from loops import array, conv_by_loops, normalized_slowly, taps_by_loops
from networks import randomize_

POINTWISE = nn.Conv2d(1, 1, kernel_size=1, bias=False)


def layers_of(network: nn.Module, kind: type[TemporalLayer] = TemporalLayer) -> dict[str, TemporalLayer]:
    return {path: module for path, module in network.named_modules() if isinstance(module, kind)}


def excited_slowly(gate: MotionGate, x: Tensor, *, causal: bool) -> Tensor:
    """ME of clips [N, T, C, H, W] in the official code's order: x + x (sigmoid(BN(back(means))) - 1/2)."""
    motion, frames = gate.motion, array(x)
    features = conv_by_loops(frames.reshape(-1, *frames.shape[2:]), array(motion.reduce.weight), POINTWISE)
    features = array(normalized_slowly(torch.from_numpy(features), motion.norm, axis=1))
    moved = conv_by_loops(features, array(motion.transform.weight), motion.transform)
    features, moved = (one.reshape(*frames.shape[:2], *one.shape[1:]) for one in (features, moved))
    difference = np.zeros_like(features)
    for t in range(frames.shape[1]):
        before, after = (t - 1, t) if causal else (t, t + 1)
        if before >= 0 and after < frames.shape[1]:
            difference[:, t] = moved[:, after] - features[:, before]
    back = torch.from_numpy(difference.mean(axis=(3, 4)) @ array(motion.expand.weight).T)  # [N, T, C]
    weight = normalized_slowly(back, gate.norm, axis=2).sigmoid() - 0.5
    return x + x * weight[..., None, None]


def make_layer(channels: int = 8, *, net: nn.Module | None = None, **options) -> MotionExcitation:
    net = nn.Conv2d(channels, 4, 1) if net is None else net
    return randomize_(MotionExcitation(net.double(), reduction=3, **options), seed=2).eval()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
@pytest.mark.parametrize("net", [nn.Conv2d(8, 4, 3, stride=2), nn.Conv2d(8, 8, 3, groups=8)])
def test_motion_excitation_equals_the_definition(net: nn.Conv2d, num_frames: int, causal: bool):
    layer = make_layer(net=net, num_frames=num_frames, causal=causal)
    x = torch.randn(2, num_frames, 8, 3, 5, dtype=torch.float64)

    with torch.no_grad():
        expected = layer.net(excited_slowly(layer.excite, x, causal=causal).flatten(0, 1))
        torch.testing.assert_close(layer(x.flatten(0, 1)), expected)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_right(causal: bool):
    layer = make_layer(net=nn.Conv2d(8, 3, 3, padding=1, stride=2), num_frames=3, causal=causal)
    x = torch.randn(3, 8, 3, 3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_a_difference_is_with_the_next_frame_and_the_last_frame_has_none():
    gate = MotionGate(1, reduction=1).eval()
    with torch.no_grad():
        for part in (gate.motion.reduce, gate.motion.expand):
            part.weight.fill_(1.0)
        gate.motion.transform.weight.zero_()[..., 1, 1] = 1.0
    frames = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(4, 1, 1, 1)

    ahead, back = (gate.motion(frames, num_frames=4, causal=causal).flatten() for causal in (False, True))

    scale = (1 + gate.motion.norm.eps) ** 0.5  # a fresh batch norm divides by this
    torch.testing.assert_close(ahead * scale, torch.tensor([1.0, 2.0, 4.0, 0.0]))
    torch.testing.assert_close(back * scale, torch.tensor([0.0, 1.0, 2.0, 4.0]))


def test_small_differences_of_large_features_survive_16_bits():
    # Means are kept in 32 bits: in bfloat16, 100 and 100.25 would be one number.
    gate = MotionGate(1, reduction=1).eval()
    with torch.no_grad():
        for part in (gate.motion.reduce, gate.motion.expand):
            part.weight.fill_(1.0)
        gate.motion.transform.weight.zero_()[..., 1, 1] = 1.0
    frames = torch.full((2, 1, 4, 4), 100.0, dtype=torch.bfloat16)
    frames[1, :, ::2] = 100.5  # so that the mean is 100.25

    motion = gate.to(torch.bfloat16).motion(frames, num_frames=2, causal=False)

    torch.testing.assert_close(motion.flatten().float(), torch.tensor([0.25, 0.0]))


# ---- the whole block of a Res2Net ----


def make_block(*, first: bool, stride: int = 1, scale: int = 4, cardinality: int = 1) -> Bottle2neck:
    """A block of timm's Res2Net: the first of a stage, which pools its last split, or a later one."""
    planes, inplanes = 16, 48 if first else 64
    downsample = nn.Conv2d(inplanes, 4 * planes, kernel_size=1, stride=stride, bias=False) if first else None
    block = Bottle2neck(
        inplanes,
        planes,
        stride=stride,
        downsample=downsample,
        base_width=26,
        scale=scale,
        cardinality=cardinality,
        norm_layer=nn.BatchNorm2d,
    )
    return block.double()


BLOCKS = {
    "first of a stage": {"first": True},
    "first of a strided stage": {"first": True, "stride": 2},
    "later": {"first": False},
    "of two splits": {"first": False, "scale": 2},
    "with conv groups": {"first": True, "stride": 2, "cardinality": 2, "scale": 3},
}


def block_slowly(block: Bottle2neck, layers: dict[str, TemporalLayer], x: Tensor, *, causal: bool) -> Tensor:
    """TEA's block as the official code has it, with a 2D block's modules; clips [N, T, C, H, W] to frames."""

    def over_time(split: Tensor, name: str) -> Tensor:  # frames [N*T, width, H, W]
        clips = array(split.unflatten(0, x.shape[:2]))
        return torch.from_numpy(taps_by_loops(clips, array(layers[name].temporal.taps), axis=1, causal=causal)).flatten(
            0, 1
        )

    frames = x.flatten(0, 1)
    out = block.bn1(block.conv1(frames)).relu()
    out = excited_slowly(layers["bn1"].excite, out.unflatten(0, x.shape[:2]), causal=causal).flatten(0, 1)
    *splits, last = out.split(block.width, dim=1)
    done: list[Tensor] = []
    for i, split in enumerate(splits):
        before = split if i == 0 or block.is_first else done[-1] + split
        done.append(block.bns[i](block.convs[i](over_time(before, f"convs.{i}"))).relu())
    last = over_time(last, "conv3")
    done.append(F.avg_pool2d(last, 3, block.convs[0].stride, 1) if block.is_first else last)
    out = block.bn3(block.conv3(torch.cat(done, dim=1)))
    return (out + (frames if block.downsample is None else block.downsample(frames))).relu()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_equals_the_official_codes(kind: str, causal: bool):
    flat = randomize_(make_block(**BLOCKS[kind])).eval()
    network = temporalize(nn.Sequential(copy.deepcopy(flat)), "tea", num_frames=3, causal=causal)
    block = network[0]
    for number, layer in enumerate(layers_of(block).values()):
        kept = copy.deepcopy(layer.net.state_dict())
        randomize_(layer, seed=number)
        layer.net.load_state_dict(kept)
    x = torch.randn(2, 3, flat.conv1.in_channels, 5, 6, dtype=torch.float64)

    with torch.no_grad():
        expected = block_slowly(flat, layers_of(block), x, causal=causal)
        torch.testing.assert_close(network(x.flatten(0, 1)), expected)


@pytest.mark.parametrize("causal", [False, True])
def test_a_fresh_block_without_motion_shifts_its_last_split(causal: bool):
    flat = randomize_(make_block(first=False)).eval()
    network = temporalize(nn.Sequential(copy.deepcopy(flat)), "tea", num_frames=3, causal=causal)
    nn.init.zeros_(network[0].bn1.excite.motion.expand.weight)  # a fresh batch norm keeps zeros: weights of one
    x = torch.randn(3, 64, 5, 6, dtype=torch.float64)
    moved = []

    def shift(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (y,) = inputs
        width, half = flat.width, flat.width // 2
        shifted, start = y.clone(), 3 * width
        if not causal:
            shifted[:-1, start : start + half], shifted[-1, start : start + half] = y[1:, start : start + half], 0.0
        back = slice(start + half, start + 2 * half)
        shifted[1:, back], shifted[0, back] = y[:-1, back], 0.0
        moved.append(shifted)
        return (shifted,)

    flat.conv3.register_forward_pre_hook(shift)

    torch.testing.assert_close(network(x), flat(x))
    assert len(moved) == 1


def test_steps_of_a_blocks_layers_equal_the_clip():
    network = randomize_(temporalize(nn.Sequential(make_block(first=True)), "tea", num_frames=4, causal=True)).eval()
    for layer in layers_of(network).values():
        x = torch.randn(2, 4, channels_into(layer), 5, 5, dtype=torch.float64)
        state, frames = None, []
        for frame in x.unbind(dim=1):
            y, state = layer.step(frame, state)
            frames.append(y)
        torch.testing.assert_close(torch.stack(frames, dim=1).flatten(0, 1), layer(x.flatten(0, 1)))


def res2net(name: str = "res2net50_26w_4s") -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0)


def test_every_block_of_a_res2net_gets_the_whole_block():
    network = temporalize(res2net(), "tea", num_frames=8)

    found = {path: type(layer) for path, layer in layers_of(network).items()}
    blocks = [f"layer{stage}.{index}" for stage, depth in enumerate((3, 4, 6, 3), start=1) for index in range(depth)]
    places = {"bn1": MotionExcitedNorm} | dict.fromkeys(["convs.0", "convs.1", "convs.2", "conv3"], SplitOverTime)
    assert found == {f"{block}.{place}": kind for block in blocks for place, kind in places.items()}


def test_every_second_block_on_request():
    network = temporalize(res2net(), "tea", num_frames=8, every=2)

    assert len(layers_of(network, MotionExcitedNorm)) == 2 + 2 + 3 + 2
    assert len(layers_of(network, SplitOverTime)) == 4 * (2 + 2 + 3 + 2)


@pytest.mark.parametrize(("name", "scale"), [("res2net50_26w_4s", 4), ("res2net50_14w_8s", 8), ("res2net50_48w_2s", 2)])
def test_the_parameters_added_are_the_official_codes(name: str, scale: int):
    flat = res2net(name)
    before = sum(parameter.numel() for parameter in flat.parameters())
    added = 0
    for block in (module for module in flat.modules() if isinstance(module, Bottle2neck)):
        channels = block.width * scale
        hidden = channels // 16
        # Two 1 x 1 convs with their batch norms and a depthwise 3 x 3; three taps a channel.
        added += channels * hidden + 2 * hidden + 9 * hidden + hidden * channels + 2 * channels + 3 * channels

    network = temporalize(flat, "tea", num_frames=8)

    assert sum(parameter.numel() for parameter in network.parameters()) - before == added


def test_2d_weights_keep_their_names_or_move_one_down():
    before = list(res2net().state_dict())

    after = [name.replace(".net.", ".") for name in temporalize(res2net(), "tea", num_frames=8).state_dict()]

    assert [name for name in after if not any(part in name for part in (".excite.", ".temporal."))] == before


@pytest.mark.parametrize("order", [["tea", "stm"], ["stm", "tea"], ["tsm", "tea"], ["tea", "tsm"]])
def test_layers_stand_in_and_beside_it(order: list[str]):
    network = temporalize(nn.Sequential(make_block(first=False)), order, num_frames=2)

    assert len(layers_of(network, SplitOverTime)) == 4
    assert len(layers_of(network, STMConv)) == (3 if "stm" in order else 0)
    assert network(torch.randn(4, 64, 5, 5, dtype=torch.float64)).shape == (4, 64, 5, 5)


def test_at_a_site_of_ones_own_it_is_motion_excitation_alone():
    spatial = temporalize(res2net(), "tea", num_frames=4, site="spatial")
    named = temporalize(res2net(), "tea", num_frames=4, sites=["layer1.1.conv1"])

    assert [type(layer) for layer in layers_of(spatial).values()] == [MotionExcitation] * 16
    assert next(iter(layers_of(spatial))) == "layer1.0.convs.0"
    assert list(layers_of(named)) == ["layer1.1.conv1"]


@pytest.mark.parametrize(
    ("name", "conv"), [("resnet50", "conv2"), ("resnet18", "conv1"), ("mobilenetv2_100", "conv_dw")]
)
def test_elsewhere_it_stands_before_the_first_conv_that_sees_pixels(name: str, conv: str):
    with torch.device("meta"):
        network = temporalize(timm.create_model(name, num_classes=0), "tea", num_frames=4)

    assert {path.rpartition(".")[2] for path in layers_of(network)} == {conv}
    assert set(map(type, layers_of(network).values())) == {MotionExcitation}


def test_a_network_of_both_kinds_of_blocks_gets_both():
    with torch.device("meta"):
        network = nn.ModuleList([timm.create_model("resnet18"), timm.create_model("res2net50_26w_4s")])
    temporalize(network, "tea", num_frames=4)

    assert len(layers_of(network[0], MotionExcitation)) == 8
    assert len(layers_of(network[1], MotionExcitedNorm)) == 16
    assert len(layers_of(network[1], SplitOverTime)) == 64


def test_a_frozen_norm_stays_frozen():
    block = make_block(first=False).train()
    block.bn1.eval()

    temporalize(nn.Sequential(block), "tea", num_frames=4)

    assert not any(module.training for module in block.bn1.modules())
    assert block.conv3.training


def test_the_odd_channel_of_a_last_split_stays():
    # The official code stops there: its conv has an even number of channels.
    convs = nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(10, 4, 1)

    *_, join = tea_block(nn.BatchNorm2d(10), nn.ReLU(), *convs, num_frames=2)

    rows = ["".join(str(int(tap)) for tap in row) for row in join.temporal.taps.tolist()]
    assert rows == ["001", "001", "100", "100", "010"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"act_layer": nn.SiLU},
            r"^layer1\.0\.bn1: activation must be an nn.ReLU between ME and the norm, got SiLU; take",
        ),
        ({"scale": 1}, r"^layer1\.0\.bn1: convs must leave a last split without one, got 1 for all 26 channels; take"),
    ],
)
def test_a_block_that_is_another_is_refused(options: dict[str, object], sentence: str):
    block = Bottle2neck(64, 64, base_width=26, norm_layer=nn.BatchNorm2d, **options)
    network = nn.ModuleDict({"layer1": nn.Sequential(block)})

    with pytest.raises(ValueError, match=sentence):
        temporalize(network, "tea", num_frames=4)
    assert not layers_of(network)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: MotionExcitation(nn.ReLU(), num_frames=2),
            "net must be a conv with in_channels, got ReLU; take the site",
        ),
        (
            lambda: MotionExcitation(nn.Conv2d(8, 8, 3), num_frames=2, reduction=0),
            "reduction must be at least 1, got 0; 16 is the paper's",
        ),
        (
            lambda: tea_block(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), num_frames=2),
            "net must be a conv with in_channels, got ReLU",
        ),
    ],
)
def test_what_cannot_be_is_refused(build, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        build()
