from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from kinema.layers.contract import TemporalLayer
from kinema.models.classifier import ModelConfig, VideoClassifier, create_model
from kinema.models.cost import cost
from kinema.models.short_term import ShortTermStem
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.models.temporalize import temporalize
from kinema.models.weights import initialize_from, load_model, save_model
from kinema.spec import ClipSpec
from loops import array
from networks import randomize_

T = 3
BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "torchvision, two convs": partial(ResNet, BasicBlock, [2, 1, 1, 1], num_classes=5),
    "torchvision, bottleneck": partial(ResNet, Bottleneck, [1, 1, 1, 1], num_classes=5),
    "timm": partial(timm.create_model, "resnet18", layers=(2, 1, 1, 1), channels=(16, 16, 24, 32), num_classes=0),
    "timm, a deep stem": partial(timm.create_model, "test_resnet", num_classes=0),
}


def flat_network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return randomize_(BACKBONES[name]().double()).eval()


def stacked_frames(num_frames: int = 2 * T, size: tuple[int, int] = (48, 40)) -> Tensor:
    return torch.randn(num_frames, 15, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def short_model(temporal: str | list[str] = "tdn", *, num_frames: int = T, **options) -> VideoClassifier:
    model = create_model(
        "test_resnet", temporal=temporal, num_frames=num_frames, num_classes=4, short_term=True, **options
    )
    return randomize_(model).eval()


def clips(num_clips: int = 2, num_frames: int = T) -> Tensor:
    return torch.randn(num_clips, num_frames, 15, 32, 32, generator=torch.Generator().manual_seed(0))


def differences_by_loops(x: Tensor) -> np.ndarray:
    """The four differences of neighbours, at half the resolution: [B, 15, H, W] -> [B, 12, H/2, W/2]."""
    frames = array(x)
    y = np.zeros((len(x), 12, x.shape[2] // 2, x.shape[3] // 2))
    for k in range(4):
        for channel in range(3):
            difference = frames[:, 3 * (k + 1) + channel] - frames[:, 3 * k + channel]
            for row, column in np.ndindex(y.shape[2:]):
                window = difference[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                y[:, 3 * k + channel, row, column] = window.mean(axis=(1, 2))
    return y


def repeated_by_loops(x: Tensor, size: torch.Size) -> Tensor:
    """Brings frames [B, D, H, W] to another size by repeating pixels."""
    y = torch.zeros(*x.shape[:2], *size, dtype=x.dtype)
    for row, column in np.ndindex(*size):
        y[:, :, row, column] = x[:, :, row * x.shape[2] // size[0], column * x.shape[3] // size[1]]
    return y


def first_stage_slowly(flat: nn.Module, x: Tensor, *, share: float) -> Tensor:
    """What a fresh network gives behind its first stage, from the modules of the 2D network that it was made of."""
    act = flat.act1 if hasattr(flat, "act1") else flat.relu
    first, *later = flat.conv1 if isinstance(flat.conv1, nn.Sequential) else [flat.conv1]
    kernels = torch.stack([first.weight.mean(dim=1)] * 12, dim=1)
    differences = F.conv2d(torch.from_numpy(differences_by_loops(x)), kernels, None, first.stride, first.padding)
    for module in later:
        differences = module(differences)
    differences = flat.maxpool(act(differences / (1.0 + flat.bn1.eps) ** 0.5))  # a fresh batch norm
    own = flat.maxpool(act(flat.bn1(flat.conv1(x[:, 6:9]))))
    mixed = flat.layer1(share * own + (1 - share) * repeated_by_loops(differences, own.shape[2:]))
    return share * mixed + (1 - share) * repeated_by_loops(flat.layer1(differences), mixed.shape[2:])


@pytest.mark.parametrize(("num_frames", "share"), [(1, 0.5), (8, 0.5), (16, 0.75)])
@pytest.mark.parametrize("name", BACKBONES)
def test_equals_the_definition(name: str, num_frames: int, share: float):
    flat = flat_network(name)
    backbone = temporalize(copy.deepcopy(flat), "none", num_frames=num_frames, short_term=True)
    x = stacked_frames(2)

    with torch.no_grad():
        behind = backbone.layer1(backbone.maxpool(backbone.bn1(backbone.conv1(x))))
        expected = first_stage_slowly(flat, x, share=share)
        torch.testing.assert_close(behind, expected)
        rest = nn.Sequential(flat.layer2, flat.layer3, flat.layer4, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        torch.testing.assert_close(backbone(x), getattr(flat, "fc", nn.Identity())(rest(expected)))


@pytest.mark.parametrize("size", [(33, 47), (32, 32), (65, 98)])
def test_pictures_of_any_size_work(size: tuple[int, int]):
    backbone = temporalize(flat_network("torchvision, two convs"), "none", num_frames=1, short_term=True)

    assert backbone(stacked_frames(1, size)).isfinite().all()


@pytest.mark.parametrize("name", BACKBONES)
def test_2d_weights_keep_their_values_and_outside_of_the_stem_their_names(name: str):
    flat = flat_network(name)
    backbone = temporalize(copy.deepcopy(flat), "none", num_frames=T, short_term=True)
    own = backbone.state_dict()

    for path, tensor in flat.state_dict().items():
        moved = f"conv1.net.{path}" if path.split(".")[0] in ("conv1", "bn1", "maxpool") else path
        assert torch.equal(own[moved], tensor), path
    new = set(own) - {f"conv1.net.{path}" for path in flat.state_dict()} - set(flat.state_dict())
    assert all(path.startswith(("conv1.differences.", "conv1.fusion.", "layer1.short_term.")) for path in new)


def test_the_stream_of_differences_learns_by_itself():
    backbone = temporalize(flat_network("timm"), "none", num_frames=T, short_term=True)
    copies = dict(backbone.layer1.short_term.net.named_parameters())

    for path, parameter in copies.items():
        assert parameter is not backbone.layer1.get_parameter(path)
    assert {f"layer1.{path}" for path in copies} <= {path for path, _ in backbone.named_parameters()}


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_works_with_every_layer(temporal: str):
    model, x = short_model(temporal), clips()

    y = model(x)
    y.square().sum().backward()

    # Convolutions of other batch sizes may sum in another order.
    torch.testing.assert_close(y, torch.cat([model(x[:1]), model(x[1:])]), atol=1e-4, rtol=1e-4)
    backbone = model.backbone
    for part in (backbone.conv1.differences, backbone.conv1.net, backbone.layer1.short_term):
        for key, parameter in part.named_parameters():
            assert parameter.grad.abs().max() > 0, key
    still = x.unflatten(2, (5, 3))[:, :, 2:3].expand(-1, -1, 5, -1, -1, -1).flatten(2, 3)
    assert (model(still) - y).abs().max() > 1e-3  # neighbours matter


@pytest.mark.parametrize("temporal", [name for name in TEMPORAL_LAYERS if name != "none"])
def test_layers_stand_where_they_stand_without_it(temporal: str):
    with torch.device("meta"):
        plain, short = (temporalize(BACKBONES["timm"](), temporal, num_frames=T, short_term=on) for on in (False, True))

    found = [
        {path: type(module) for path, module in network.named_modules() if isinstance(module, TemporalLayer)}
        for network in (plain, short)
    ]
    assert found[0] == found[1]


def test_a_layer_in_the_first_stage_leaves_the_stream_of_differences_2d():
    x = stacked_frames(T)
    backbone = temporalize(flat_network("timm"), "tsm", num_frames=T, short_term=True)
    _, differences = backbone.conv1(x)
    stream = backbone.layer1.short_term.net

    assert isinstance(backbone.layer1[0].conv1, TemporalLayer)
    torch.testing.assert_close(stream(differences.flip(0)), stream(differences).flip(0))


def test_a_layer_may_stand_in_the_stem():
    backbone = flat_network("timm")

    temporalize(backbone, "conv2plus1d_sequential", num_frames=T, sites=["conv1"], short_term=True)

    assert isinstance(backbone.conv1.net.conv1, TemporalLayer)
    assert not any(isinstance(module, TemporalLayer) for module in backbone.conv1.differences.modules())
    assert backbone(stacked_frames()).isfinite().all()


def test_a_temporal_pool_stands_behind_the_last_mixing():
    pooled, plain = (short_model("none", num_frames=4, temporal_pool=on) for on in (True, False))
    assert list(pooled.state_dict()) == list(plain.state_dict())
    x = clips(num_frames=4)

    with torch.no_grad():
        behind = plain.backbone.layer1(plain.backbone.conv1(x.flatten(0, 1))).unflatten(0, (2, 4))
        expected = torch.stack([behind[:, :2].amax(dim=1), behind[:, 1:].amax(dim=1)], dim=1)
        torch.testing.assert_close(
            pooled.backbone.layer1(pooled.backbone.conv1(x.flatten(0, 1))), expected.flatten(0, 1)
        )
    assert pooled.frame_logits(x).shape == (2, 2, 4)


def test_a_causal_network_sees_no_later_stack():
    model, x = short_model(["tsm", "tdn"], causal=True), clips(1)
    changed = torch.cat([x[:, :-1], x[:, -1:] + 1.0], dim=1)

    with torch.no_grad():
        before, after = model.frame_logits(x), model.frame_logits(changed)

    assert torch.equal(before[:, :-1], after[:, :-1])
    assert (before[:, -1] - after[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_kept(dtype: torch.dtype):
    assert short_model().to(dtype)(clips().to(dtype)).dtype == dtype
    backbone = temporalize(BACKBONES["timm"]().to(dtype), "none", num_frames=T, short_term=True).eval()
    assert backbone(stacked_frames().to(dtype)).dtype == dtype


def test_autocast_and_channels_last_give_nearly_the_same():
    model, x = short_model(), clips()

    with torch.no_grad():
        expected = model(x)
        laid_out = model.to(memory_format=torch.channels_last)
        # Convolutions of another layout may sum in another order.
        torch.testing.assert_close(laid_out(x), expected, atol=1e-4, rtol=1e-4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            # bfloat16 has 8 bits of mantissa, and every layer rounds.
            torch.testing.assert_close(model(x).float(), expected, atol=0.3, rtol=0.1)


@pytest.mark.slow
def test_exports_with_any_batch():
    model = short_model()

    program = torch.export.export(model, (clips(),), dynamic_shapes=({0: torch.export.Dim("num_clips", min=1)},))

    for num_clips in (1, 3):
        torch.testing.assert_close(program.module()(clips(num_clips)), model(clips(num_clips)))


def test_comes_back_from_a_file_with_the_share_that_it_learned_with(tmp_path):
    model = short_model("tsm", num_frames=8)
    model.set_num_frames(16)
    save_model(tmp_path / "weights.safetensors", model)

    loaded = load_model(tmp_path / "weights.safetensors")

    assert (loaded.spec, loaded.config) == (model.spec, model.config)
    assert loaded.backbone.conv1.fusion.share == loaded.backbone.layer1.short_term.fusion.share == 0.5
    assert torch.equal(loaded(clips(1, 16)), model(clips(1, 16)))


def test_weights_without_it_start_the_stream_of_differences_too(tmp_path):
    flat = randomize_(create_model("test_resnet", temporal="tsm", num_classes=4, num_frames=T))
    save_model(tmp_path / "flat.safetensors", flat)
    model = create_model("test_resnet", temporal="tdn", num_classes=4, num_frames=T, short_term=True)

    initialize_from(model, tmp_path / "flat.safetensors")

    stem, kernels = model.backbone.conv1, flat.backbone.conv1[0].weight
    assert torch.equal(stem.net.conv1[0].weight, kernels)
    torch.testing.assert_close(
        stem.differences.conv1[0].weight, kernels.mean(dim=1, keepdim=True).expand(-1, 12, -1, -1)
    )
    first = flat.backbone.layer1[0].conv2.weight
    assert torch.equal(model.backbone.layer1[0].conv2.weight, first)
    assert torch.equal(model.backbone.layer1.short_term.net[0].conv2.weight, first)


def test_a_model_stacks_five_frames_by_itself():
    model = create_model("test_resnet", num_classes=2, short_term=True)

    assert (model.spec.stack, model.spec.mean, model.config.in_channels) == (5, (0.5, 0.5, 0.5), 15)
    assert ModelConfig.from_json(model.config.to_json()) == model.config
    spec = ClipSpec(stack=5, resize=40, crop=32)
    assert create_model("test_resnet", num_classes=2, short_term=True, spec=spec).spec is spec


def test_modes_and_frozen_norms_stay_as_they_were():
    backbone = flat_network("timm").train()
    backbone.bn1.eval()

    temporalize(backbone, "none", num_frames=T, short_term=True)

    still = [path for path, module in backbone.named_modules() if not module.training]
    assert still == ["conv1.net.bn1", "conv1.differences.bn1"]
    temporalize(network := flat_network("timm"), "none", num_frames=T, short_term=True)
    assert not any(module.training for module in network.modules())


def test_costs_the_stream_of_differences():
    with torch.device("meta"):
        plain, short = (create_model("resnet50", num_classes=174, short_term=on) for on in (False, True))
    stem_weights, stage_weights = 64 * 12 * 49, (64 + 64 * 9 + 256 + 256) * 64 + 2 * (256 + 64 * 9 + 256) * 64
    norms = 2 * 64 + 2 * (6 * 64 + 4 * 256)

    difference = cost(short, size=224).parameters - cost(plain, size=224).parameters
    assert difference == stem_weights + stage_weights + norms
    macs = cost(short, size=224).macs - cost(plain, size=224).macs
    assert macs == 8 * (56 * 56 * stem_weights + 28 * 28 * stage_weights)


def test_what_a_layer_refuses_leaves_the_backbone_as_it_was():
    backbone = flat_network("timm")
    before = dict(backbone.named_modules())

    with pytest.raises(ValueError, match="fraction must lie"):
        temporalize(backbone, ["tsm", "sth"], num_frames=4, short_term=True, temporal_pool=True, fraction=0.9)

    assert dict(backbone.named_modules()) == before


@pytest.mark.parametrize("name", ["mobilenetv2_100", "hrnet_w18_small", "vgg11", "densenet121", "test_byobnet"])
def test_other_backbones_are_refused(name: str):
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)

    with pytest.raises(ValueError, match=r"backbone must be a ResNet of timm or torchvision for short_term, .* got a"):
        temporalize(backbone, "none", num_frames=4, short_term=True)


def test_a_resnet_inside_of_another_module_is_refused():
    with pytest.raises(ValueError, match="got a Sequential; leave short_term out, or take a ResNet"):
        temporalize(nn.Sequential(torchvision.models.resnet18()), "tsm", num_frames=4, short_term=True)


def test_a_second_one_is_refused():
    backbone = temporalize(BACKBONES["timm"](), "none", num_frames=4, short_term=True)

    with pytest.raises(ValueError, match="must be a 2D network, got one with ShortTermStem at conv1"):
        temporalize(backbone, "none", num_frames=4, short_term=True)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: create_model("test_resnet", num_classes=2, short_term=True, spec=ClipSpec()),
            r"stack of the spec must be 5 for short_term, got 1; make it ClipSpec\(stack=5, \.\.\.\)",
        ),
        (
            lambda: short_model()(torch.zeros(1, T, 3, 32, 32)),
            r"this model takes T = 3 frames of C = 15 channels, 5 neighbours of 3 each, as load_views stacks them",
        ),
        (
            lambda: temporalize(BACKBONES["timm"](), "none", num_frames=1, short_term=True)(torch.zeros(1, 3, 32, 32)),
            r"frames must have 5 x 3 channels for short_term, got 3; stack each",
        ),
    ],
)
def test_what_is_not_stacked_is_refused(call: Callable[[], object], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_2d_network_takes_stacked_frames_too():
    model = create_model("test_resnet", num_classes=2, num_frames=2, spec=ClipSpec(num_frames=2, stack=3))

    assert model.config.in_channels == 9
    assert not any(isinstance(module, ShortTermStem) for module in model.modules())
    assert model(torch.zeros(1, 2, 9, 32, 32)).shape == (1, 2)
