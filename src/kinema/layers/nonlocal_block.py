"""Non-local: every position of a clip attends to all positions of all its frames.

Non-local Neural Networks, CVPR 2018, https://arxiv.org/abs/1711.07971

Shapes: N clips, T frames, C channels, H x W pixels (H' x W' after the pooling), D = C / 2 inner channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_out_of, step_through
from kinema.layers.folding import fold_time, unfold_time


class NonLocal(TemporalLayer):
    """Stands around a block, which it keeps as `net`, in the form of TSM's official code.

    With y = net(x), it gives y + norm(out(softmax(theta(y) phi(y)^T) g(y))): embedded Gaussian attention of each
    position to all positions of the clip's T frames, without a factor 1 / sqrt(D). phi and g are max-pooled 2 x 2 in
    space. Weight and bias of norm start at zero: the layer starts as the block, to the last bit.

    It knows which frames there are, and not their order: frames that change places change places in its output. phi's
    bias adds the same to all scores of a position, so that softmax does not see it; official weights have it.

    Our reading: a map of a single row or column is not pooled along it. And a causal form, which the paper does not
    have: the positions of frame t attend to those of frames t-T+1 to t.

    Args:
        net: The block.
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.
        subsample: Whether phi and g are max-pooled.

    Raises:
        ValueError: If net does not turn frames into frames.
    """

    def __init__(self, net: nn.Module, *, num_frames: int, causal: bool = False, subsample: bool = True) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        channels, weight = channels_out_of(net, num_frames=num_frames), next(net.parameters())
        inner = max(channels // 2, 1)
        self.net, self.subsample = net, subsample
        self.theta = nn.Conv2d(channels, inner, kernel_size=1).to(weight)
        self.phi = nn.Conv2d(channels, inner, kernel_size=1).to(weight)
        self.g = nn.Conv2d(channels, inner, kernel_size=1).to(weight)
        self.out = nn.Conv2d(inner, channels, kernel_size=1).to(weight)
        self.norm = nn.BatchNorm2d(channels).to(weight)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Runs `net`, then adds what its positions find in the clip.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, C, H, W], what `net` gives in shape.
        """
        y = self.net(x)
        queries, keys, values = (unfold_time(one, self.num_frames) for one in self._embed(y))  # [N, T, H*W, D]
        if not self.causal:
            return self._added(y, _attend(queries, keys, values))
        ends = range(1, self.num_frames + 1)
        found = [_attend(queries[:, end - 1 : end], keys[:, :end], values[:, :end]) for end in ends]
        return self._added(y, torch.cat(found, dim=1))

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        inner, keys, values = (None, None, None) if state is None else state
        y, inner = step_through(self.net, x, inner)
        queries, key, value = (one.unsqueeze(1) for one in self._embed(y))  # [N, 1, H*W, D]
        keys = key if keys is None else torch.cat([keys, key], dim=1)[:, -self.num_frames :]
        values = value if values is None else torch.cat([values, value], dim=1)[:, -self.num_frames :]
        return self._added(y, _attend(queries, keys, values)), (inner, keys, values)

    def _embed(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the queries [N*T, H*W, D], and keys and values [N*T, H'*W', D], of frames [N*T, C, H, W]."""
        phi, g = self.phi(y), self.g(y)
        if self.subsample:
            window = [min(2, size) for size in y.shape[2:]]
            phi, g = F.max_pool2d(phi, window), F.max_pool2d(g, window)
        queries, keys, values = (one.flatten(2).transpose(1, 2) for one in (self.theta(y), phi, g))
        return queries, keys, values

    def _added(self, y: Tensor, found: Tensor) -> Tensor:
        """Adds what was found [N, T, H*W, D] to frames [N*T, C, H, W]."""
        maps = fold_time(found).transpose(1, 2).unflatten(2, y.shape[2:])  # [N*T, D, H, W]
        return y + self.norm(self.out(maps))

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, causal={self.causal}"


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Mixes values by softmax of the products of queries and keys.

    Args:
        queries: Of all positions [N, T, P, D].
        keys: Of all positions that can be looked at [N, S, Q, D].
        values: Of the same ones [N, S, Q, D].

    Returns:
        What each query finds [N, T, P, D].
    """
    query, key, value = (one.flatten(1, 2).unsqueeze(1) for one in (queries, keys, values))  # one head
    found = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    return found.squeeze(1).unflatten(1, queries.shape[1:3])
