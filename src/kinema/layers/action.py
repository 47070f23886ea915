"""ACTION: three excitations weight features by place, by channel and by motion, after a learned shift in time.

ACTION-Net: Multipath Excitation for Action Recognition, CVPR 2021, https://arxiv.org/abs/2103.07372

Shapes: N clips, T frames, C channels, H x W pixels, D = C / reduction.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_and_like, step_through
from kinema.layers.depthwise import ConvOverTime, shift_taps
from kinema.layers.feature_motion import ChannelMotion, hidden_channels
from kinema.layers.folded_conv3d import FoldedConv3d, tap_offsets
from kinema.layers.folding import fold_time, unfold_time

TEMPORAL_SIZE = 3
"""Frames that each conv over time spans."""


class ActionExcitation(TemporalLayer):
    """Stands before a block's first conv, which it keeps as `net`.

    A depthwise conv over three frames, which starts as TSM's shift, makes z of x. Then y = net of the sum of z g + z
    over three gates g, each between 0 and 1: STE has one number a frame and pixel (a 3 x 3 x 3 conv of the mean over
    channels), CE one a frame and channel (see `ChannelContext`), ME one a frame and channel (see `ChannelMotion`).

    A fresh layer is not the 2D network: gates near a half make z about 4.5 times as large, as in the official code;
    the batch norm behind `net` takes that back once it trains. Of fewer channels than `reduction`, CE and ME keep one.
    Our reading of a causal form, which the paper does not have: all convs over time see t-2, t-1, t, the channels that
    a shift would let look ahead start at the present, and motion is the difference with the frame before.

    Args:
        net: The module in front of which features are excited.
        num_frames: Frames T of a clip.
        num_divisions: One in this many channels starts as a shift, each way.
        reduction: How many times fewer channels CE and ME work on.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If net does not say how many channels it takes, num_divisions is below 2, for two folds must fit, or
            so great that no channel would move, or reduction is below 1.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        num_frames: int,
        num_divisions: int = 8,
        reduction: int = 16,
        causal: bool = False,
    ) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        channels, weight = channels_and_like(net, site="entry")
        if not 2 <= num_divisions <= channels:
            raise ValueError(
                f"num_divisions must be at least 2 and at most the channels that come in, {channels}, got "
                f"{num_divisions}; 8 starts with a shift of an eighth each way"
            )
        fold = channels // num_divisions
        taps = shift_taps(channels, ahead=slice(fold), back=slice(fold, 2 * fold), causal=causal)
        kernels = nn.Conv3d(1, 1, TEMPORAL_SIZE).weight.detach()  # torch's start, as in the official code
        self.net = net
        self.shift = ConvOverTime(taps.to(weight))
        self.spatio_temporal = FoldedConv3d(kernels, padding=(1, 1)).to(weight)
        self.channel = ChannelContext(channels, reduction=reduction).to(weight)
        self.motion = ChannelMotion(channels, reduction=reduction).to(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Shifts, excites, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        num_frames, causal = self.num_frames, self.causal
        z = self.shift(x, num_frames=num_frames, causal=causal)  # [N*T, C, H, W]
        pixels = self.spatio_temporal(z.mean(dim=1, keepdim=True), num_frames=num_frames, causal=causal)
        channels = self.channel(unfold_time(z.mean(dim=(2, 3)), num_frames), causal=causal)  # [N, T, C]
        motion = self.motion(z, num_frames=num_frames, causal=causal)  # [N*T, C]
        y: Tensor = self.net(excited(z, pixels, fold_time(channels), motion))
        return y

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        past, before, context, features, inner = (None,) * 5 if state is None else state
        z, past = self.shift.step(x, past)
        pixels, before = self.spatio_temporal.step(z.mean(dim=1, keepdim=True), before)
        channels, context = self.channel.step(z.mean(dim=(2, 3)), context)
        motion, features = self.motion.step(z, features)
        y, inner = step_through(self.net, excited(z, pixels, channels, motion), inner)
        return y, (past, before, context, features, inner)

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"


class ChannelContext(nn.Module):
    """CE: means of the frames, a linear map to fewer channels, a dense conv over three frames, ReLU, a linear map back.

    No biases, as in the official code.

    Args:
        channels: Channels C.
        reduction: How many times fewer channels the conv has; one at least.

    Raises:
        ValueError: If reduction is below 1.
    """

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        hidden = hidden_channels(channels, reduction)
        self.reduce = nn.Linear(channels, hidden, bias=False)
        self.conv = nn.Conv1d(hidden, hidden, TEMPORAL_SIZE, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=False)

    def forward(self, means: Tensor, *, causal: bool) -> Tensor:
        """Weighs the channels of whole clips.

        Args:
            means: Means of each frame [N, T, C].
            causal: Whether the conv sees frames t-2, t-1, t (otherwise t-1, t, t+1).

        Returns:
            One number for each frame and channel [N, T, C], of any sign.
        """
        offsets = tap_offsets(TEMPORAL_SIZE, causal=causal)
        rows = F.pad(self.reduce(means).transpose(1, 2), (-offsets[0], offsets[-1]))  # [N, D, T + 2]
        weights: Tensor = self.expand(F.relu(self.conv(rows)).transpose(1, 2))
        return weights

    def step(self, mean: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weighs the channels of one more frame, as the causal `forward` does those of a whole clip.

        Args:
            mean: Means of the next frame [N, C].
            past: What the last call returned; None at the first frame.

        Returns:
            The numbers of this frame [N, C], and what the next one still sees [N, D, 2].
        """
        row = self.reduce(mean).unsqueeze(2)  # [N, D, 1]
        past = row.new_zeros(*row.shape[:2], TEMPORAL_SIZE - 1) if past is None else past
        rows = torch.cat([past, row], dim=2)
        return self.expand(F.relu(self.conv(rows))[..., 0]), rows[..., 1:]


def excited(z: Tensor, pixels: Tensor, channels: Tensor, motion: Tensor) -> Tensor:
    """Adds z g + z over three gates g, the sigmoids of what the paths give, in two products instead of three.

    Args:
        z: Frames [B, C, H, W].
        pixels: What STE gives [B, 1, H, W].
        channels: What CE gives [B, C].
        motion: What ME gives [B, C].

    Returns:
        Frames [B, C, H, W].
    """
    gates = channels.sigmoid() + motion.sigmoid() + 3.0  # [B, C]
    return z * gates.to(z.dtype)[..., None, None] + z * pixels.sigmoid().to(z.dtype)
