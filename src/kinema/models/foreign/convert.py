"""Turns a checkpoint of another project into one of our models: same logits, other names.

It reads what the official codes of TSM (ICCV 2019, https://arxiv.org/abs/1811.08383) and TANet (ICCV 2021,
https://arxiv.org/abs/2005.06803) write, and mmaction2's TSN, TSM and TANet.

Shapes: T frames, K classes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kinema.models.classifier import ModelConfig, VideoClassifier, make_model
from kinema.models.files.read import read_checkpoint, shown
from kinema.models.foreign.fitting import COUNTER, file_names, fit, scale_attention
from kinema.models.foreign.plan import Plan, Shift, make_plan
from kinema.wording import listed

WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")
"""What torch's data-parallel training and its compiler put in front of every name."""
HARMLESS = ("data_preprocessor.",)
"""Beginnings of names that say how frames are normalized, which the spec does."""
NAMED = 40
"""Names that a line of the report gives before it only counts."""


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What was found in a checkpoint, and what became of it."""

    file: str
    """Its name, without its folder."""
    sha256: str
    layout: str
    config: ModelConfig
    used: int
    """Tensors of the file that went into the model."""
    unused: tuple[str, ...]
    """The file's names of those that did not."""
    filled: tuple[str, ...]
    """Our names of tensors that the file does not have, and need not."""
    not_loaded: tuple[str, ...]
    """What else the file holds: entries beside the network, and objects of other programs."""
    notes: tuple[str, ...]
    """What was concluded or assumed."""
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Returns the report in lines to print, without the warnings."""
        config = self.config
        lines = [
            f"layout: {self.layout}",
            f"network: {config.backbone}, temporal {' + '.join(config.temporal)}, T = {config.num_frames} frames of "
            f"{config.in_channels} channels, K = {config.num_classes} classes",
            f"tensors: {self.used} used, {len(self.unused)} unused",
        ]
        lines += [f"unused: {listed(self.unused, NAMED)}"] if self.unused else []
        counters = sum(key.endswith(COUNTER) for key in self.filled)
        others = [key for key in self.filled if not key.endswith(COUNTER)]
        lines += [f"filled in: {counters} counters {COUNTER}, with 0"] if counters else []
        lines += [f"filled in, so that they change nothing: {listed(others, NAMED)}"] if others else []
        lines += [f"not loaded: {listed(self.not_loaded, NAMED)}"] if self.not_loaded else []
        return lines + [f"note: {note}" for note in self.notes]

    def to_json(self) -> str:
        """Returns where the weights come from, as one line of JSON for the metadata of a weights file."""
        kept = ("file", "sha256", "layout", "unused", "filled", "not_loaded", "notes")
        return json.dumps({name: getattr(self, name) for name in kept}, ensure_ascii=False)


def import_weights(
    path: str | Path,
    *,
    num_frames: int | None = None,
    class_names: Sequence[str] | None = None,
    shift: Shift = "auto",
) -> tuple[VideoClassifier, ImportReport]:
    """Builds one of our models from another project's checkpoint; nothing in the file is run.

    Args:
        path: A `.pth`, `.pt` or `.pth.tar` of torch, or a `.safetensors`.
        num_frames: Frames T of a clip; by default what shapes, recipe or names say, or else 8.
        class_names: In the order of the logits; by default the file's own, or else `class_0`, `class_1`, ...
        shift: Where the names do not show whether there is a shift: `none`, or `online`, TSM's form that only looks
            back; with `online`, shifts that the names do show look only back too.

    Returns:
        The model, in evaluation mode, and a report.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no checkpoint of a known layout, a tensor is missing or has another shape, or what the
            caller says contradicts it.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    bare = {WRAPPERS.sub("", name): name for name in checkpoint.tensors}
    prefix = next((match[0] for match in map(WRAPPERS.match, checkpoint.tensors) if match), "")
    tensors = {name: checkpoint.tensors[whole] for name, whole in bare.items()}
    try:
        plan = make_plan(path, checkpoint, tensors, num_frames=num_frames, class_names=class_names, shift=shift)
        with torch.device("meta"):
            model = make_model(plan.config, spec=plan.spec)
        own = model.state_dict()
        names = file_names(own, plan.layout, plan.findings, head=plan.head)
        whole_names = {key: bare.get(name, prefix + name) for key, name in names.items()}
        fitted = fit(own, checkpoint.tensors, whole_names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if plan.scaled:
        scale_attention(fitted.state, plan.findings.nonlocals)
    model.load_state_dict(fitted.state, assign=True)
    unused = tuple(shown(name) for name in checkpoint.tensors if name not in set(fitted.used))
    report = ImportReport(
        file=path.name,
        sha256=_sha256(path),
        layout=plan.layout.name,
        config=plan.config,
        used=len(fitted.used),
        unused=unused,
        filled=fitted.filled,
        not_loaded=checkpoint.not_loaded,
        notes=tuple(plan.notes),
        warnings=(*plan.warnings, *_warnings(plan, unused, prefix=prefix)),
    )
    return model.eval(), report


def _warnings(plan: Plan, unused: Sequence[str], *, prefix: str) -> list[str]:
    """Warns of flow that must be extracted, and of parts of the file's network that our model does not have."""
    warnings = []
    if plan.spec.modality == "flow":
        warnings.append("the network takes optical flow: extract it with kinema data flow")
    more = [name for name in unused if not name.removeprefix(prefix).startswith(HARMLESS)]
    if more:
        warnings.append(
            f"the file's network has more than this model ({listed(more, 3)}), so that its logits may differ"
        )
    return warnings


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
