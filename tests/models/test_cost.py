from __future__ import annotations

import pytest
import torch

from kinema.layers.sth import STHConv
from kinema.models.classifier import VideoClassifier, create_model
from kinema.models.cost import cost


def resnet50(**options) -> VideoClassifier:
    with torch.device("meta"):
        return create_model("resnet50", num_classes=174, **options)


# ResNet-50, 8 frames of 224 x 224, 174 classes. The paper's tables 6 and 7 print 24.4 M (its row for 2D is borrowed),
# 22.0 M and 23.2 M parameters; the integers are the arithmetic of its sections 3.2 and 3.3.
@pytest.mark.parametrize(
    ("options", "parameters", "macs"),
    [
        ({"temporal": "none"}, 23_864_558, 32_699_940_864),
        ({"temporal": "tsm"}, 23_864_558, 32_699_940_864),
        ({"temporal": "sth", "fusion": "sum"}, 21_978_350, 30_233_690_112),
        ({"temporal": "sth"}, 23_235_822, 30_234_947_584),
        ({"temporal": "sth", "fusion": "sum", "fraction": 1 / 8}, 22_921_454, 31_466_815_488),
        ({"temporal": "sth", "fusion": "sum", "fraction": 1 / 2}, 20_092_142, 27_767_439_360),
        ({"temporal": "sth", "fusion": "sum", "arrangement": "merge"}, 21_978_350, 30_233_690_112),
        ({"temporal": "sth", "dilation": "alternating"}, 23_235_822, 30_234_947_584),
        ({"temporal": "stm", "motion": False}, 23_875_886, 32_745_701_376),
        ({"temporal": "stm"}, 24_035_194, 33_075_407_872),
        ({"temporal": "stsm"}, 23_864_558, 32_699_940_864),
        ({"temporal": "conv2plus1d_sequential"}, 27_636_974, 37_632_442_368),
        ({"temporal": "conv2plus1d_parallel"}, 27_636_974, 37_632_442_368),
    ],
)
def test_cost_is_the_papers(options: dict[str, object], parameters: int, macs: int):
    counted = cost(resnet50(**options), size=224)

    assert (counted.parameters, counted.macs) == (parameters, macs)


SQUARES = sum(blocks * width**2 for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)))
"""Sum over ResNet-50's blocks of the squared width of their 3 x 3 convs."""


# Parameters of the official codes' networks, as their arithmetic has them; mmaction2 prints 25.1 M for TAM.
# Multiply-adds: what TAM's and TAdaConv's branches add to the 2D network, on one number a channel and frame.
@pytest.mark.parametrize(
    ("options", "parameters", "branches"),
    [
        ({"temporal": "tam"}, 25_127_246, 8 * SQUARES + 3776 * (8 * 16 + 16 * 3)),
        ({"temporal": "tam", "num_frames": 16}, 25_134_670, 16 * SQUARES + 3776 * (16 * 32 + 32 * 3)),
        ({"temporal": "tadaconv"}, 27_022_398, SQUARES + 8 * 3 * SQUARES // 2),
    ],
)
def test_cost_of_layers_that_weight_channels(options: dict[str, object], parameters: int, branches: int):
    counted = cost(resnet50(**options), size=224)

    assert counted.parameters == parameters
    assert counted.macs == counted.num_frames * 4_087_492_608 + branches


def test_inflation_adds_two_taps_to_every_second_conv():
    counted, flat = cost(resnet50(temporal="i3d"), size=224), cost(resnet50(), size=224)

    # (1,1,1)(1,0,1,0)(1,0,1,0,1,0)(0,1,0): Ci x Co of the convs, and the pixels that they see. With 400 classes and a
    # stem of five taps these are the 28.0 M that mmaction2 prints.
    convs = [64 * 64, 256 * 64, 256 * 64, 256 * 128, 512 * 128, 512 * 256, 1024 * 256, 1024 * 256, 2048 * 512]
    pixels = [56**2, 56**2, 56**2, 56**2, 28**2, 28**2, 14**2, 14**2, 7**2]
    assert counted.parameters - flat.parameters == 2 * sum(convs)
    assert counted.macs - flat.macs == 8 * 2 * sum(conv * area for conv, area in zip(convs, pixels, strict=True))


def test_cost_grows_with_frames():
    # Table 2 prints 61 G for 16 frames: twice the convs and the head, and attention, which runs once a clip.
    assert cost(resnet50(temporal="sth", num_frames=16), size=224).macs == 2 * 30_233_690_112 + 1_257_472


def test_calibrating_the_pixels_of_a_kernel_costs_a_second_conv():
    channel = cost(resnet50(temporal="stam"), size=224)
    kernel = cost(resnet50(temporal="stam", calibration="kernel"), size=224)
    # 3 x 3 convs, and the strided first blocks of the last three stages, over 8 frames.
    widths, sides, blocks = (64, 128, 256, 512), (56, 28, 14, 7), (3, 4, 6, 3)
    convs = sum(8 * 9 * c**2 * side**2 * count for c, side, count in zip(widths, sides, blocks, strict=True))
    # And eight more numbers a channel in each of four filters, to mix once a frame.
    mixed = sum(8 * 4 * 8 * c * count for c, count in zip(widths, blocks, strict=True))

    assert kernel.macs - channel.macs == convs + mixed
    assert kernel.parameters - channel.parameters == mixed // 8


def test_size_is_the_specs_unless_given():
    model = create_model("test_resnet", num_classes=2)

    assert cost(model) == cost(model, size=model.spec.crop)
    assert cost(model, size=32).macs < cost(model).macs


def test_the_model_is_left_as_it_was():
    model = create_model("test_resnet", temporal="sth", num_classes=2).train()
    model.backbone.layer1.eval()
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}

    cost(model)

    assert [module.training for module in model.modules()] == modes
    assert {module.way for module in model.modules() if isinstance(module, STHConv)} == {"auto"}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_line_says_it():
    text = str(cost(resnet50(temporal="sth"), size=224))

    assert text == "23.24 M parameters, 30.23 G multiply-adds for 8 frames of 224 x 224"
