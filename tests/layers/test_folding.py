from __future__ import annotations

import pytest
import torch

from kinema.layers.folding import fold_time, unfold_time


def test_frames_of_one_clip_stay_side_by_side():
    clips = torch.arange(2 * 3).view(2, 3, 1, 1, 1)

    assert fold_time(clips).flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_unfolding_undoes_folding():
    clips = torch.randn(2, 5, 3, 4, 4)

    assert torch.equal(unfold_time(fold_time(clips), 5), clips)


def test_half_a_clip_is_refused():
    with pytest.raises(ValueError, match="must be a multiple of num_frames 4, got 6"):
        unfold_time(torch.zeros(6, 1, 1, 1), 4)
