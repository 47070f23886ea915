"""What every temporal layer offers to the network around it.

Shapes: N clips, T frames, C channels, H x W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

SIDE = 64
"""Height and width of the frames that tell how many channels a module gives."""


class TemporalLayer(nn.Module, ABC):
    """A layer that mixes the T frames of a clip inside a 2D network, on folded frames [N*T, C, H, W].

    Args:
        num_frames: Frames T of a clip.
        causal: Whether no output at a frame may depend on a later frame.

    Raises:
        ValueError: If num_frames is below 1.
    """

    any_length: ClassVar[bool] = True
    """Whether T can change once the layer is built; not where its weights depend on it."""

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
        """Says whether T can change.

        Raises:
            ValueError: If num_frames is below 1, or another T than the one that the layer's weights are for.
        """
        if not isinstance(num_frames, int) or num_frames < 1:
            raise ValueError(f"num_frames must be a whole number of at least 1, got {num_frames!r}; 8 and 16 are usual")
        own = getattr(self, "num_frames", num_frames)
        if num_frames != own and not self.any_length:
            raise ValueError(
                f"num_frames must stay {own} in a {type(self).__name__}, whose weights depend on it, got {num_frames}; "
                "sample that many frames, or train a network with the other number"
            )

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


def channels_and_like(net: nn.Module, *, site: str) -> tuple[int, Tensor]:
    """Returns how many channels a module takes, and a tensor of the type and on the device that its own are.

    Raises:
        ValueError: If it does not say how many; the sentence names the site to take.
    """
    channels = channels_into(net)
    if channels is None:
        raise ValueError(f"net must be a conv with in_channels, got {type(net).__name__}; take the site {site}")
    return channels, next(net.parameters(), torch.empty(0))


def channels_out_of(net: nn.Module, *, num_frames: int) -> int:
    """Returns how many channels a module gives: a clip without numbers runs through it, on torch's meta device.

    Args:
        net: Takes frames [N*T, C, H, W]; it is left as it is.
        num_frames: Frames T of a clip.

    Raises:
        ValueError: If it has no conv or norm, cannot take frames, or does not give frames.
    """
    channels, weight = channels_into(net), next(net.parameters(), None)
    shape: tuple[int, ...] = ()
    if channels is not None and weight is not None:
        tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
        clip = torch.empty(num_frames, channels, SIDE, SIDE, dtype=weight.dtype, device="meta")
        try:
            with torch.no_grad():
                shape = tuple(functional_call(net, shapes, (clip,)).shape)
        except (RuntimeError, TypeError, ValueError, AttributeError):  # whatever it wants, it is not frames
            shape = ()
    if len(shape) != 4 or shape[0] != num_frames:
        raise ValueError(
            f"net must turn frames [N*T, C, H, W] into frames, got {type(net).__name__}, whose channels cannot be "
            "told; take the site block"
        )
    return shape[1]


def step_through(net: nn.Module, x: Tensor, state: Any | None) -> tuple[Tensor, Any]:  # noqa: ANN401
    """Runs one frame [N, C, H, W] through a module that may itself be a temporal layer, or hold some.

    Returns:
        The output [N, C', H', W'] and the module's own state, None where it has none.
    """
    if isinstance(net, TemporalLayer):
        return net.step(x, state)
    layers = _outermost_layers(net)
    if not layers:
        return net(x), None
    states: dict[str, Any] = {} if state is None else state
    after: dict[str, Any] = {}

    def stepping(path: str, layer: TemporalLayer) -> Callable[[Tensor], Tensor]:
        def forward(frame: Tensor) -> Tensor:
            y, after[path] = layer.step(frame, states.get(path))
            return y

        return forward

    try:
        for path, layer in layers.items():
            layer.forward = stepping(path, layer)
        return net(x), after
    finally:
        for layer in layers.values():
            del layer.forward  # the class's own is there again


def _outermost_layers(net: nn.Module, prefix: str = "") -> dict[str, TemporalLayer]:
    """Finds the temporal layers inside a module, but not those inside of these."""
    found: dict[str, TemporalLayer] = {}
    for name, child in net.named_children():
        path = f"{prefix}{name}"
        found |= {path: child} if isinstance(child, TemporalLayer) else _outermost_layers(child, f"{path}.")
    return found
