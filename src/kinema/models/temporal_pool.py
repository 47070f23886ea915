"""The temporal pool of TSM's official code: half the frames from a network's second stage on.

TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019, https://arxiv.org/abs/1811.08383

Shapes: N clips, T frames, C channels, H x W pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.folding import fold_time, unfold_time
from kinema.models.sites import find_sites
from kinema.models.video_networks import VideoNetwork


class TemporalPool(nn.Module):
    """Takes the maximum of frames 2t-1, 2t and 2t+1 of a clip as its new frame t.

    It stands behind the last block of a stage and has no parameters, so that a network's weights keep their names. An
    odd T is our reading, which the official code does not have: the new T is T/2, rounded up.

    Args:
        num_frames: Frames T of a clip.
        stage: Dotted path of the stage that it ends.
    """

    def __init__(self, *, num_frames: int, stage: str) -> None:
        super().__init__()
        self.stage = stage
        self.set_num_frames(num_frames)

    def set_num_frames(self, num_frames: int) -> None:
        """Changes T, that of the frames that come in."""
        self.num_frames = num_frames

    @property
    def frames_after(self) -> int:
        """Frames of a clip that go out."""
        return pooled_length(self.num_frames)

    def forward(self, x: Tensor) -> Tensor:
        """Pools.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            Frames [N*ceil(T/2), C, H, W].
        """
        clips = unfold_time(x, self.num_frames).transpose(1, 2)  # [N, C, T, H, W]
        pooled = F.max_pool3d(clips, kernel_size=(3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))
        return fold_time(pooled.transpose(1, 2))

    def extra_repr(self) -> str:
        """Names the pool's numbers."""
        return f"num_frames={self.num_frames} to {self.frames_after}"


def pooled_length(num_frames: int) -> int:
    """Returns how many frames the pool makes of T."""
    return (num_frames + 1) // 2


def frames_out(backbone: nn.Module, num_frames: int) -> int:
    """Returns how many frames a backbone gives for each clip of T; a whole video network gives one."""
    if isinstance(backbone, VideoNetwork):
        return 1
    pools = sum(isinstance(module, TemporalPool) for module in backbone.modules())
    for _ in range(pools):
        num_frames = pooled_length(num_frames)
    return num_frames


def add_temporal_pool(backbone: nn.Module, *, num_frames: int, causal: bool) -> TemporalPool:
    """Puts a pool between the first and the second stage of a network, in place.

    Args:
        backbone: A network with stages of blocks that `BLOCKS` knows.
        num_frames: Frames T of a clip.
        causal: Whether the network has to be causal, which the pool is not.

    Returns:
        The pool.

    Raises:
        ValueError: If the network has to be causal, or has no two stages of blocks in a row.
    """
    if causal:
        raise ValueError(
            "temporal_pool must be off in a causal network, got causal=True; each pooled frame sees a later one"
        )
    stages = list(dict.fromkeys(found.stage for found in find_sites(backbone, "block")))
    first = backbone.get_submodule(stages[0])
    if len(stages) < 2 or not isinstance(first, nn.Sequential):
        raise ValueError(
            f"temporal_pool must stand between two stages of blocks in a row, got {type(backbone).__name__} "
            f"with {type(first).__name__} at {stages[0] or 'its root'}; take a ResNet"
        )
    pool = TemporalPool(num_frames=num_frames, stage=stages[0])
    first.append(pool)
    return pool


def remove_temporal_pool(backbone: nn.Module) -> None:
    """Takes the pool out again."""
    for module in list(backbone.modules()):
        if isinstance(module, nn.Sequential) and len(module) and isinstance(module[-1], TemporalPool):
            del module[-1]
