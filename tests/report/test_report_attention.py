from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kinema.layers.folding import fold_time
from kinema.layers.sth import STHConv
from kinema.report.attention import record_attention

NUM_FRAMES = 4


class TwoLayers(nn.Module):
    """Two STH layers, of which only the first has attention."""

    def __init__(self):
        super().__init__()
        self.first = STHConv(nn.Conv2d(8, 8, 3, padding=1), num_frames=NUM_FRAMES)
        self.second = STHConv(nn.Conv2d(8, 8, 3, padding=1), num_frames=NUM_FRAMES, fusion="sum")
        assert self.first.attention is not None
        nn.init.normal_(self.first.attention.expand.weight)

    def forward(self, clip):
        return self.second(self.first(fold_time(clip))).mean(dim=(1, 2, 3))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TwoLayers().train()


def test_coefficients_are_averaged_over_all_clips_of_all_batches(model):
    clips = torch.randn(5, NUM_FRAMES, 8, 6, 6)
    (record,) = record_attention(model, [clips[:3], clips[3:]])
    temporal, spatial = (part.detach().numpy() for part in model.first.coefficients(fold_time(clips)))
    assert record.name == "first"
    np.testing.assert_allclose(record.temporal_by_channel, temporal.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(record.spatial_by_channel, spatial.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(record.temporal_by_clip, temporal.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(record.spatial_by_clip, spatial.mean(axis=1), rtol=1e-5)
    assert record.temporal_by_clip.std() > 0


def test_recording_leaves_the_model_as_it_was(model):
    record_attention(model, [torch.randn(1, NUM_FRAMES, 8, 6, 6)])
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_model_without_attention_has_nothing_to_record():
    assert record_attention(nn.Linear(4, 2), [torch.randn(3, 4)]) == []


def test_recording_without_clips_is_refused(model):
    with pytest.raises(ValueError, match="batches must hold at least one"):
        record_attention(model, [])


def test_frozen_parts_stay_frozen(model):
    model.second.eval()
    record_attention(model, [torch.randn(1, NUM_FRAMES, 8, 6, 6)])
    assert model.training
    assert model.first.training
    assert not model.second.training
