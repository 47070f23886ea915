"""Training clips through windows, with changed pixels and repeats: from seed, epoch, index and repeat alone."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from counting import numbers_in, write_counting_video
from kinema.data.annotations import read_samples
from kinema.data.dataset import TrainingClips, load_views, measure_timing
from kinema.data.mirror import find_mirrors
from kinema.data.pixels import PixelAugmentation
from kinema.data.samplers import RepeatSampler
from kinema.data.video.opening import open_video
from kinema.data.views import Augmentation, draw_view, grid_views
from kinema.spec import ClipSpec

PIXELS = PixelAugmentation(color_jitter=0.4, randaugment=2, erasing=0.5)
SPEC = ClipSpec(num_frames=4, resize=64, crop=64, class_names=("a", "b"), sampling="stride", stride_seconds=0.2)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three videos of class a at 25 frames per second, and one of class b at 10."""
    root = tmp_path_factory.mktemp("videos")
    (root / "a").mkdir()
    (root / "b").mkdir()
    write_counting_video(root / "a/0.mp4", num_frames=100)
    for name in ("1", "2"):
        shutil.copy(root / "a/0.mp4", root / f"a/{name}.mp4")
    write_counting_video(root / "b/slow.mp4", num_frames=40, rate=10)
    return root


def training(root, *, spec=SPEC, pixels=PIXELS):
    mirrors = find_mirrors(spec.class_names)
    return TrainingClips(
        read_samples(root), spec=spec, augmentation=Augmentation(), mirrors=mirrors, seed=3, pixels=pixels
    )


def test_a_clip_shows_the_frames_of_its_window_at_the_rate_of_its_file(root):
    plain = replace(SPEC, mean=(0.0,) * 3, std=(1.0,) * 3)
    for name, step in (("a/0.mp4", 5), ("b/slow.mp4", 2)):
        with open_video(root / name) as video:
            clips = load_views(video, grid_views(plain, num_clips=3), plain)
            last = len(video) - 4 * step
        shown = [numbers_in((clip * 255).round().byte().permute(0, 2, 3, 1).numpy()) for clip in clips]
        assert shown == [[start + step * frame for frame in range(4)] for start in (0, last // 2, last)]


def test_a_dense_window_of_a_real_file_begins_anew_at_its_end(root):
    spec = replace(SPEC, num_frames=8, sampling="dense", stride_seconds=None, mean=(0.0,) * 3, std=(1.0,) * 3)
    with open_video(root / "b/slow.mp4") as video:
        (clip,) = load_views(video, grid_views(spec), spec)
    assert numbers_in((clip * 255).round().byte().permute(0, 2, 3, 1).numpy()) == [0, 8, 16, 24, 32, 0, 8, 16]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_changed_clips_are_the_same_whoever_loads_them(root, num_workers):
    dataset = training(root)
    sampler = RepeatSampler(len(dataset), seed=3, repeats=2, batch_size=4)
    sampler.set_epoch(1)
    torch.manual_seed(num_workers)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=num_workers)
    clips = torch.cat([batch["clip"] for batch in loader])
    for key, clip in zip(sampler, clips, strict=True):
        assert torch.equal(clip, dataset[key]["clip"])


def test_each_repeat_is_seen_otherwise_and_the_first_as_without_repeats(root):
    dataset = training(root)
    draws = [dataset.draw(5, 1, repeat)[0] for repeat in range(3)]
    changes = [dataset.draw_change(5, 1, repeat) for repeat in range(3)]
    assert len(set(draws)) == len(set(changes)) == 3
    assert dataset.draw(5, 1) == dataset.draw(5, 1, 0)
    assert torch.equal(dataset[5, 1]["clip"], dataset[5, 1, 0]["clip"])
    assert not torch.equal(dataset[5, 1]["clip"], dataset[5, 1, 1]["clip"])
    assert len({dataset.draw_change(epoch, index).seed for epoch in range(9) for index in range(3)}) == 27


def test_views_are_drawn_as_they_always_were_whether_pixels_change_or_not(root):
    for pixels in (PIXELS, PixelAugmentation()):
        dataset = training(root, pixels=pixels)
        for epoch, index in ((0, 0), (4, 2)):
            expected = draw_view(SPEC, Augmentation(), np.random.default_rng((3, epoch, index)))
            assert dataset.draw(epoch, index)[0] == expected


def test_without_changes_none_is_drawn(root):
    assert training(root, pixels=None).draw_change(0, 0) is None


def test_flow_is_refused_where_colours_are_changed(root):
    flow = replace(SPEC, mean=(0.5, 0.5), std=(0.2, 0.2))
    with pytest.raises(ValueError, match="be 0 for frames of other than 3 channels, got 2"):
        training(root, spec=flow)
    assert len(training(root, spec=flow, pixels=PixelAugmentation(erasing=0.5))) == 4


@pytest.mark.parametrize(
    ("changes", "span", "spacing"),
    [
        ({"sampling": "segments", "stride_seconds": None}, 4.0, 1.0),
        ({"stride_seconds": 0.2}, 0.8, 0.2),
        ({"stride": 5, "stride_seconds": None}, 0.8, 0.2),
        ({"sampling": "dense", "stride_seconds": None}, 2.56, 0.64),
    ],
)
def test_measured_times_are_those_of_the_window(root, changes, span, spacing):
    measured = measure_timing(read_samples(root), spec=replace(SPEC, **changes))
    assert measured == pytest.approx((span, spacing))
