"""I3D, 3D by inflation: a 2D conv becomes a 3D one that starts from the 2D kernels.

Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017, https://arxiv.org/abs/1705.07750
Which convs of a ResNet: Non-local Neural Networks, CVPR 2018, https://arxiv.org/abs/1711.07971

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.conv_window import checked_conv
from kinema.layers.folded_conv3d import FoldedConv3d, inflated, tap_offsets

Start = Literal["repeat", "centre"]


class InflatedConv(TemporalLayer):
    """A kT x kH x kW conv in place of a kH x kW one, with stride 1 in time.

    The papers' networks also stride in time, in their stems; here T stays, so that every frame keeps its own logits.

    Args:
        conv: The conv to inflate.
        num_frames: Frames T of a clip.
        causal: Whether kernels see frames up to t only (otherwise as many before as after).
        temporal_size: Frames kT that a kernel spans, an odd number.
        start: `repeat`: the 2D kernel in every tap, divided by kT, so that a clip of equal frames gives what the 2D
            conv gives (but at its ends, which see zeros). `centre`: the 2D kernel in the tap of the frame itself and
            zeros in the others, so that the network starts as the 2D one.

    Raises:
        ValueError: If what stands at the site is no plain conv padded with zeros, or an option is out of range.
    """

    def __init__(
        self,
        conv: nn.Module,
        *,
        num_frames: int,
        causal: bool = False,
        temporal_size: int = 3,
        start: str = "repeat",
    ) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        conv = checked_conv(conv)
        if temporal_size < 1 or temporal_size % 2 == 0:
            raise ValueError(f"temporal_size must be odd and at least 1, got {temporal_size}; 3 is usual")
        if start not in get_args(Start):
            raise ValueError(f"start must be repeat or centre, got {start!r}; repeat is the paper's")
        self.in_channels, self.out_channels, self.start = conv.in_channels, conv.out_channels, start
        if start == "centre":
            weight = inflated(conv, temporal_size, now=tap_offsets(temporal_size, causal=causal).index(0))
        else:
            weight = conv.weight.detach().unsqueeze(2).repeat(1, 1, temporal_size, 1, 1) / temporal_size
        self.conv = FoldedConv3d.like(conv, weight, None if conv.bias is None else conv.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Convolves in time and space.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, Co, H', W'], the shape that the replaced conv would give.
        """
        y: Tensor = self.conv(x, num_frames=self.num_frames, causal=self.causal)
        return y

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return f"num_frames={self.num_frames}, temporal_size={self.conv.num_taps}, causal={self.causal}"

    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        return self.conv.step(x, state)
