"""Which parameters move at which learning rate, and which of them decay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from kinema.engine.recipe import OptimizerRecipe
from kinema.models.classifier import VideoClassifier
from kinema.models.origins import own_names
from kinema.models.stages import first_convs, kept_from_decay, steps_to_head
from kinema.models.weights import HEAD

Kind = Literal["weights", "biases", "norms", "vectors", "embeddings"]
"""What a parameter is: kernels and matrices; biases of these; what a norm scales and shifts by; other vectors; what a
network's authors except from decay."""


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that move alike."""

    rate: float
    """Their learning rate, as a multiple of the recipe's."""
    weight_decay: float
    """Their weight decay."""
    parts: tuple[str, ...]
    """What they are, as a person reads it: `backbone weights`, `head biases`."""
    names: tuple[str, ...]
    """Their names in the model."""
    num_values: int
    """Numbers in them."""

    @property
    def name(self) -> str:
        """Returns what they are, in one string."""
        return ", ".join(self.parts)

    def __str__(self) -> str:
        """Says it in a line."""
        decay = f"decay {self.weight_decay:g}" if self.weight_decay else "no decay"
        return f"x {self.rate:.3g}, {decay}: {self.num_values:,} parameters ({self.name})"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a parameter is, and what."""

    part: str
    kind: Kind
    stage: int | None = None
    """Number of its stage, 0 that of the first conv; none where the rate of stages does not concern it."""
    steps: int = 0
    """From that stage to the head."""
    is_first_conv: bool = False

    def rate(self, recipe: OptimizerRecipe) -> float:
        """Returns its learning rate as a multiple."""
        rate = {"head": recipe.head_rate, "temporal": recipe.temporal_rate}.get(self.part, 1.0)
        rate *= recipe.layer_decay**self.steps
        rate *= recipe.first_conv_rate if self.is_first_conv else 1.0
        return rate * (recipe.bias_rate if self.kind == "biases" else 1.0)

    def words(self, recipe: OptimizerRecipe) -> str:
        """Says what it is, no finer than its rate."""
        part = self.part
        if self.is_first_conv and recipe.first_conv_rate != 1:
            part = "first conv"
        elif self.stage is not None:
            part = f"stage {self.stage}"
        return f"{part} {self.kind}"


def parameter_groups(model: VideoClassifier, recipe: OptimizerRecipe) -> list[ParameterGroup]:
    """Sorts what is trained by how it moves.

    The rate of a stage concerns the backbone's own parameters, wherever a temporal layer keeps them; what layers add
    has the temporal rate wherever it stands (our reading: it is as fresh in an early stage as in a late one).

    Args:
        model: The model; what needs no gradient is in no group.
        recipe: Gives the rates and the decay.

    Returns:
        Groups by rate and decay, in which every trained parameter stands once.

    Raises:
        ValueError: If a rate concerns nothing that is trained, or the stages of the backbone cannot be told.
    """
    places = dict(_places(model, recipe))
    _check_rates(places, recipe)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    sorted_names: dict[tuple[float, float], list[str]] = {}
    for name, place in places.items():
        decays = place.kind == "weights" or recipe.decay == "all"
        sorted_names.setdefault((place.rate(recipe), recipe.weight_decay if decays else 0.0), []).append(name)
    return [
        ParameterGroup(
            rate=rate,
            weight_decay=decay,
            parts=tuple(dict.fromkeys(places[name].words(recipe) for name in names)),
            names=tuple(names),
            num_values=sum(sizes[name] for name in names),
        )
        for (rate, decay), names in sorted_names.items()
    ]


def _places(model: VideoClassifier, recipe: OptimizerRecipe) -> Iterator[tuple[str, _Place]]:
    """Finds out what each trained parameter is."""
    own = own_names(model.config)
    parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
    steps: Mapping[str, int] = {}
    if recipe.layer_decay < 1:
        steps = steps_to_head(model.config, [own[name] for name, _ in model.named_parameters() if name in own])
    num_stages = max(steps.values(), default=0)
    first = tuple(f"{path}." for path in first_convs(model.config))
    kept = kept_from_decay(model.config)
    for name, parameter in parameters.items():
        kind = _kind(model, name, num_dims=parameter.ndim)
        if name.startswith(HEAD):
            yield name, _Place(part="head", kind=kind)
        elif name not in own:
            yield name, _Place(part="temporal", kind=kind)
        else:
            kind = "embeddings" if kind == "weights" and own[name] in kept else kind
            away = steps.get(own[name], 0)
            stage, is_first = num_stages - away if away else None, own[name].startswith(first)
            yield name, _Place(part="backbone", kind=kind, stage=stage, steps=away, is_first_conv=is_first)


def _kind(model: nn.Module, name: str, *, num_dims: int) -> Kind:
    path, _, last = name.rpartition(".")
    if isinstance(model.get_submodule(path), nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
        return "norms"
    if num_dims > 1:
        return "weights"
    return "biases" if last.endswith("bias") else "vectors"


def _check_rates(places: Mapping[str, _Place], recipe: OptimizerRecipe) -> None:
    """Refuses a rate that would change nothing."""
    trained = {place.part for place in places.values()}
    first_conv = any(place.is_first_conv for place in places.values())
    for field, concerns, words in (
        ("temporal_rate", "temporal" in trained, "temporal layers add no parameters"),
        ("layer_decay", "backbone" in trained, "the backbone is not trained"),
        ("first_conv_rate", first_conv, "no first conv is trained"),
    ):
        value = getattr(recipe, field)
        if value != 1 and not concerns:
            raise ValueError(f"optimizer.{field} must be 1 where {words}, got {value}; leave it out")
