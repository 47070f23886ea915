"""MotionSqueeze: where each position of a frame is in the next one, by correlation, added to the features.

MotionSqueeze: Neural Motion Feature Learning for Video Understanding, ECCV 2020, https://arxiv.org/abs/2007.09933

Shapes: N clips, T frames, B pairs of frames, C channels, D reduced channels, H x W pixels, P x P offsets of a window.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_out_of, step_through
from kinema.layers.folding import fold_time, unfold_time

WIDTH = 64
"""D, the channels that are compared; fewer where the block gives fewer."""
SIGMA = 5.0
"""Width of the Gaussian around the best offset, in pixels."""
TEMPERATURE = 100.0
"""By which correlations are multiplied before softmax."""
EPSILON = 1e-6
"""What is added to the squared length of a feature."""


class MotionSqueeze(TemporalLayer):
    """Stands around the last block of the second stage, which it keeps as `net`, and adds motion to what that gives.

    A 1 x 1 conv takes the features to D channels; those of frame t are compared with those of frame t + 1 in a window
    of P x P pixels around (`displacements`); four depthwise separable convs turn the displacement and how sure it is
    into C channels, which are added. The last frame, which has none after it, takes the displacement of the one before.

    Our reading: D is at most C, and a clip of one frame stands still. A causal form, which the paper does not have:
    frame t is compared with frame t - 1, so that displacements point back, and the first frame stands still.

    Args:
        net: The block.
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.
        patch: P, height and width of the window in pixels.

    Raises:
        ValueError: If net does not turn frames into frames, or patch is no odd number from 3 on.
    """

    def __init__(self, net: nn.Module, *, num_frames: int, causal: bool = False, patch: int = 15) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        if patch < 3 or patch % 2 == 0:
            raise ValueError(f"patch must be an odd number of at least 3, got {patch}; 15 is the paper's")
        channels, weight = channels_out_of(net, num_frames=num_frames), next(net.parameters())
        self.net, self.patch = net, patch
        width = min(WIDTH, channels)
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        ).to(weight)
        self.refine = nn.Sequential(
            _separable(3, 16, size=7), _separable(16, 32), _separable(32, 64), _separable(64, channels)
        ).to(weight)
        for part in (*self.reduce.modules(), *self.refine.modules()):
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Runs `net` and adds motion.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, C, H, W], what `net` gives in shape.
        """
        y = self.net(x)
        features = unfold_time(self.reduce(y), self.num_frames)  # [N, T, D, H, W]
        if self.num_frames == 1:
            return self._added(y, torch.zeros_like(y[:, :1]).expand(-1, 3, -1, -1))
        earlier, later = fold_time(features[:, :-1]), fold_time(features[:, 1:])
        pair = (later, earlier) if self.causal else (earlier, later)
        motion = unfold_time(displacements(*pair, patch=self.patch), self.num_frames - 1)  # [N, T-1, 3, H, W]
        ends = [torch.zeros_like(motion[:, :1]), motion] if self.causal else [motion, motion[:, -1:]]
        return self._added(y, fold_time(torch.cat(ends, dim=1)))

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        inner, before = (None, None) if state is None else state
        y, inner = step_through(self.net, x, inner)
        features = self.reduce(y)  # [N, D, H, W]
        if before is None:
            motion = torch.zeros_like(y[:, :1]).expand(-1, 3, -1, -1)
        else:
            motion = displacements(features, before, patch=self.patch)
        return self._added(y, motion), (inner, features)

    def _added(self, y: Tensor, motion: Tensor) -> Tensor:
        return y + self.refine(motion.to(y.dtype))

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, patch={self.patch}, causal={self.causal}"


def displacements(source: Tensor, target: Tensor, *, patch: int) -> Tensor:
    """Finds where each position of a frame is in another frame, and how sure that is.

    Scores are the cosines of features, negative ones and those outside the frame being zero. They are weighted by a
    Gaussian around the best offset (through whose place no gradient flows, as in the official code); the displacement
    is the mean of the offsets, weighted by softmax. It runs in 32 bits at least: the temperature would magnify what
    16 bits round.

    Args:
        source: Features [B, D, H, W].
        target: Features of the other frame [B, D, H, W].
        patch: P, height and width of the window in pixels.

    Returns:
        Columns to the right and rows down, in halves of the window, and the best score [B, 3, H, W].
    """
    device, dtype = source.device.type, torch.promote_types(source.dtype, torch.float32)
    lowers = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    with torch.autocast(device, enabled=False) if lowers else nullcontext():
        scores = correlations(source.to(dtype), target.to(dtype), patch=patch)  # [B, H, W, P, P]
        best, place = scores.flatten(3).max(dim=3)
        offsets = torch.arange(patch, device=source.device)
        near_row = _gaussian((offsets - (place // patch).unsqueeze(3)).to(dtype))  # [B, H, W, P]
        near_column = _gaussian((offsets - (place % patch).unsqueeze(3)).to(dtype))
        logits = TEMPERATURE * scores * near_row.unsqueeze(4) * near_column.unsqueeze(3)
        weights = logits.flatten(3).softmax(dim=3).unflatten(3, (patch, patch))
        ways = (offsets.to(dtype) - patch // 2) / (patch // 2)
        across, down = (weights.sum(dim=3) * ways).sum(dim=3), (weights.sum(dim=4) * ways).sum(dim=3)
        return torch.stack([across, down, best], dim=1)


def correlations(source: Tensor, target: Tensor, *, patch: int) -> Tensor:
    """Compares each position of a frame with those around it in another frame.

    Args:
        source: Features [B, D, H, W].
        target: Features of the other frame [B, D, H, W].
        patch: P, height and width of the window in pixels.

    Returns:
        Cosines, negative ones as zero, by row and column of the window; zero outside the frame [B, H, W, P, P].
    """
    reach, height = patch // 2, source.shape[2]
    # One product of matrices for each row of the window: all columns of a row with all of another. With rows first,
    # what the row moved by an offset needs is a view.
    pixels = _normalized(source).permute(2, 0, 3, 1).contiguous().flatten(0, 1)  # [H*B, W, D]
    others = F.pad(_normalized(target), (reach, reach, reach, reach)).permute(2, 0, 1, 3).contiguous()
    bands = [_band(pixels @ others[row : row + height].flatten(0, 1), patch) for row in range(patch)]  # [H*B, W, P]
    scores = torch.stack(bands, dim=2).unflatten(0, (height, source.shape[0]))
    return F.relu(scores).transpose(0, 1)


def _band(products: Tensor, patch: int) -> Tensor:
    """Takes from each row w of matrices [M, W, W + P - 1] the columns w to w + P - 1: [M, W, P]."""
    rows, columns = products.shape[1:]
    return F.pad(products.flatten(1), (0, rows)).unflatten(1, (rows, columns + 1))[..., :patch]


def _normalized(x: Tensor) -> Tensor:
    return x * (x.square().sum(dim=1, keepdim=True) + EPSILON).rsqrt()


def _gaussian(distance: Tensor) -> Tensor:
    return torch.exp(-distance.square() / (2.0 * SIGMA**2))


def _separable(channels: int, out_channels: int, *, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, out_channels, kernel_size=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )
