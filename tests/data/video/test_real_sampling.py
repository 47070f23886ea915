"""Windows in real files of different frame rates: the same moments, whatever the rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from kinema.data.dataset import load_views
from kinema.data.video.opening import open_video
from kinema.data.views import grid_views, stacked_indices
from kinema.data.windows import make_window
from kinema.spec import ClipSpec

if TYPE_CHECKING:
    from pathlib import Path

SPEC = ClipSpec(num_frames=8, resize=64, crop=64, sampling="stride", stride_seconds=0.2)


def test_a_stride_in_seconds_gives_the_same_moments_in_files_of_12_and_30_frames_per_second(shared_dir: Path):
    webm = sorted((shared_dir / "clips/ssv2_webm").rglob("*.webm"))
    paths = [*webm, shared_dir / "clips/arid/Stand_1_1.mp4", shared_dir / "clips/kinetics/ta_chi.mp4"]
    rates = set()
    for path in paths:
        with open_video(path) as video:
            window = make_window(SPEC, fps=video.fps)
            (view,) = grid_views(SPEC)
            numbers = stacked_indices(view, len(video), stack=1, window=window)
            rates.add(round(video.fps))
            clip = load_views(video, [view], SPEC)[0]
            frames = video.frames(numbers)
        assert window.span / video.fps == pytest.approx(1.6)
        if len(video) > window.length:
            moments = np.array(numbers) / video.fps
            assert np.abs(moments - moments[0] - 0.2 * np.arange(8)).max() <= 1 / video.fps, path
            assert abs((numbers[0] + window.span / 2) / len(video) - 0.5) < 1 / len(video) + 1e-9
        assert clip.shape == (8, 3, 64, 64)
        assert frames.shape[0] == 8
    assert {12, 30} <= rates


def test_a_dense_window_of_a_short_real_file_begins_anew(shared_dir: Path):
    spec = ClipSpec(num_frames=8, resize=64, crop=64, sampling="dense")
    with open_video(shared_dir / "clips/kinetics/mmaction2_rawvideo_part_0.mp4") as video:
        assert len(video) == 32
        clips = load_views(video, grid_views(spec, num_clips=3), spec)
    for clip in clips:
        assert np.array_equal(clip[:4], clip[4:])  # 0 8 16 24, and again
    assert np.array_equal(clips[0], clips[2])
