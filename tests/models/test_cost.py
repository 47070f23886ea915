from __future__ import annotations

import pytest
import torch
from torch import nn

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


# Sums over ResNet-50's 16 blocks: output channels (of conv3), and these times the pixels that they have.
ENDS = 3 * 256 + 4 * 512 + 6 * 1024 + 3 * 2048
PLANES = 3 * 256 * 56**2 + 4 * 512 * 28**2 + 6 * 1024 * 14**2 + 3 * 2048 * 7**2


def test_gsm_adds_a_gate_and_its_norm_to_every_block():
    counted, flat = cost(resnet50(temporal="gsm"), size=224), cost(resnet50(), size=224)

    # A norm's two numbers a channel; 3 x 3 x 3 taps of each channel to its half's gate, and two biases.
    assert counted.parameters - flat.parameters == (2 + 27) * ENDS + 16 * 2
    assert counted.macs - flat.macs == 8 * 27 * PLANES


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_gsf_adds_the_gate_of_its_channels_and_two_small_convs(parts: int):
    counted, flat = cost(resnet50(temporal="gsf", fraction=1 / parts), size=224), cost(resnet50(), size=224)

    # The convs of the fusion: 2 x 3 x 3 taps and a bias for each half, at every gated channel and frame.
    assert counted.parameters - flat.parameters == 29 * ENDS // parts + 16 * (2 + 2 * 19)
    assert counted.macs - flat.macs == 8 * (27 * PLANES + 18 * ENDS) // parts


def test_tin_adds_two_nets_to_every_block():
    counted, flat = cost(resnet50(temporal="tin"), size=224), cost(resnet50(), size=224)
    # Channels that move, a quarter of what comes into conv1 of each block.
    moving = 64 // 4 + 3 * 256 // 4 + 4 * 512 // 4 + 6 * 1024 // 4 + 2 * 2048 // 4
    # Offsets: a conv over three frames to one channel, T -> T, T -> 2, with biases. Weights: a conv to two channels.
    offsets, weights = 3 * moving + 16 * (1 + 8 * 8 + 8 + 8 * 2 + 2), 3 * 2 * moving + 16 * 2

    assert moving == 3280
    assert counted.parameters == flat.parameters + offsets + weights == 23_895_566
    assert counted.macs - flat.macs == 8 * 9 * moving + 16 * (8 * 8 + 8 * 2)


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


@pytest.mark.parametrize("temporal", ["none", "tsm", "sth"])
def test_the_layers_add_up_to_the_whole(temporal: str):
    counted = cost(resnet50(temporal=temporal), size=224)

    assert sum(layer.parameters for layer in counted.layers) == counted.parameters
    assert sum(layer.macs for layer in counted.layers) == counted.macs
    assert sum(layer.activation_bytes for layer in counted.layers) == counted.activation_bytes
    assert min(min(layer.parameters, layer.macs, layer.activation_bytes) for layer in counted.layers) >= 0


def test_a_temporal_layer_counts_with_all_that_is_in_it():
    layers = {layer.path: layer for layer in cost(resnet50(temporal="sth"), size=224).layers}

    # 64 inputs and outputs, a quarter of the kernels 3 and the rest 9 numbers, and 64^2 of attention.
    here = layers["backbone.layer1.0.conv2"]
    assert (here.kind, here.parameters) == ("STHConv", 64 * 64 * 7.5 + 64**2)
    assert here.macs == 8 * 56 * 56 * 64 * 64 * 7.5 + 64**2
    assert not [path for path in layers if path.startswith("backbone.layer1.0.conv2.")]
    assert (layers["head"].parameters, layers["head"].macs) == (2048 * 174 + 174, 8 * 2048 * 174)


def test_parameters_of_a_block_itself_are_counted():
    layers = {layer.path: layer for layer in cost(create_model("test_convnext", num_classes=2), size=32).layers}

    assert layers["backbone.stages.0.blocks.0"].parameters == 24  # the scale of the residual branch


@pytest.mark.parametrize("temporal", ["none", "tsm", "sth", "stm", "conv2plus1d_parallel", "nonlocal", "motionsqueeze"])
def test_activations_are_what_a_training_step_keeps(temporal: str):
    model = create_model("test_resnet", temporal=temporal, num_classes=2, num_frames=4)
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        module.training = not isinstance(module, nn.BatchNorm2d)
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(torch.zeros(1, 4, 3, 64, 64))
    really = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    assert logits.requires_grad
    # Without numbers a batch norm also saves a mean and a variance of each channel.
    assert cost(model, size=64).activation_bytes == pytest.approx(really, rel=0.02)


def test_what_is_frozen_keeps_less():
    model = create_model("test_resnet", num_classes=2)
    before = cost(model, size=64)
    model.backbone.requires_grad_(False)

    assert cost(model, size=64).activation_bytes < before.activation_bytes / 10
    assert cost(model, size=64).parameters == before.parameters


def test_one_small_frame_can_be_counted():
    assert cost(create_model("resnet18", num_classes=2, num_frames=1), size=32).activation_bytes > 0


@pytest.mark.parametrize(
    ("size", "sentence"),
    [(0, "size must be a whole number of at least 1, got 0"), (1, "size must be one that the network can take")],
)
def test_a_size_that_cannot_be_is_refused(size: int, sentence: str):
    model = create_model("inception_v3", num_classes=3, num_frames=1)
    with pytest.raises(ValueError, match=sentence):
        cost(model, size=size)


def test_a_backbone_alone_has_no_cost():
    with pytest.raises(ValueError, match="model must be a VideoClassifier, got Linear; build it with create_model"):
        cost(nn.Linear(2, 2))
