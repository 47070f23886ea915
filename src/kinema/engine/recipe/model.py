"""The network: the part of a recipe that says what is trained, and from which weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kinema.wording import check


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """The network."""

    backbone: str = "resnet18.tv_in1k"
    """A 2D network by its timm name, weights in full (`resnet50.tv_in1k`), or a whole video network (`r3d_18`)."""
    temporal: list[str] | str = "sth"
    """Temporal layer (`none`, `tsm`, `sth`, `stm`, ...: docs/layers.md), or several, applied from left to right."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the temporal layer, such as `fraction: 0.25` of `sth`."""
    pretrained: bool | str = "auto"
    """Published weights (ImageNet's; of whole video networks, Kinetics-400's): `true`, `false`, `auto` (start from them
    if they can be had, else say so and start from random weights), or a file of 2D weights, in timm's or torchvision's
    layout."""
    init: str | None = None
    """A kinema weights file, folder or hf://owner/name to start from; with another class list the head is made anew."""
    dropout: float = 0.0
    """Chance that a feature before the head is dropped in training."""
    causal: bool = False
    """Whether temporal layers look only at the past, as a live stream needs."""
    head: str = "linear"
    """What makes logits of the frames' features: `linear`, the mean of each frame's own, or `trn`, relations of frames
    (docs/heads.md)."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check_layer_options(self.options, name="model.options")
        check(0 <= self.dropout < 1, "model.dropout", "lie in [0, 1)", self.dropout, "0.5 is usual on little data")
        check(
            not (self.init and self.pretrained not in (False, "auto")),
            "model.pretrained",
            "not name weights where model.init is given",
            self.pretrained,
            "the init file brings the weights: leave model.pretrained out",
        )
        named = isinstance(self.pretrained, bool) or self.pretrained == "auto" or "." in self.pretrained
        check(named, "model.pretrained", "be true, false, auto or a file", self.pretrained, "as in resnet50.pth")


def check_layer_options(options: dict[str, Any], *, name: str) -> None:
    """Refuses what has a place of its own among the options of a temporal layer.

    Raises:
        ValueError: If there is such a name.
    """
    own = sorted(
        {*ModelRecipe.__dataclass_fields__, "num_frames", "num_classes", "spec", "modality", "stack"} & options.keys()
    )
    check(not own, name, "hold options of the temporal layer only", own, "set these by their own flags")
