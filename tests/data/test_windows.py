"""Windows are literal arithmetic: which frames of which video, by dense sampling and by a fixed stride."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from kinema.data.views import (
    Augmentation,
    Crop,
    View,
    draw_view,
    grid_views,
    protocol_name,
    reversed_view,
    shuffled_view,
    stacked_indices,
    window_offsets,
)
from kinema.data.windows import make_window, window_indices
from kinema.spec import ClipSpec

CENTRE = Crop(0.5, 0.5, 1.0, 1.0)
DENSE = ClipSpec(num_frames=8, sampling="dense")


def frames_of(view, length, spec, *, fps=25.0):
    return stacked_indices(view, length, stack=spec.stack, window=make_window(spec, fps=fps))


def at(place, spec):
    return View(window_offsets(spec.num_frames), CENTRE, place=place)


@pytest.mark.parametrize(
    ("num_frames", "length", "place", "expected"),
    [
        (8, 64, 0.5, [0, 8, 16, 24, 32, 40, 48, 56]),
        (8, 65, 0.5, [0, 8, 16, 24, 32, 40, 48, 56]),
        (8, 65, 1.0, [1, 9, 17, 25, 33, 41, 49, 57]),
        (8, 300, 0.0, [0, 8, 16, 24, 32, 40, 48, 56]),
        (8, 300, 0.5, [118, 126, 134, 142, 150, 158, 166, 174]),
        (8, 300, 1.0, [236, 244, 252, 260, 268, 276, 284, 292]),
        (8, 20, 0.7, [0, 8, 16, 4, 12, 0, 8, 16]),
        (8, 63, 1.0, [0, 8, 16, 24, 32, 40, 48, 56]),
        (8, 8, 0.0, [0, 0, 0, 0, 0, 0, 0, 0]),
        (8, 1, 0.5, [0, 0, 0, 0, 0, 0, 0, 0]),
        (10, 64, 0.5, [0, 6, 12, 18, 24, 30, 36, 42, 48, 54]),
        (16, 30, 0.5, [0, 4, 8, 12, 16, 20, 24, 28, 2, 6, 10, 14, 18, 22, 26, 0]),
        (64, 66, 0.5, list(range(1, 65))),
    ],
)
def test_dense_windows_are_these_frames_and_a_short_video_begins_anew(num_frames, length, place, expected):
    spec = ClipSpec(num_frames=num_frames, sampling="dense")
    assert frames_of(at(place, spec), length, spec) == expected


def test_dense_clips_of_an_evaluation_are_those_of_tsm_for_every_length():
    for num_frames in (4, 5, 8, 16):
        spec = ClipSpec(num_frames=num_frames, sampling="dense")
        views = grid_views(spec, num_clips=10)
        for length in (*range(1, 200), 300, 1000, 9_999):
            expected = []
            for start in np.linspace(0, max(1, 1 + length - 64) - 1, num=10, dtype=int).tolist():
                expected.append([(start + frame * (64 // num_frames)) % length for frame in range(num_frames)])
            assert [frames_of(view, length, spec) for view in views] == expected, (num_frames, length)


def test_segments_of_an_evaluation_are_the_centres_of_tsm_for_every_length():
    spec = ClipSpec(num_frames=8)
    (view,) = grid_views(spec)
    for length in range(1, 500):
        tick = Fraction(length, 8)
        assert frames_of(view, length, spec) == [int(tick / 2 + tick * frame) for frame in range(8)]


def test_drawn_dense_windows_begin_where_tsm_draws_them():
    starts = set()
    for seed in range(300):
        view = draw_view(DENSE, Augmentation(), np.random.default_rng(seed))
        frames = frames_of(view, 70, DENSE)
        assert np.diff(frames).tolist() == [8] * 7
        starts.add(frames[0])
        assert frames_of(view, 50, DENSE) == [(8 * frame) % 50 for frame in range(8)]
    assert starts == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("stride", "length", "place", "expected"),
    [
        (1, 10, 0.0, [0, 1, 2, 3]),
        (1, 10, 0.5, [3, 4, 5, 6]),
        (1, 10, 1.0, [6, 7, 8, 9]),
        (2, 8, 0.5, [0, 2, 4, 6]),
        (2, 9, 1.0, [1, 3, 5, 7]),
        (8, 100, 0.0, [0, 8, 16, 24]),
        (8, 100, 0.5, [34, 42, 50, 58]),
        (8, 100, 1.0, [68, 76, 84, 92]),
        (8, 20, 0.0, [0, 8, 16, 19]),
        (8, 20, 1.0, [0, 8, 16, 19]),
        (3, 4, 0.5, [0, 3, 3, 3]),
        (5, 1, 0.5, [0, 0, 0, 0]),
    ],
)
def test_a_stride_gives_these_frames_and_a_short_video_stands_still_at_its_end(stride, length, place, expected):
    spec = ClipSpec(num_frames=4, sampling="stride", stride=stride)
    assert frames_of(at(place, spec), length, spec) == expected


@pytest.mark.parametrize(
    ("seconds", "fps", "length", "place", "expected"),
    [
        (0.5, 12.0, 48, 0.0, [0, 6, 12, 18]),
        (0.5, 30.0, 120, 0.0, [0, 15, 30, 45]),
        (0.5, 12.0, 48, 0.5, [12, 18, 24, 30]),
        (0.5, 30.0, 120, 0.5, [30, 45, 60, 75]),
        (0.5, 12.0, 48, 1.0, [24, 30, 36, 42]),
        (0.5, 30.0, 120, 1.0, [60, 75, 90, 105]),
        (0.25, 30.0, 120, 0.0, [0, 7, 15, 22]),
        (0.25, 30000 / 1001, 120, 0.0, [0, 7, 14, 22]),
        (0.29, 100.0, 400, 0.0, [0, 29, 58, 87]),
        (0.02, 25.0, 100, 0.0, [0, 0, 1, 1]),
        (0.5, 30.0, 40, 0.5, [0, 15, 30, 39]),
    ],
)
def test_a_stride_in_seconds_looks_at_all_frame_rates_alike(seconds, fps, length, place, expected):
    spec = ClipSpec(num_frames=4, sampling="stride", stride_seconds=seconds)
    assert frames_of(at(place, spec), length, spec, fps=fps) == expected


@pytest.mark.parametrize("spec", [DENSE, ClipSpec(sampling="stride", stride=4)])
def test_one_window_stands_in_the_middle_and_several_from_the_start_to_the_end(spec):
    assert [view.place for view in grid_views(spec)] == [0.5]
    views = grid_views(spec, num_clips=3, num_crops=3)
    assert [view.place for view in views] == [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0]
    assert {view.offsets for view in views} == {(0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)}


def test_drawn_windows_stand_anywhere_inside_the_video():
    spec = ClipSpec(num_frames=4, sampling="stride", stride=3)
    views = [draw_view(spec, Augmentation(), np.random.default_rng(seed)) for seed in range(200)]
    frames = [frames_of(view, 30, spec) for view in views]
    assert all(np.diff(numbers).tolist() == [3, 3, 3] for numbers in frames)
    assert {numbers[0] for numbers in frames} == set(range(18))


@pytest.mark.parametrize("stack", [1, 3, 5])
def test_reversal_and_shuffling_keep_the_frames_of_a_window(stack):
    spec = ClipSpec(num_frames=4, sampling="stride", stride=2, stack=stack)
    view = at(0.8, spec)
    there, back = frames_of(view, 30, spec), frames_of(reversed_view(view), 30, spec)
    assert back == there[::-1]
    shuffled = shuffled_view(view, np.random.default_rng(0))
    assert sorted(frames_of(shuffled, 30, spec)) == sorted(there)
    assert frames_of(shuffled, 30, spec) not in (there, back)


def test_neighbours_stand_around_each_frame_of_a_window():
    spec = ClipSpec(num_frames=2, sampling="stride", stride=4, stack=3)
    assert frames_of(at(0.0, spec), 20, spec) == [0, 0, 1, 3, 4, 5]
    assert frames_of(at(0.0, spec), 4, spec) == [0, 0, 1, 2, 3, 3]
    wrapped = ClipSpec(num_frames=8, sampling="dense", stack=3)
    assert frames_of(at(0.5, wrapped), 20, wrapped)[:12] == [0, 0, 1, 7, 8, 9, 15, 16, 17, 3, 4, 5]


def test_segments_have_no_window_and_their_place_means_nothing():
    spec = ClipSpec(num_frames=4)
    assert make_window(spec, fps=25.0) is None
    (view,) = grid_views(spec)
    assert view.place == 0.5
    assert frames_of(at(0.0, spec), 40, spec) == frames_of(at(1.0, spec), 40, spec)


def test_a_place_outside_the_video_and_a_video_without_frames_are_refused():
    for place in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="place must lie between 0 and 1"):
            View((0.5,), CENTRE, place=place)
    window = make_window(DENSE, fps=25.0)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        window_indices((0.5,), 0, place=0.5, window=window)


@pytest.mark.parametrize(
    ("sampling", "name"),
    [("segments", "10 clips \u00d7 3 crops"), ("dense", "10 dense clips \u00d7 3 crops")],
)
def test_a_protocol_says_how_clips_are_sampled(sampling, name):
    assert protocol_name(10, 3, sampling=sampling) == name
    assert protocol_name(1, 1, sampling="stride") == "1 strided clip \u00d7 centre crop"
