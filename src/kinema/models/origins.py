"""Where each tensor of a video network comes from: its 2D network, whatever now keeps it, or a temporal layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.models.backbones import create_backbone
from kinema.models.classifier import ModelConfig
from kinema.models.first_conv import adapt_kernels, takes_other_channels
from kinema.models.temporalize import temporalize
from kinema.models.video_networks import VideoNetwork
from kinema.wording import listed

BACKBONE = "backbone."
"""Prefix of the backbone's tensors in a model."""


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from."""

    name: str
    """Its name in the 2D network; or that of what it stands at there, the layer's class, and its name in the layer."""
    layer: TemporalLayer | None = None
    """The layer that it is a part of, without numbers; none for one of the 2D network's."""
    part: str = ""
    """The layer's child that it is in, or its name."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a network takes from another one's weights."""

    copied: Mapping[str, str]
    """Key in the network -> key in the weights, of what is taken as it is, or adapted."""
    adapted: Mapping[str, Tensor]
    """Key in the weights -> the first conv for other channels, made of the one for RGB."""
    made: Mapping[str, Tensor]
    """Key in the network -> what its layer has made of 2D weights."""
    late: tuple[str, ...]
    """Keys in the network that would be taken if T were the same."""
    anew: tuple[str, ...]
    """The other keys in the network that nothing is taken for."""
    unused: tuple[str, ...]
    """Keys in the weights that nothing takes, apart from those for the late ones."""

    def lines(self, num_frames: int) -> list[str]:
        """Says all that a person must know, apart from how much was taken.

        Args:
            num_frames: T of the weights' network.
        """
        moved = [f"{key} from {other}" for key, other in self.copied.items() if key != other]
        groups = {
            "under another name": moved,
            "adapted from RGB": list(self.adapted),
            "made from 2D weights": list(self.made),
            f"anew, for the file has T = {num_frames}": self.late,
            "anew": self.anew,
            "unused": self.unused,
        }
        return [f"  {words}: {listed(names, 4 if names is moved else 12)}" for words, names in groups.items() if names]


def match(
    config: ModelConfig, other: ModelConfig, *, shapes: Mapping[str, torch.Size], weights: Mapping[str, Tensor]
) -> Start:
    """Finds out what a network can take from the weights of another one with the same backbone.

    A first conv for other channels takes the one for RGB as TSN does it (`first_conv`).

    Args:
        config: What the network is built from.
        other: What the network of the weights was built from.
        shapes: Key in the network -> shape.
        weights: The weights, by the keys of their network.

    Returns:
        What is taken, and what is not.

    Raises:
        ValueError: If a tensor has another shape for another reason than T, or this version cannot build a network.
    """
    known, ours = origins(other), origins(config)
    theirs = {key: known.get(key, Origin(key)) for key in weights}
    ours = {key: ours.get(key, Origin(key)) for key in shapes}
    places = {origin.name: key for key, origin in theirs.items()}
    pairs = {key: places[origin.name] for key, origin in ours.items() if origin.name in places}
    adapted = {
        source: adapt_kernels(weights[source], config.frame_channels)
        for key, source in pairs.items()
        if ours[key].layer is None and takes_other_channels(weights[source], shapes[key])
    }
    weights = {**weights, **adapted}
    parts = set()
    for key, source in pairs.items():
        if weights[source].shape != shapes[key]:
            layer, was = ours[key].layer, theirs[source].layer
            if layer is None or was is None or layer.takes_num_frames(was.num_frames):
                raise _other_shape(key, shapes[key], weights[source].shape)
            parts.add((layer, ours[key].part))
    late = tuple(key for key in pairs if (ours[key].layer, ours[key].part) in parts)
    copied = {key: source for key, source in pairs.items() if key not in late}
    rest = {key for key in shapes if key.startswith(BACKBONE) and key not in pairs}
    flat = {origin.name: weights[key] for key, origin in theirs.items() if origin.layer is None}
    made = {key: value for key, value in made_from_2d(config, flat).items() if key in rest} if rest else {}
    layers = {ours[key].name.partition(":")[0] for key in made}
    used = {*pairs.values(), *(places[name] for name in flat if name.rpartition(".")[0] in layers)}
    return Start(
        copied=copied,
        adapted=adapted,
        made=made,
        late=late,
        anew=tuple(key for key in shapes if not (key in copied or key in made or key in late)),
        unused=tuple(key for key in weights if key not in used),
    )


def origins(config: ModelConfig) -> dict[str, Origin]:
    """Finds out where the tensors of a model's backbone come from.

    The network is built without numbers: a tensor is one of the 2D network's if temporal layers have kept the very
    object, under whatever name.

    Args:
        config: What the model is built from.

    Returns:
        Key in the model's state dict -> origin.

    Raises:
        ValueError: If this version cannot build the network.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        backbone = create_backbone(config.backbone, in_channels=config.frame_channels)
        flat = backbone.state_dict(keep_vars=True)
        names = {id(tensor): name for name, tensor in flat.items()}
        _temporalize(backbone, config)
    found = {}
    for key, tensor in backbone.state_dict(keep_vars=True).items():
        name = names.get(id(tensor))
        found[BACKBONE + key] = _origin_in_layer(backbone, key) if name is None else Origin(BACKBONE + name)
    return found


def own_names(config: ModelConfig) -> Mapping[str, str]:
    """Finds out what of a model's backbone is the network's own, and what temporal layers add to it.

    Its own are the tensors that layers have kept, under whatever name, and those that a layer makes of the 2D weights
    that it replaces, such as STH's spatial kernels and I3D's inflated ones. What the short-term module copies is added.

    Args:
        config: What the model is built from.

    Returns:
        Key in the model's state dict -> name in a model without temporal layers; of what a layer makes, its place
        there and its name in the layer. What is added is not in it.

    Raises:
        ValueError: If this version cannot build the network.
    """
    return _own_names(config.to_json())


@lru_cache(maxsize=4)
def _own_names(config_json: str) -> Mapping[str, str]:
    """Builds the network twice, which for a large one takes its second."""
    config = ModelConfig.from_json(config_json)
    around = _state_around(config, {})
    made = {key for key, tensor in around.items() if tensor.isnan().any()}
    own = {
        key: origin.name.replace(":", ".")
        for key, origin in origins(config).items()
        if key not in around or (key in made and origin.layer is not None)
    }
    return MappingProxyType(own)


def made_from_2d(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Lets temporal layers make their weights from those of a 2D network, beside those that they keep as they are.

    Which of a layer's tensors it makes, a 2D network of NaNs says: they turn up in these.

    Args:
        config: What the model is built from.
        weights: Tensors of the 2D network, by their keys in a model without temporal layers.

    Returns:
        Key in the model's state dict -> a tensor made of nothing but these weights.

    Raises:
        ValueError: If one of the weights has another shape.
    """
    marked, made = _state_around(config, {}), _state_around(config, weights)
    return {key: made[key] for key, tensor in marked.items() if tensor.isnan().any() and not made[key].isnan().any()}


def _state_around(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Builds a network on 2D weights, NaN where there is none; returns the tensors that are not the 2D network's."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        with torch.device("meta"):  # no number is drawn that is overwritten at once
            backbone = create_backbone(config.backbone, in_channels=config.frame_channels)
        flat = backbone.to_empty(device="cpu").state_dict(keep_vars=True)
        for name, tensor in flat.items():
            source = weights.get(BACKBONE + name)
            if source is not None and source.shape != tensor.shape:
                raise _other_shape(BACKBONE + name, tensor.shape, source.shape)
            if source is not None:
                tensor.copy_(source)
            elif tensor.is_floating_point():
                tensor.fill_(torch.nan)
        kept = {id(tensor) for tensor in flat.values()}
        _temporalize(backbone, config)
        state = backbone.state_dict(keep_vars=True)
        return {BACKBONE + key: tensor.detach() for key, tensor in state.items() if id(tensor) not in kept}


def _other_shape(key: str, wanted: torch.Size, got: torch.Size) -> ValueError:
    return ValueError(
        f"{key} must have shape {list(wanted)}, got {list(got)}; the file is of another backbone or other options"
    )


def _temporalize(backbone: nn.Module, config: ModelConfig) -> None:
    if not isinstance(backbone, VideoNetwork):
        temporalize(backbone, config.temporal, num_frames=config.num_frames, causal=config.causal, **config.options)


def _origin_in_layer(backbone: nn.Module, key: str) -> Origin:
    """Names a tensor that the 2D network does not have: by the place of its layer, whatever else stands around it."""
    words, module, origin = key.split("."), backbone, Origin(BACKBONE + key)
    place: list[str] = []
    for number, word in enumerate(words):
        if isinstance(module, TemporalLayer):
            rest = words[number:]
            name = f"{BACKBONE}{'.'.join(place)}:{type(module).__name__}.{'.'.join(rest)}"
            origin = Origin(name, module, rest[0])
        if not (isinstance(module, TemporalLayer) and word == "net"):
            place.append(word)
        module = getattr(module, word)
    return origin
