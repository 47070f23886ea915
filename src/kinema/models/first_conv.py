"""A first conv that takes other pictures than RGB, from one that takes RGB.

TSN's cross-modality initialisation: Wang et al. 2016, https://arxiv.org/abs/1608.00859, section 3.2: RGB kernels are
averaged over their three channels, and the mean is repeated for each channel of flow, or of differences of frames. It
is not scaled, where timm, which repeats the three kernels in turn, scales by 3 / C.

Shapes: C, Co channels in and out.
"""

from __future__ import annotations

from torch import Tensor, nn

RGB_CHANNELS = 3


def adapt_kernels(kernels: Tensor, in_channels: int) -> Tensor:
    """Makes kernels for other channels of those for RGB.

    Args:
        kernels: Of a conv of any number of dimensions [Co, 3, ...].
        in_channels: C.

    Returns:
        Kernels [Co, C, ...]; the same ones for C = 3, and for C = 1 their sum, to which a grey picture is what it is to
        the three.
    """
    if in_channels == kernels.shape[1]:
        return kernels
    if in_channels == 1:
        return kernels.sum(dim=1, keepdim=True)
    mean = kernels.mean(dim=1, keepdim=True)
    return mean.repeat(1, in_channels, *[1] * (kernels.ndim - 2))


def takes_other_channels(kernels: Tensor, shape: tuple[int, ...]) -> bool:
    """Tells whether RGB kernels differ from a shape [Co, C, ...] in their channels in alone."""
    own = tuple(kernels.shape)
    apart = len(own) > 3 and own[1] == RGB_CHANNELS != shape[1]
    return apart and (own[0], *own[2:]) == (shape[0], *shape[2:])


def copy_adapted(source: nn.Module, target: nn.Module) -> None:
    """Copies the weights of a network on RGB into one on other pictures that is its like but for its first conv."""
    own = target.state_dict()
    target.load_state_dict(
        {
            key: adapt_kernels(value, own[key].shape[1]) if takes_other_channels(value, own[key].shape) else value
            for key, value in source.state_dict().items()
        }
    )
