"""Whole video networks from torchvision, which join frames in their own layers, behind the door of a backbone.

r3d_18, mc3_18, r2plus1d_18: A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018,
https://arxiv.org/abs/1711.11248. s3d: Rethinking Spatiotemporal Feature Learning, ECCV 2018,
https://arxiv.org/abs/1712.04851. swin3d_t: Video Swin Transformer, CVPR 2022, https://arxiv.org/abs/2106.13230.
mvit_v2_s: MViTv2, CVPR 2022, https://arxiv.org/abs/2112.01526.

Shapes: N clips, T frames, C channels, H x W pixels, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.models import WeightsEnum, get_model, get_weight
from torchvision.models.video import S3D, MViT

from kinema.layers.folding import unfold_time
from kinema.models.first_conv import adapt_kernels
from kinema.models.modes import evaluation_mode
from kinema.spec import ClipSpec


@dataclass(frozen=True)
class VideoNetworkKind:
    """What is to be known of a network besides its name."""

    weights: str
    """torchvision's name of its published weights, of Kinetics-400."""
    head: str
    """The module that makes classes of features."""


VIDEO_NETWORKS = {
    "r3d_18": VideoNetworkKind("R3D_18_Weights.KINETICS400_V1", head="fc"),
    "mc3_18": VideoNetworkKind("MC3_18_Weights.KINETICS400_V1", head="fc"),
    "r2plus1d_18": VideoNetworkKind("R2Plus1D_18_Weights.KINETICS400_V1", head="fc"),
    "s3d": VideoNetworkKind("S3D_Weights.KINETICS400_V1", head="classifier"),
    "swin3d_t": VideoNetworkKind("Swin3D_T_Weights.KINETICS400_V1", head="head"),
    "mvit_v2_s": VideoNetworkKind("MViT_V2_S_Weights.KINETICS400_V1", head="head"),
}
"""torchvision's name -> what is to be known of it."""


class VideoNetwork(nn.Module):
    """Takes folded frames as a 2D network does, but gives one feature vector for a clip.

    Two networks take more sizes than in torchvision. An MViT is told the size of each clip, so that its weights, made
    for 16 frames of 224 x 224, are resampled along their relative positions as torchvision does it. The last window of
    S3D, 2 x 7 x 7, shrinks to what a small clip has left, our reading.

    Args:
        net: A network of torchvision, whose head is taken off.
        name: Its name in `VIDEO_NETWORKS`.
        num_frames: Frames T of a clip.
    """

    def __init__(self, net: nn.Module, *, name: str, num_frames: int) -> None:
        super().__init__()
        head = VIDEO_NETWORKS[name].head
        classes = next(tensor for tensor in net.get_submodule(head).parameters() if tensor.ndim > 1)  # [K, D, ...]
        self.num_features = classes.shape[1]
        net.set_submodule(head, nn.Identity())
        if isinstance(net, S3D):
            net.avgpool = FittingAvgPool(net.avgpool.kernel_size, stride=net.avgpool.stride)
        self.net = net
        self.name = name
        self.num_frames = num_frames

    def forward(self, x: Tensor) -> Tensor:
        """Looks at clips.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            Features [N, D].
        """
        clips = unfold_time(x, self.num_frames).transpose(1, 2).contiguous()  # [N, C, T, H, W]
        if isinstance(self.net, MViT):
            _tell_size(self.net, clips)
        return self.net(clips)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Keeps kernels over time as they lie: `to(memory_format=torch.channels_last)` knows four dimensions only."""
        return super()._apply(lambda one: fn(one.flatten()).view(one.shape) if one.ndim == 5 else fn(one), recurse)

    def set_num_frames(self, num_frames: int, *, size: int | None = None) -> None:
        """Changes T.

        Raises:
            ValueError: If the network cannot take clips of that many frames.
        """
        self.check_num_frames(num_frames, size=size)
        self.num_frames = num_frames

    def check_num_frames(self, num_frames: int, *, size: int | None = None) -> None:
        """Runs shapes through the network, without numbers.

        Args:
            num_frames: Frames T of a clip.
            size: Height and width of a frame; by default those that the published weights were trained with.

        Raises:
            ValueError: If the network cannot take such clips.
        """
        size = size or video_spec(self.name, num_frames=num_frames).crop
        tensors = [*self.net.named_parameters(), *self.net.named_buffers()]
        shapes = {name: torch.empty_like(one, device="meta") for name, one in tensors}
        clip = torch.empty(1, first_conv(self.net).in_channels, num_frames, size, size, device="meta")
        if isinstance(self.net, MViT):
            _tell_size(self.net, clip)
        try:
            with evaluation_mode(self.net), torch.no_grad():
                functional_call(self.net, shapes, (clip,))
        except RuntimeError as error:
            raise ValueError(
                f"num_frames and crop must be large enough for {self.name}, got {num_frames} frames of {size} x {size} "
                f"({' '.join(str(error).split())}); take longer clips or larger crops"
            ) from error


class FittingAvgPool(nn.AvgPool3d):
    """An average pool whose window is as large as its input at most."""

    def forward(self, x: Tensor) -> Tensor:
        """Pools [N, C, T, H, W]."""
        assert isinstance(self.kernel_size, tuple)
        window = [min(side, there) for side, there in zip(self.kernel_size, x.shape[2:], strict=True)]
        return F.avg_pool3d(x, window, self.stride)


def create_video_network(name: str, *, pretrained: bool, in_channels: int) -> VideoNetwork:
    """Builds a network of torchvision without its classifier.

    Args:
        name: A name in `VIDEO_NETWORKS`.
        pretrained: Whether to load the weights that torchvision publishes for it.
        in_channels: Channels C of a frame; for other numbers than 3 the first conv is adapted as TSN does it.

    Returns:
        The network, for clips of 16 frames until it is told another T.

    Raises:
        OSError: If the weights cannot be had.
        RuntimeError: If what was found is not the weights of this network.
    """
    weights = published_weights(name)
    net: nn.Module = get_model(name)
    if pretrained:
        net.load_state_dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    if in_channels != 3:
        conv = first_conv(net)
        conv.weight = nn.Parameter(adapt_kernels(conv.weight.detach(), in_channels))
        conv.in_channels = in_channels
    return VideoNetwork(net, name=name, num_frames=16)


def video_spec(name: str, *, num_frames: int) -> ClipSpec:
    """Reads from torchvision's weights how they want their frames, except that here scaling is antialiased."""
    transforms = published_weights(name).transforms()
    return ClipSpec(
        num_frames=num_frames,
        crop=min(transforms.crop_size),
        resize=min(transforms.resize_size),
        interpolation="bicubic" if transforms.interpolation.value == "bicubic" else "bilinear",
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def published_weights(name: str) -> WeightsEnum:
    """Returns torchvision's entry of a network's weights."""
    return get_weight(VIDEO_NETWORKS[name].weights)


def cached_weights(name: str) -> Path:
    """Returns the file in torch's cache that torchvision keeps a network's weights in."""
    return Path(torch.hub.get_dir(), "checkpoints", published_weights(name).url.rpartition("/")[2])


def reach_video_weights(name: str, *, timeout: float) -> None:
    """Asks the server once for the weights, unless they are in the cache.

    Raises:
        OSError: If they are not, and the server gives no answer within so many seconds.
    """
    if not cached_weights(name).is_file():
        urlopen(Request(published_weights(name).url, method="HEAD"), timeout=timeout).close()


def check_alone(
    name: str, temporal: Sequence[str], *, causal: bool, options: Mapping[str, Any], head: str = "linear"
) -> None:
    """Refuses what a whole video network cannot be combined with.

    Raises:
        ValueError: If there is any of it.
    """
    whole = f"with {name}, which is a whole video network"
    if tuple(temporal) != ("none",):
        raise ValueError(
            f"temporal must be none {whole}, got {', '.join(temporal) or 'nothing'}; add --model.temporal none "
            "(to `kinema profile`, --temporal none)"
        )
    if causal:
        raise ValueError(
            f"causal must be off {whole} and looks ahead, got causal=True; take a 2D network with a temporal layer"
        )
    if head != "linear":
        raise ValueError(f"head must be linear {whole} and gives one feature vector a clip, got {head}; drop it")
    if options:
        raise ValueError(f"options must be left out {whole}, got {', '.join(sorted(options))}; drop them")


def first_conv(net: nn.Module) -> nn.Conv3d:
    """Returns the conv that sees the frames."""
    return next(module for module in net.modules() if isinstance(module, nn.Conv3d))


def _tell_size(net: MViT, clips: Tensor) -> None:
    """Tells an MViT the grid [T', H', W'] that its first conv makes of clips [N, C, T, H, W]."""
    conv = net.conv_proj
    sides = zip(clips.shape[2:], conv.kernel_size, conv.stride, conv.padding, strict=True)
    frames, *area = [(side + 2 * padding - kernel) // stride + 1 for side, kernel, stride, padding in sides]
    net.pos_encoding.temporal_size, net.pos_encoding.spatial_size = frames, tuple(area)
