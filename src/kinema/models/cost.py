"""What a model costs: parameters, multiply-adds as papers print them, and the activations that training keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from kinema.layers.contract import TemporalLayer
from kinema.models.classifier import VideoClassifier
from kinema.models.modes import evaluation_mode, restored_modes


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """The share of one module: a temporal layer's with all that is in it, another's without its children."""

    path: str
    """Dotted path in the model."""
    kind: str
    """Its class."""
    parameters: int
    """Numbers that training can change, frozen ones included."""
    macs: int
    """Multiply-adds."""
    activation_bytes: int
    """Bytes that autograd keeps."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one view, a clip of T frames."""

    parameters: int
    """Numbers that training can change, frozen ones included."""
    macs: int
    """Multiply-adds of convolutions and matrix products, which papers on video print as FLOPs; a linear head runs on
    every frame."""
    activation_bytes: int
    """Bytes that autograd keeps of the clip to go back through the network: saved tensors, each storage once, without
    parameters and buffers. Layers run as in training, channels last and in the way that is set, but batch norms with
    their running statistics."""
    num_frames: int
    """Frames T of the clip."""
    size: int
    """Height and width of a frame, in pixels."""
    layers: tuple[LayerCost, ...] = field(default=(), repr=False)
    """The shares of the modules that have one, in the order of the network; they add up to the whole."""

    @property
    def params(self) -> int:
        """The same as `parameters`."""
        return self.parameters

    @property
    def flops(self) -> int:
        """Operations: two for each multiply-add."""
        return 2 * self.macs

    def __str__(self) -> str:
        """Says it in a line."""
        return (
            f"{self.parameters / 1e6:.2f} M parameters, {self.macs / 1e9:.2f} G multiply-adds "
            f"for {self.num_frames} frames of {self.size} x {self.size}"
        )


def cost(model: VideoClassifier, *, size: int | None = None) -> Cost:
    """Counts without computing: shapes only, on torch's meta device; layers run their plain way.

    Args:
        model: The model; it is left as it is.
        size: Height and width of a frame; by default the crop of the model's spec.

    Returns:
        The cost of one clip.

    Raises:
        ValueError: If the model is no VideoClassifier, or cannot take frames of that size.
    """
    if not isinstance(model, VideoClassifier):
        raise ValueError(
            f"model must be a VideoClassifier, got {type(model).__name__}; build it with create_model, which knows T"
        )
    size = model.spec.crop if size is None else size
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a whole number of at least 1, got {size!r}; 224 is usual")
    owners = _owners(model)
    parameters, macs, kept = _own_parameters(model, owners), _own_macs(model, owners, size), _kept(model, owners, size)
    layers = [
        LayerCost(
            path=path,
            kind=type(module).__name__,
            parameters=parameters[path],
            macs=macs[path],
            activation_bytes=kept[path],
        )
        for path, module in model.named_modules()
        if parameters[path] or macs[path] or kept[path]
    ]
    return Cost(
        parameters=sum(parameters.values()),
        macs=sum(macs.values()),
        activation_bytes=sum(kept.values()),
        num_frames=model.config.num_frames,
        size=size,
        layers=tuple(layers),
    )


def _owners(model: nn.Module) -> dict[str, str]:
    """Maps the path of each module to the one that its costs belong to: itself, or the temporal layer that it is in."""
    owners: dict[str, str] = {}
    for path, _ in model.named_modules():
        above = path.rpartition(".")[0]
        owner = owners.get(above, "")
        inside = path != "" and isinstance(model.get_submodule(owner), TemporalLayer)
        owners[path] = owner if inside else path
    return owners


def _own_parameters(model: nn.Module, owners: dict[str, str]) -> defaultdict[str, int]:
    numbers: defaultdict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        numbers[owners[name.rpartition(".")[0]]] += parameter.numel()
    return numbers


def _own_macs(model: VideoClassifier, owners: dict[str, str], size: int) -> defaultdict[str, int]:
    """Counts each module's multiply-adds and takes its children's off."""
    with _ready_to_count(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        _run_shapes(model, size, _shapes(model, device="meta"))
    root = type(model).__name__
    macs: defaultdict[str, int] = defaultdict(int)
    for path, owner in owners.items():
        counted = sum(counter.flop_counts[f"{root}.{path}" if path else root].values()) // 2
        above = owners[path.rpartition(".")[0]]
        macs[owner] += counted
        if path:
            macs[above] -= counted
    return macs


def _kept(model: VideoClassifier, owners: dict[str, str], size: int) -> defaultdict[str, int]:
    """Adds up what autograd saves, by the module that runs when it does."""
    kept: defaultdict[str, int] = defaultdict(int)
    seen: dict[int, Tensor] = {}  # holds the tensors, so that no storage is freed and met again
    root = f"{type(model).__name__}."

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen[storage._cdata] = tensor
            running = max((name.removeprefix(root) for name in tracker.parents if name.startswith(root)), key=len)
            kept[owners[running]] += storage.nbytes()
        return tensor

    # Fake tensors are like those of the meta device, but lie in memory as real ones would.
    with FakeTensorMode(), _ready_to_train(model), torch.enable_grad(), ModuleTracker() as tracker:
        shapes = _shapes(model, device="cpu")
        seen.update({tensor.untyped_storage()._cdata: tensor for tensor in shapes.values()})
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            _run_shapes(model, size, shapes)
    return kept


def _run_shapes(model: VideoClassifier, size: int, shapes: dict[str, Tensor]) -> None:
    """Runs one clip through the model, with tensors without numbers in place of its own."""
    config = model.config
    shape = config.num_frames, config.in_channels, size, size
    like = next(iter(shapes.values()))
    clip = torch.empty(shape, device=like.device, dtype=like.dtype, memory_format=torch.channels_last)[None]
    try:
        functional_call(model, shapes, (clip,))
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"size must be one that the network can take, got {size} ({reason}); take a larger one"
        ) from error


def _shapes(model: nn.Module, *, device: str) -> dict[str, Tensor]:
    """Makes a tensor of each parameter and buffer, with four dimensions channels last, as in training."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        name: torch.empty(
            one.shape,
            dtype=one.dtype,
            device=device,
            memory_format=torch.channels_last if one.ndim == 4 else torch.contiguous_format,
            requires_grad=one.requires_grad,
        )
        for name, one in tensors
    }


@contextmanager
def _ready_to_count(model: nn.Module) -> Iterator[None]:
    """Switches every module to evaluation and to its plain way, and back."""
    modules: list[Any] = list(model.modules())
    ways = [(module, module.way) for module in modules if hasattr(module, "way")]
    try:
        with evaluation_mode(model):
            for module, _ in ways:
                module.way = "plain"
            yield
    finally:
        for module, way in ways:
            module.way = way


@contextmanager
def _ready_to_train(model: nn.Module) -> Iterator[None]:
    """Switches every module to training, but batch norms (which refuse a single value) to evaluation, and back."""
    with restored_modes(model):
        for module in model.modules():
            module.training = not isinstance(module, _NormBase)
        yield
