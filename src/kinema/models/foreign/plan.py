"""Decides what to build from a checkpoint: the network, its placing, T, classes and spec, and what was assumed.

Shapes: T frames, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from kinema.layers.contract import TemporalLayer
from kinema.models.classifier import ModelConfig, make_model
from kinema.models.files.read import Checkpoint
from kinema.models.foreign import hints
from kinema.models.foreign.findings import Findings, find_mobilenet, find_resnet
from kinema.models.foreign.layouts import Layout, find_layout
from kinema.spec import FRAME_CHANNELS, IMAGENET_MEAN, IMAGENET_STD, ClipSpec, Modality
from kinema.wording import listed

Shift = Literal["auto", "none", "online"]
FLOW_CHANNELS = 10
"""Channels of five fields of flow, as TSN stacks them."""
IMAGENET_CLASSES = 1000


@dataclass(kw_only=True)
class Plan:
    """What to build."""

    layout: Layout
    findings: Findings
    head: str
    """The file's name of the classifier."""
    config: ModelConfig
    spec: ClipSpec
    scaled: bool
    """Whether the file's Non-local blocks divide their scores."""
    notes: list[str] = field(default_factory=list)
    """What was concluded or assumed."""
    warnings: list[str] = field(default_factory=list)


def make_plan(
    path: Path,
    checkpoint: Checkpoint,
    tensors: Mapping[str, Tensor],
    *,
    num_frames: int | None,
    class_names: Sequence[str] | None,
    shift: Shift,
) -> Plan:
    """Decides what to build.

    Args:
        path: The file, whose name may say something.
        checkpoint: What it holds.
        tensors: By the file's names, without a `module.` in front.
        num_frames: Frames T of a clip; None to find out.
        class_names: In the order of the logits; None for those of the file, or made-up ones.
        shift: Where the names do not show a shift, whether there is one.

    Returns:
        The plan.

    Raises:
        ValueError: If the network is not known, or what the caller says contradicts the file.
    """
    layout = find_layout(tensors)
    other = hints.other_network(text=checkpoint.text, path=path)
    if other is not None:
        raise ValueError(
            f"the network must be a TSN, TSM or TANet, got a {other} by the file's recipe or name, which has more than "
            "its tensors show; take another checkpoint"
        )
    findings = _find_trunk(layout, tensors, text=checkpoint.text)
    head = _find_head(layout, tensors)
    notes: list[str] = []
    count = len(tensors[f"{head}.weight"])
    temporal, causal = _temporal(path, layout, findings, count=count, shift=shift, notes=notes)
    frames, source = hints.choose_num_frames(num_frames, by_shape=findings.num_frames, text=checkpoint.text, path=path)
    notes.append(f"T = {frames}: {source}")
    names, warning = _class_names(class_names, checkpoint, count=count)
    config = ModelConfig(
        backbone=findings.backbone,
        temporal=temporal,
        num_frames=frames,
        num_classes=count,
        in_channels=findings.in_channels,
        causal=causal,
        options=_options(path, checkpoint, findings, temporal, notes=notes),
    )
    spec = _spec(layout, findings, num_frames=frames, class_names=names)
    return Plan(
        layout=layout,
        findings=findings,
        head=head,
        config=_placed(config, findings, spec=spec),
        spec=spec,
        scaled=_is_scaled(path, checkpoint, layout, findings, notes=notes),
        notes=notes,
        warnings=[warning] if warning else [],
    )


def _find_trunk(layout: Layout, tensors: Mapping[str, Tensor], *, text: str) -> Findings:
    trunk = {name[len(layout.trunk) :]: tensor for name, tensor in tensors.items() if name.startswith(layout.trunk)}
    if layout.family != "resnet":
        return find_mobilenet(layout, trunk)
    if hints.has_stride_in_first_conv(text):
        raise ValueError(
            "the network must be a ResNet of torchvision's form, got one of style caffe by its recipe, whose stride is "
            "in another conv; take weights of style pytorch"
        )
    return find_resnet(trunk)


def _find_head(layout: Layout, tensors: Mapping[str, Tensor]) -> str:
    head = next((head for head in layout.heads if f"{head}.weight" in tensors), None)
    if head is None:
        wanted = " or ".join(f"{head}.weight" for head in layout.heads)
        raise ValueError(
            f"{wanted} must be among the file's tensors, got a network without a classifier; take the weights of a "
            "trained recogniser"
        )
    if tensors[f"{head}.weight"].ndim != 2:
        shape = list(tensors[f"{head}.weight"].shape)
        raise ValueError(f"{head}.weight must have shape [classes, features], got {shape}; the head is of another kind")
    return head


def _temporal(
    path: Path, layout: Layout, findings: Findings, *, count: int, shift: Shift, notes: list[str]
) -> tuple[tuple[str, ...], bool]:
    """Returns the temporal layers, and whether they look only back."""
    found = findings.temporal
    if shift == "none" and findings.shifted:
        raise ValueError("shift must be auto or online for names with TSM's marks, got none; leave it out")
    if shift == "online" and found not in (("tsm",), ("none",)):
        raise ValueError(
            f"shift must be left out for a network with {' and '.join(found)}, got online; it has no such form"
        )
    unmarked = layout.family == "flat" and not layout.trunk and not findings.shifted
    if shift == "auto" and unmarked:
        if hints.is_online(path):
            notes.append("read as TSM's online form, whose shifts look only back: by the file's name")
            return ("tsm",), True
        if count != IMAGENET_CLASSES:
            raise ValueError(
                "shift must be chosen for a MobileNetV2 whose names do not show whether it shifts, got none; "
                "--shift online is the form of TSM's online demo, --shift none is frames on their own (TSN)"
            )
    if shift == "online":
        notes.append("shifts look only back, as asked for")
        return ("tsm",), True
    return found, False


def _options(
    path: Path, checkpoint: Checkpoint, findings: Findings, temporal: tuple[str, ...], *, notes: list[str]
) -> dict[str, Any]:
    """Finds the layers' options that differ from ours."""
    options: dict[str, Any] = {}
    if "tsm" in temporal:
        divisions, source = hints.choose_num_divisions(text=checkpoint.text, path=path)
        notes.append(f"num_divisions = {divisions}, the shift's share of channels each way is 1/{divisions}: {source}")
        options |= {} if divisions == hints.DEFAULT_NUM_DIVISIONS else {"num_divisions": divisions}
    if findings.temporal_pool:
        options["temporal_pool"] = True
    if findings.nonlocals and not findings.pooled_attention:
        options["subsample"] = False
    return options


def _placed(config: ModelConfig, findings: Findings, *, spec: ClipSpec) -> ModelConfig:
    """Adds where the layers stand, if it is not where ours do by habit."""
    wanted = {*findings.shifted, *findings.nonlocals, *findings.adaptive}
    if not wanted:
        return config
    tries: list[dict[str, Any]] = [{}]
    tries += [{"site": "block"}] if config.temporal == ("tsm",) else []
    for more in tries:
        tried = replace(config, options={**config.options, **more})
        if _places(tried, spec=spec) == wanted:
            return tried
    if len(config.temporal) > 1:
        raise ValueError(
            f"layers must stand where TSM's official code has them in a network with {' and '.join(config.temporal)}, "
            f"got {listed(sorted(wanted), 6)}; kinema can place only one layer freely"
        )
    order = [*findings.shifted, *findings.nonlocals, *findings.adaptive]
    return replace(config, options={**config.options, "sites": order})


def _places(config: ModelConfig, *, spec: ClipSpec) -> set[str]:
    """Lists where a network's temporal layers stand, by the paths that were there before them."""
    with torch.device("meta"):
        backbone = make_model(config, spec=spec).backbone
    layers = [path for path, module in backbone.named_modules() if isinstance(module, TemporalLayer)]
    return {path.replace(".net.", ".") for path in layers}


def _class_names(
    given: Sequence[str] | None, checkpoint: Checkpoint, *, count: int
) -> tuple[tuple[str, ...], str | None]:
    """Returns the names of the classes, and a warning where they are made up."""
    if given is not None:
        if len(given) != count:
            raise ValueError(
                f"class names must be as many as the file's classes, {count}, got {len(given)}; take the list of the "
                "dataset that the weights are for"
            )
        return tuple(given), None
    if len(set(checkpoint.class_names)) == count == len(checkpoint.class_names):
        return checkpoint.class_names, None
    made_up = tuple(f"class_{number}" for number in range(count))
    return made_up, f"classes are called class_0 to class_{count - 1}: name them with --classes FILE"


def _spec(layout: Layout, findings: Findings, *, num_frames: int, class_names: tuple[str, ...]) -> ClipSpec:
    """Makes the spec that all these projects train and test with: short side 256, centre 224, bilinear."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    modality: Modality = "rgb"
    stack = 1
    if findings.in_channels == FLOW_CHANNELS:
        mean, std = ((value,) * FRAME_CHANNELS["flow"] for value in layout.flow)
        modality, stack = "flow", FLOW_CHANNELS // FRAME_CHANNELS["flow"]
    elif findings.in_channels != len(mean):
        raise ValueError(
            f"the network must take 3 channels (RGB) or {FLOW_CHANNELS} (five fields of flow), got "
            f"{findings.in_channels}; differences of frames and other inputs are not supported"
        )
    return ClipSpec(
        num_frames=num_frames,
        modality=modality,
        stack=stack,
        resize=256,
        crop=224,
        mean=mean,
        std=std,
        class_names=class_names,
    )


def _is_scaled(path: Path, checkpoint: Checkpoint, layout: Layout, findings: Findings, *, notes: list[str]) -> bool:
    """Tells whether scores of Non-local blocks are divided, which only mmcv's can be.

    Raises:
        ValueError: If they compare positions in another way than ours do.
    """
    if not findings.nonlocals or layout.trunk != "backbone.":
        return False
    mode = hints.attention_mode(text=checkpoint.text, path=path)
    if mode not in (None, "embedded_gaussian"):
        raise ValueError(
            f"Non-local blocks must be of mode embedded_gaussian, got {mode} by the file's recipe or name; kinema has "
            "no other mode"
        )
    scaled = hints.is_scaled(checkpoint.text)
    if mode is None:
        notes.append("Non-local: mode embedded_gaussian is assumed, which names and shapes do not show")
    if scaled is None:
        notes.append("Non-local: use_scale=False is assumed, as in mmaction2's recipes; nothing in the file says")
    return bool(scaled)
