"""The network of STH's Table 1, on tensors without numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.sth import STHConv
from kinema.layers.sth_attention import Attention
from kinema.models.classifier import VideoClassifier, create_model


def sth_resnet50() -> VideoClassifier:
    with torch.device("meta"):
        return create_model("resnet50", temporal="sth", num_frames=8, num_classes=174)


@pytest.fixture(scope="module")
def outputs() -> dict[str, tuple[int, ...]]:
    """Shape of what each module gives for a clip of 8 frames of 224 x 224, by path."""
    model, shapes = sth_resnet50(), {}

    def note(path: str):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shapes[path] = tuple(output.shape)

        return hook

    for path, module in model.named_modules():
        if not isinstance(module, Attention):
            module.register_forward_hook(note(path))
    model(torch.zeros(1, 8, 3, 224, 224, device="meta"))
    return shapes


@pytest.mark.parametrize(
    ("row", "path", "size"),
    [
        ("Conv1", "backbone.conv1", (64, 8, 112, 112)),
        ("Pool1", "backbone.maxpool", (64, 8, 56, 56)),
        ("Conv2_x", "backbone.layer1", (256, 8, 56, 56)),
        ("Conv3_x", "backbone.layer2", (512, 8, 28, 28)),
        ("Conv4_x", "backbone.layer3", (1024, 8, 14, 14)),
        ("Conv5_x", "backbone.layer4", (2048, 8, 7, 7)),
    ],
)
def test_output_sizes_are_those_of_table_1(outputs, row: str, path: str, size: tuple[int, ...]):
    channels, num_frames, height, width = size

    assert outputs[path] == (num_frames, channels, height, width), row


def test_head_and_consensus_are_those_of_table_1(outputs):
    assert outputs["backbone.global_pool"] == (8, 2048)
    assert outputs[""] == (1, 174)
    assert sth_resnet50().frame_logits(torch.zeros(1, 8, 3, 224, 224, device="meta")).shape == (1, 8, 174)


@pytest.mark.parametrize(
    ("stage", "blocks", "width", "size"),
    [("layer1", 3, 64, 56), ("layer2", 4, 128, 28), ("layer3", 6, 256, 14), ("layer4", 3, 512, 7)],
)
def test_each_block_has_the_hybrid_conv_of_table_1(outputs, stage: str, blocks: int, width: int, size: int):
    paths = [
        path.removeprefix("backbone.")
        for path, module in sth_resnet50().named_modules()
        if isinstance(module, STHConv) and f".{stage}." in path
    ]

    assert paths == [f"{stage}.{block}.conv2" for block in range(blocks)]
    assert {outputs[f"backbone.{path}"] for path in paths} == {(8, width, size, size)}
