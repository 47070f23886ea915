"""Views are literal arithmetic: tables of which frames and which box."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from kinema.data.views import (
    Augmentation,
    Crop,
    View,
    draw_view,
    frame_indices,
    grid_views,
    protocol_name,
    reversed_view,
    segment_offsets,
    shuffled_view,
    stacked_indices,
)
from kinema.spec import ClipSpec

CENTRE = Crop(0.5, 0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("num_frames", "length", "expected"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 16, [1, 3, 5, 7, 9, 11, 13, 15]),
        (8, 20, [1, 3, 6, 8, 11, 13, 16, 18]),
        (8, 100, [6, 18, 31, 43, 56, 68, 81, 93]),
        (8, 5, [0, 0, 1, 2, 2, 3, 4, 4]),
        (8, 3, [0, 0, 0, 1, 1, 2, 2, 2]),
        (8, 1, [0, 0, 0, 0, 0, 0, 0, 0]),
        (3, 7, [1, 3, 5]),
        (1, 9, [4]),
        (16, 30, [0, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 29]),
    ],
)
def test_segment_centres_are_these_frames(num_frames, length, expected):
    assert frame_indices(segment_offsets(num_frames), length) == expected


def test_centres_equal_exact_integer_arithmetic_for_every_length():
    for num_frames in (1, 2, 3, 5, 7, 8, 16, 25, 32, 49, 64):
        offsets = segment_offsets(num_frames)
        for length in (*range(1, 400), 9_999, 215_784, 1_000_000):
            exact = [(2 * t + 1) * length // (2 * num_frames) for t in range(num_frames)]
            assert frame_indices(offsets, length) == exact, (num_frames, length)


def test_clips_inside_segments_equal_exact_arithmetic_too():
    for num_frames, num_clips in [(8, 2), (8, 10), (7, 3), (16, 5)]:
        spec = ClipSpec(num_frames=num_frames)
        for length in (1, 7, 49, 100, 233, 1000):
            for clip, view in enumerate(grid_views(spec, num_clips=num_clips)):
                place = Fraction(2 * clip + 1, 2 * num_clips)
                exact = [int((t + place) / num_frames * length) for t in range(num_frames)]
                assert frame_indices(view.offsets, length) == exact


@pytest.mark.parametrize(
    ("offset", "length", "index"),
    [
        (0.0, 10, 0),
        (0.999999999999, 10, 9),
        (np.nextafter(1.0, 0.0), 7, 6),
        (1 / 49, 49, 1),
        (0.3, 10, 3),
        (0.7, 10, 7),
    ],
)
def test_an_offset_below_one_is_always_a_frame(offset, length, index):
    assert frame_indices([offset], length) == [index]


@pytest.mark.parametrize(
    ("offsets", "length", "stack", "backwards", "expected"),
    [
        ((0.2, 0.55), 10, 1, False, [2, 5]),
        ((0.2, 0.55), 10, 3, False, [1, 2, 3, 4, 5, 6]),
        ((0.2, 0.55), 10, 5, False, [0, 1, 2, 3, 4, 3, 4, 5, 6, 7]),
        ((0.0, 0.95), 10, 5, False, [0, 0, 0, 1, 2, 7, 8, 9, 9, 9]),
        ((0.1,), 10, 5, False, [0, 0, 1, 2, 3]),
        ((0.5,), 1, 5, False, [0, 0, 0, 0, 0]),
        ((0.1, 0.9), 2, 5, False, [0, 0, 0, 1, 1, 0, 0, 1, 1, 1]),
        ((0.2, 0.55), 10, 1, True, [2, 5]),
        ((0.55, 0.2), 10, 3, True, [6, 5, 4, 3, 2, 1]),
        ((0.95,), 10, 5, True, [9, 9, 9, 8, 7]),
    ],
)
def test_neighbours_stand_around_each_frame_and_a_video_stands_still_beyond_its_ends(
    offsets, length, stack, backwards, expected
):
    assert stacked_indices(View(offsets, CENTRE, backwards=backwards), length, stack=stack) == expected


def test_a_video_without_frames_is_refused():
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        frame_indices([0.5], 0)


@pytest.mark.parametrize(
    ("jitter", "expected"),
    [([0.0, 0.0], (0.0, 0.5)), ([0.5, 0.5], (0.25, 0.75)), ([0.25, 0.75], (0.125, 0.875))],
)
def test_jitter_places_a_frame_inside_its_segment(jitter, expected):
    assert segment_offsets(2, jitter) == expected


def test_offsets_stay_below_one_for_the_largest_jitter():
    for num_frames in (1, 3, 8, 49):
        offsets = segment_offsets(num_frames, [1.0] * num_frames)
        assert max(offsets) < 1.0
        View(offsets, CENTRE)


@pytest.mark.parametrize("jitter", [[0.5], [0.5, 1.5], [0.5, -0.1]])
def test_a_wrong_jitter_is_refused(jitter):
    with pytest.raises(ValueError, match="jitter must be 2 numbers"):
        segment_offsets(2, jitter)


def test_evaluation_with_one_clip_and_one_crop_is_the_centre():
    (view,) = grid_views(ClipSpec(num_frames=4, resize=256, crop=224))
    assert view == View((0.125, 0.375, 0.625, 0.875), Crop(0.5, 0.5, 0.875, 1.0), mirrored=False)


def test_two_clips_and_three_crops_are_six_views_in_order():
    views = grid_views(ClipSpec(num_frames=2), num_clips=2, num_crops=3)
    assert [(view.offsets, view.crop.center_x, view.crop.center_y, view.crop.scale) for view in views] == [
        ((0.125, 0.625), 0.0, 0.0, 1.0),
        ((0.125, 0.625), 0.5, 0.5, 1.0),
        ((0.125, 0.625), 1.0, 1.0, 1.0),
        ((0.375, 0.875), 0.0, 0.0, 1.0),
        ((0.375, 0.875), 0.5, 0.5, 1.0),
        ((0.375, 0.875), 1.0, 1.0, 1.0),
    ]


@pytest.mark.parametrize(("num_clips", "num_crops", "name"), [(0, 1, "num_clips"), (1, 2, "num_crops")])
def test_a_grid_that_does_not_exist_is_refused(num_clips, num_crops, name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        grid_views(ClipSpec(), num_clips=num_clips, num_crops=num_crops)


@pytest.mark.parametrize(
    ("num_clips", "num_crops", "name"),
    [(1, 1, "1 clip \u00d7 centre crop"), (2, 3, "2 clips \u00d7 3 crops"), (10, 1, "10 clips \u00d7 centre crop")],
)
def test_protocols_have_the_names_that_papers_use(num_clips, num_crops, name):
    assert protocol_name(num_clips, num_crops) == name


def test_drawn_views_stay_in_their_ranges_and_segments():
    spec = ClipSpec(num_frames=5)
    augmentation = Augmentation(min_scale=0.5, max_scale=0.9, min_aspect=0.8, max_aspect=1.25, mirror=0.3)
    views = [draw_view(spec, augmentation, np.random.default_rng(seed)) for seed in range(500)]
    for view in views:
        assert [int(offset * 5) for offset in view.offsets] == [0, 1, 2, 3, 4]
        assert 0.5 <= view.crop.scale <= 0.9
        assert 0.8 <= view.crop.aspect <= 1.25
    assert 0.2 < np.mean([view.mirrored for view in views]) < 0.4
    assert np.ptp([view.crop.scale for view in views]) > 0.35
    assert np.ptp([view.crop.center_x for view in views]) > 0.95
    assert np.ptp([5 * view.offsets[2] for view in views]) > 0.95


def test_a_drawn_view_depends_on_the_generator_alone():
    spec, augmentation = ClipSpec(), Augmentation()
    views = [draw_view(spec, augmentation, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert views[0] == views[1] != views[2]


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_mirroring_never_and_always_can_be_asked_for(probability):
    augmentation = Augmentation(mirror=probability)
    views = [draw_view(ClipSpec(), augmentation, np.random.default_rng(seed)) for seed in range(50)]
    assert {view.mirrored for view in views} == {bool(probability)}


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"min_scale": 0.0}, "min_scale must be positive"),
        ({"min_scale": 0.9, "max_scale": 0.8}, "at most max_scale"),
        ({"min_aspect": 2.0}, "at most max_aspect"),
        ({"mirror": 1.5}, "mirror must be a probability"),
    ],
)
def test_an_augmentation_out_of_range_is_refused(wrong, rule):
    with pytest.raises(ValueError, match=rule):
        Augmentation(**wrong)


def test_a_crop_or_view_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"center_x must lie between 0 and 1, got 1\.1"):
        Crop(1.1, 0.5, 1.0, 1.0)
    with pytest.raises(ValueError, match="aspect must be positive, got 0"):
        Crop(0.5, 0.5, 1.0, 0.0)
    for offsets in [(), (1.0,), (-0.1,), (float("nan"),)]:
        with pytest.raises(ValueError, match=r"offsets must be some numbers in \[0, 1\)"):
            View(offsets, CENTRE)


def test_reversal_plays_the_same_frames_backwards():
    view = View((0.1, 0.4, 0.7), CENTRE, mirrored=True)
    assert reversed_view(view) == View((0.7, 0.4, 0.1), CENTRE, mirrored=True, backwards=True)
    assert reversed_view(reversed_view(view)) == view
    for stack in (1, 3, 5):
        there, back = (stacked_indices(one, 12, stack=stack) for one in (view, reversed_view(view)))
        assert back == there[::-1]


@pytest.mark.parametrize("num_frames", [3, 4, 8])
def test_shuffling_keeps_the_frames_and_never_gives_the_view_or_its_reversal(num_frames):
    view = View(segment_offsets(num_frames), CENTRE)
    shuffled = [shuffled_view(view, np.random.default_rng(seed)) for seed in range(100)]
    for other in shuffled:
        assert sorted(other.offsets) == list(view.offsets)
        assert other.offsets not in (view.offsets, view.offsets[::-1])
        assert not other.backwards
    assert len(set(shuffled)) == (4 if num_frames == 3 else len(set(shuffled)))
    assert len(set(shuffled)) > 3


def test_two_frames_cannot_be_shuffled():
    with pytest.raises(ValueError, match="num_frames must be at least 3 to shuffle, got 2"):
        shuffled_view(View((0.2, 0.6), CENTRE), np.random.default_rng(0))
