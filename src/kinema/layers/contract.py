"""What every temporal layer offers to the network around it.

Shapes: N clips, T frames, C channels, H x W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class TemporalLayer(nn.Module, ABC):
    """A layer that mixes the T frames of a clip inside a 2D network, on folded frames [N*T, C, H, W].

    Args:
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If num_frames is below 1.
    """

    def __init__(self, *, num_frames: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.set_num_frames(num_frames)

    def set_num_frames(self, num_frames: int) -> None:
        """Changes T.

        Raises:
            ValueError: If num_frames is below 1, or the layer cannot have another T.
        """
        self.check_num_frames(num_frames)
        self.num_frames = num_frames

    def check_num_frames(self, num_frames: int) -> None:
        """Says whether T can change; a layer whose weights depend on T overrides this and refuses.

        Raises:
            ValueError: If num_frames is below 1.
        """
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {num_frames}; 8 and 16 are usual")

    def takes_num_frames(self, num_frames: int) -> bool:
        """Tells whether T can change to this."""
        try:
            self.check_num_frames(num_frames)
        except ValueError:
            return False
        return True

    def step(self, x: Tensor, state: Any | None = None) -> tuple[Tensor, Any]:  # noqa: ANN401 (each layer has its own)
        """Runs one more frame of N running clips; frame after frame it equals `forward` on the whole clip.

        Args:
            x: The next frame of each clip [N, C, H, W].
            state: What the last call returned; None at the first frame.

        Returns:
            The layer's output for this frame [N, C', H', W'], and the state for the next one.

        Raises:
            ValueError: If the layer is not causal.
        """
        if not self.causal:
            raise ValueError(
                f"a {type(self).__name__} must be causal to run frame by frame, got causal=False; "
                "train the network with causal=True"
            )
        return self._step(x, state)

    @abstractmethod
    def _step(self, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
        """Does the work of `step` for a causal layer."""


def channels_into(net: nn.Module) -> int | None:
    """Returns how many channels the first conv or norm of a module takes, None if it has neither."""
    takes = (getattr(module, name, None) for module in net.modules() for name in ("in_channels", "num_features"))
    return next((channels for channels in takes if isinstance(channels, int)), None)


def step_through(net: nn.Module, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
    """Runs one frame [N, C, H, W] through a module that may itself be a temporal layer.

    Returns:
        The output [N, C', H', W'] and the module's own state, None where it has none.
    """
    if isinstance(net, TemporalLayer):
        return net.step(x, state)
    return net(x), None
