"""Which layers can learn whether a clip runs forwards or backwards."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.models.classifier import create_model
from kinema.models.temporal_layers import TEMPORAL_LAYERS

T = 4


def paired_clips(num_pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Patterns that grow brighter (label 0) and, frame for frame reversed, their darkening twins (label 1)."""
    pattern = torch.rand(num_pairs, 1, 3, 32, 32, generator=generator) + 0.5
    ramp = torch.linspace(-1.0, 1.0, T).view(1, T, 1, 1, 1)
    forwards = pattern * ramp + torch.randn(num_pairs, 1, 1, 1, 1, generator=generator)
    return torch.cat([forwards, forwards.flip(1)]), torch.arange(2).repeat_interleave(num_pairs)


def trained_accuracy(temporal: str, *, steps: int = 25, **options: object) -> float:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = create_model("test_resnet", temporal=temporal, num_frames=T, num_classes=2, **options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        clips, labels = paired_clips(8, generator)
        loss = F.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clips, labels = paired_clips(32, generator)
    with torch.no_grad():  # batch statistics, as in training: so short a run has no running ones yet
        return (model(clips).argmax(dim=1) == labels).float().mean().item()


SEEING = [name for name, kind in TEMPORAL_LAYERS.items() if kind is not None and kind.sees_order]
BLIND = [name for name in TEMPORAL_LAYERS if name not in SEEING]


@pytest.mark.parametrize("temporal", SEEING)
def test_a_network_that_sees_order_learns_the_arrow_of_time(temporal: str):
    # More steps for what starts as the 2D network, and is as blind at first, for what stands in one place and is weak,
    # and for GSF, which moves little at first.
    kind = TEMPORAL_LAYERS[temporal]
    steps = 50 if kind.starts_as_2d or kind.ends_stage is not None or temporal == "gsf" else 25
    assert trained_accuracy(temporal, steps=steps) > 0.9


@pytest.mark.parametrize(("axes", "sees"), [("T", True), ("TH", True), ("TW", True), ("HW", False), ("W", False)])
def test_stsm_sees_order_only_where_it_shifts_along_time(axes: str, sees: bool):
    accuracy = trained_accuracy("stsm", axes=axes)

    assert (accuracy > 0.9) if sees else (accuracy < 0.6)


@pytest.mark.parametrize("temporal", BLIND)
def test_a_network_without_such_a_layer_cannot(temporal: str):
    # A clip and its reversal have the same logits but for rounding, which may decide a few ties.
    steps = 25 if temporal == "none" else 50
    assert trained_accuracy(temporal, steps=steps) < 0.6


def test_a_head_that_relates_frames_needs_no_temporal_layer():
    assert trained_accuracy("none", head="trn", steps=50) > 0.9
