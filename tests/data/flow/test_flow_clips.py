"""Clips of flow and of differences: which pictures are stacked, in which order, and what turning them does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from kinema.data.dataset import load_views
from kinema.data.transforms import make_clip
from kinema.data.video.base import Video
from kinema.data.views import Crop, View, grid_views, reversed_view, segment_offsets, stacked_indices
from kinema.spec import ClipSpec

WHOLE = Crop(0.5, 0.5, 1.0, 1.0)
SIDE = 4


def flow_spec(num_frames=2, stack=5, mean=0.0, std=1.0):
    sizes = {"resize": SIDE, "crop": SIDE}
    return ClipSpec(num_frames=num_frames, modality="flow", stack=stack, mean=(mean,) * 2, std=(std,) * 2, **sizes)


def difference_spec(num_frames=2, stack=5):
    sizes = {"resize": SIDE, "crop": SIDE}
    return ClipSpec(num_frames=num_frames, modality="rgbdiff", stack=stack, mean=(0.0,) * 3, std=(1.0,) * 3, **sizes)


class Counted(Video):
    """Frame i is of one colour per channel: channel c of frame i holds 2 i + c, plus one in the left half."""

    def __init__(self, length, channels):
        self.length, self.channels, self.fps = length, channels, 25.0

    def __len__(self):
        return self.length

    def _read(self, numbers):
        for number in numbers:
            frame = np.empty((SIDE, SIDE, self.channels), np.uint8)
            frame[:] = 2 * number + np.arange(self.channels)
            frame[:, : SIDE // 2] += 1
            yield number, frame


@pytest.mark.parametrize(
    ("offsets", "length", "stack", "backwards", "expected"),
    [
        # TSM's test sampling: int(tick / 2 + tick t) with tick = (length - stack + 1) / T
        ((0.25, 0.75), 12, 5, False, [2, 3, 4, 5, 6, 6, 7, 8, 9, 10]),
        ((0.25, 0.75), 12, 5, True, [6, 5, 4, 3, 2, 10, 9, 8, 7, 6]),
        ((0.0, 0.999), 12, 5, False, [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]),
        ((0.0, 0.999), 12, 1, False, [0, 11]),
        ((0.5,), 3, 5, False, [0, 1, 2, 2, 2]),
        ((0.0, 0.999), 5, 5, False, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]),
        ((0.5,), 1, 2, False, [0, 0]),
    ],
)
def test_neighbours_follow_the_sampled_frame(offsets, length, stack, backwards, expected):
    view = View(offsets, WHOLE, backwards=backwards)

    assert stacked_indices(view, length, stack=stack, ahead=True) == expected


def test_a_video_without_frames_is_refused():
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        stacked_indices(View((0.5,), WHOLE), 0, stack=5, ahead=True)


def test_a_clip_of_flow_is_x1_y1_x2_y2_and_so_on():
    (clip,) = load_views(Counted(12, 2), grid_views(flow_spec()), flow_spec())

    assert clip.shape == (2, 10, SIDE, SIDE)
    right = (clip[:, :, 0, -1] * 255).round().int().tolist()
    assert right == [[4, 5, 6, 7, 8, 9, 10, 11, 12, 13], [12, 13, 14, 15, 16, 17, 18, 19, 20, 21]]


def test_flow_is_normalized_by_its_channels():
    frames = np.full((5, SIDE, SIDE, 2), (0, 255), np.uint8)

    clip = make_clip(frames, View((0.5,), WHOLE), flow_spec(1, mean=0.5, std=0.25))

    assert clip[0, :, 0, 0].tolist() == [-2.0, 2.0] * 5


@pytest.mark.parametrize(
    ("mirrored", "backwards", "x", "y"),
    [
        (False, False, [10, 128, 255], [0, 100, 200]),
        (True, False, [245, 127, 0], [0, 100, 200]),
        (False, True, [245, 127, 0], [255, 155, 55]),
        (True, True, [10, 128, 255], [255, 155, 55]),
    ],
)
def test_turned_flow_says_where_things_move_in_the_turned_picture(mirrored, backwards, x, y):
    frames = np.empty((3, SIDE, SIDE, 2), np.uint8)
    frames[..., 0], frames[..., 1] = (np.array(codes)[:, None, None] for codes in ([10, 128, 255], [0, 100, 200]))
    view = View((0.5,), WHOLE, mirrored=mirrored, backwards=backwards)

    clip = make_clip(frames, view, flow_spec(1, stack=3))

    codes = (clip[0, :, 0, 0] * 255).round().int().tolist()
    assert (codes[0::2], codes[1::2]) == (x, y)


def test_mirrored_flow_is_mirrored_too():
    frames = np.zeros((1, SIDE, SIDE, 2), np.uint8)
    frames[0, :, 0] = (50, 70)  # at the left edge

    clip = make_clip(frames, View((0.5,), WHOLE, mirrored=True), flow_spec(1, stack=1))

    assert (clip[0, :, 0, -1] * 255).round().tolist() == [205, 70]
    assert (clip[0, :, 0, 0] * 255).round().tolist() == [255, 0]


def test_a_reversed_view_of_flow_takes_the_fields_last_first():
    view = View(segment_offsets(2), WHOLE)

    there, back = (load_views(Counted(12, 2), [one], flow_spec())[0] for one in (view, reversed_view(view)))

    expected = 255 - (there * 255).round().unflatten(1, (5, 2)).flip(0, 1).flatten(1, 2)
    assert_close((back * 255).round(), expected)


def test_differences_are_each_frame_minus_the_one_before_it():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (12, SIDE, SIDE, 3), dtype=np.uint8)

    clip = make_clip(frames, View((0.25, 0.75), WHOLE), difference_spec())

    assert clip.shape == (2, 15, SIDE, SIDE)
    for place in range(2):
        for step in range(5):
            before, after = (frames[6 * place + step + one].astype(np.float32) / 255 for one in (0, 1))
            wanted = torch.from_numpy(after - before).permute(2, 0, 1)
            assert_close(clip[place, 3 * step : 3 * step + 3], wanted)


def test_differences_need_one_frame_more_than_there_are():
    (clip,) = load_views(Counted(12, 3), grid_views(difference_spec()), difference_spec())

    assert clip.shape == (2, 15, SIDE, SIDE)
    assert_close(clip, torch.full_like(clip, 2 / 255))
    (short,) = load_views(Counted(2, 3), grid_views(difference_spec()), difference_spec())
    assert_close(short[0, :, 0, 0], torch.tensor([2 / 255] * 3 + [0.0] * 12))


def test_reversed_differences_are_negative():
    view = View(segment_offsets(2), WHOLE)
    spec = difference_spec()

    there, back = (load_views(Counted(12, 3), [one], spec)[0] for one in (view, reversed_view(view)))

    assert_close(back, -there.unflatten(1, (5, 3)).flip(0, 1).flatten(1, 2))


@pytest.mark.parametrize(("spec", "channels"), [(flow_spec(1, 1), 3), (ClipSpec(), 2), (difference_spec(1, 1), 2)])
def test_pictures_of_another_kind_are_refused(spec, channels):
    with pytest.raises(ValueError, match=r"frames must be uint8 \[T, H, W, [23]\], got uint8 \[2, 4, 4, "):
        make_clip(np.zeros((2, SIDE, SIDE, channels), np.uint8), View((0.5,), WHOLE), spec)
