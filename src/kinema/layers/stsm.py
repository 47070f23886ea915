"""STSM, the spatio-temporal shift: a few channels take their value from a neighbour in time, in height or in width.

STSM: Spatio-Temporal Shift Module for Efficient Action Recognition, Mathematics 2022, https://arxiv.org/abs/2112.02523

Shapes: N clips, T frames, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer, channels_into, step_through
from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.shift import Move, shift_clip

AXES = "THW"


class SpatioTemporalShift(TemporalLayer):
    """Shifts the input of what stands at its site, which it keeps as `net`; no parameters, no multiply-adds.

    The abstract, all of the paper that we had, says what is shifted; how many channels, and where in the network, is
    our reading. From the first channel on, each axis has two groups, one that looks ahead along it and one that looks
    back; zeros come in at the edges; other channels stay. Time's groups are as wide as TSM's, and `axes="T"` is TSM. It
    stands where TSM stands by default, before a block's first conv, so that the shortcut keeps what is shifted out.

    Args:
        net: The module in front of which channels are shifted.
        num_frames: Frames T of a clip.
        axes: Which of time, height and width: "THW", "TH", "HW", "T", ... Without T the order of frames is not seen.
        num_divisions: One in this many channels moves each way in time.
        spatial_divisions: One in this many channels moves each way in height, and as many in width.
        joint: Whether there are only two groups, one ahead along all axes at once and one back along all; as wide as
            those of time where time is among the axes, else as those of space.
        causal: No group looks ahead in time: TSM's online rule, by which the one that would looks back, and the other
            stays (where joint, in time only). Moves in height and width are the same.

    Raises:
        ValueError: If axes are no letters of THW, the groups are more than all channels, or none would move in time
            (without time among the axes, in space).
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        num_frames: int,
        axes: str = AXES,
        num_divisions: int = 8,
        spatial_divisions: int = 16,
        joint: bool = False,
        causal: bool = False,
    ) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        _check(axes, num_divisions=num_divisions, spatial_divisions=spatial_divisions, joint=joint)
        channels = channels_into(net)
        needed = num_divisions if "T" in axes else spatial_divisions
        if channels is not None and channels < needed:
            name = "num_divisions" if "T" in axes else "spatial_divisions"
            raise ValueError(
                f"{name} must be at most the channels that come in, {channels}, got {needed}, by which none would "
                "move; lower it"
            )
        self.net = net
        self.axes, self.joint = axes, joint
        self.num_divisions, self.spatial_divisions = num_divisions, spatial_divisions

    def forward(self, x: Tensor) -> Tensor:
        """Shifts, then runs `net`.

        Args:
            x: Frames [N*T, C, H, W].

        Returns:
            What `net` gives [N*T, C', H', W'].
        """
        return self.net(fold_time(shift_clip(unfold_time(x, self.num_frames), self.moves(x.shape[1]))))

    def moves(self, channels: int) -> list[Move]:
        """Returns the moves of an input of this many channels."""
        return make_moves(
            channels,
            axes=self.axes,
            num_divisions=self.num_divisions,
            spatial_divisions=self.spatial_divisions,
            joint=self.joint,
            causal=self.causal,
        )

    def _step(self, x: Tensor, state: tuple[Tensor, object] | None) -> tuple[Tensor, tuple[Tensor, object]]:
        moves = self.moves(x.shape[1])
        fold = moves[0].channels if moves[0].time else 0  # a causal layer looks back in its first group only
        now, rest = x[:, :fold], x[:, fold:]
        before, inner = (torch.zeros_like(now), None) if state is None else state
        still = [Move(move.channels, height=move.height, width=move.width) for move in moves]
        shifted = shift_clip(torch.cat([before, rest], dim=1).unsqueeze(1), still).squeeze(1)
        y, inner = step_through(self.net, shifted, inner)
        return y, (now.clone(), inner)  # a copy: the frame is the caller's

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return (
            f"num_frames={self.num_frames}, axes={self.axes}, num_divisions={self.num_divisions}, "
            f"spatial_divisions={self.spatial_divisions}, joint={self.joint}, causal={self.causal}"
        )


def make_moves(
    channels: int,
    *,
    axes: str = AXES,
    num_divisions: int = 8,
    spatial_divisions: int = 16,
    joint: bool = False,
    causal: bool = False,
) -> list[Move]:
    """Decides which channels move where; the arguments are those of `SpatioTemporalShift`.

    Args:
        channels: Channels C.
        axes: Axes along which something moves.
        num_divisions: One in this many channels moves each way in time.
        spatial_divisions: One in this many channels moves each way in height, and in width.
        joint: Whether the same channels move along all axes.
        causal: Whether nothing looks ahead in time.

    Returns:
        Moves of neighbouring channels, from the first one on; what is left stays.

    Raises:
        ValueError: If axes are no letters of THW, or the groups are more than all channels.
    """
    _check(axes, num_divisions=num_divisions, spatial_divisions=spatial_divisions, joint=joint)
    moves = []
    for group in [axes] if joint else sorted(axes, key=AXES.index):
        width = channels // (num_divisions if "T" in group else spatial_divisions)
        for way in (1, -1):
            time = (-1 if way == 1 else 0) if causal else way
            moves.append(
                Move(
                    width,
                    time=time if "T" in group else 0,
                    height=way if "H" in group else 0,
                    width=way if "W" in group else 0,
                )
            )
    return moves


def _check(axes: str, *, num_divisions: int, spatial_divisions: int, joint: bool) -> None:
    if not axes or len(set(axes)) < len(axes) or not set(axes) <= set(AXES):
        raise ValueError(f"axes must be some of the letters {AXES}, each once, got {axes!r}; 'THW' shifts along all")
    for name, value in (("num_divisions", num_divisions), ("spatial_divisions", spatial_divisions)):
        if value < 2:
            raise ValueError(f"{name} must be at least 2, got {value}; a group each way must fit")
    groups = [axes] if joint else list(axes)
    share = sum(2.0 / (num_divisions if "T" in group else spatial_divisions) for group in groups)
    if share > 1.0 + 1e-9:
        raise ValueError(
            "num_divisions and spatial_divisions must leave each channel in one group at most, got "
            f"{num_divisions} and {spatial_divisions}, which move {share:.2g} of the channels; raise them"
        )
