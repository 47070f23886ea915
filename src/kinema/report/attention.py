"""Records how STH layers weigh time against space while a network looks at clips.

The paper's supplement (https://arxiv.org/abs/2003.08042, section 6.1) averages the coefficients alpha_T and alpha_S
over a dataset, layer by layer; so does this.

Shapes: N clips, T frames, C channels, H x W pixels, Co output channels of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kinema.layers.sth import STHConv
from kinema.models.modes import evaluation_mode


@dataclass(frozen=True, kw_only=True)
class LayerAttention:
    """What one layer's attention did over many clips."""

    name: str
    """Qualified name of the layer in its network."""
    temporal_by_channel: np.ndarray
    """Mean of alpha_T over the clips, for each output channel [Co]."""
    spatial_by_channel: np.ndarray
    """Mean of alpha_S over the clips, for each output channel [Co]."""
    temporal_by_clip: np.ndarray
    """Mean of alpha_T over the channels, for each clip [N]."""
    spatial_by_clip: np.ndarray
    """Mean of alpha_S over the channels, for each clip [N]."""


def record_attention(model: nn.Module, batches: Iterable[Tensor]) -> list[LayerAttention]:
    """Runs clips through a network and reads the coefficients of its STH layers.

    Args:
        model: A network; its layers without attention are passed over.
        batches: Clips [N, T, C, H, W], normalized.

    Returns:
        One record a layer, from the network's input to its output; empty if no layer has attention.

    Raises:
        ValueError: If there is no batch.
    """
    weight = next(model.parameters())
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
    num_batches = 0
    with evaluation_mode(model), _recording(model, seen), torch.inference_mode():
        for clips in batches:
            model(clips.to(weight.device, weight.dtype))
            num_batches += 1
    if num_batches == 0:
        raise ValueError("batches must hold at least one batch of clips, got none; check the data")
    return [_summarize(name, pairs) for name, pairs in seen.items()]


@contextmanager
def _recording(model: nn.Module, seen: dict[str, list[tuple[Tensor, Tensor]]]) -> Iterator[None]:
    """Appends the coefficients [N, Co] of each layer at each of its calls."""
    handles = []
    for name, module in model.named_modules():
        if not isinstance(module, STHConv) or module.attention is None:
            continue

        def note(layer: nn.Module, inputs: tuple[Tensor, ...], *, name: str = name) -> None:
            assert isinstance(layer, STHConv)
            temporal, spatial = layer.coefficients(inputs[0])
            seen.setdefault(name, []).append((temporal.double().cpu(), spatial.double().cpu()))

        handles.append(module.register_forward_pre_hook(note))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _summarize(name: str, pairs: Sequence[tuple[Tensor, Tensor]]) -> LayerAttention:
    temporal, spatial = (torch.cat(parts).numpy() for parts in zip(*pairs, strict=True))  # [N, Co]
    return LayerAttention(
        name=name,
        temporal_by_channel=temporal.mean(axis=0),
        spatial_by_channel=spatial.mean(axis=0),
        temporal_by_clip=temporal.mean(axis=1),
        spatial_by_clip=spatial.mean(axis=1),
    )
