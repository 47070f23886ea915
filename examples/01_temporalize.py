"""Turn an image network into a video network, see that it now knows the order of frames, and what it costs."""

from __future__ import annotations

import argparse

import timm
import torch
from torch import Tensor, nn

import kinema

NUM_FRAMES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet18", help="a 2D CNN of timm")
    parser.add_argument("--size", type=int, default=112, help="height and width of a frame")
    parser.add_argument("--quick", action="store_true", help="take the smallest network and frames")
    arguments = parser.parse_args()
    name, size = ("test_resnet", 32) if arguments.quick else (arguments.backbone, arguments.size)

    torch.manual_seed(0)
    clip = torch.randn(1, NUM_FRAMES, 3, size, size)  # [N, T, C, H, W]
    for temporal in kinema.TEMPORAL_LAYERS:
        # Any module that holds blocks of a known kind will do; its weights carry over.
        backbone = timm.create_model(name, num_classes=0, zero_init_last=False)
        kinema.temporalize(backbone, temporal, num_frames=NUM_FRAMES)
        change = (features(backbone, clip) - features(backbone, clip.flip(1))).abs().max().item()
        print(f"{temporal:22s} played in reverse, the mean features change by up to {change:.6f}")

    for temporal in kinema.TEMPORAL_LAYERS:
        model = kinema.create_model(name, temporal=temporal, num_frames=NUM_FRAMES, num_classes=10)
        logits = model.eval()(clip)  # [N, K]
        print(f"{temporal:22s} logits {list(logits.shape)}, {kinema.cost(model, size=size)}")


@torch.inference_mode()
def features(backbone: nn.Module, clip: Tensor) -> Tensor:
    """Runs a temporalized backbone, which takes the frames of all clips in one batch axis, and averages over time."""
    backbone.eval()
    frames: Tensor = backbone(clip.flatten(0, 1))  # [N*T, D]
    return frames.unflatten(0, clip.shape[:2]).mean(dim=1)  # [N, D]


if __name__ == "__main__":
    main()
