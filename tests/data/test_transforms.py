"""From frames to a clip: which box, one for all frames, and the arithmetic of normalization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from kinema.data.crops import Crop, crop_box
from kinema.data.transforms import make_clip
from kinema.data.views import View
from kinema.spec import ClipSpec

WHOLE = Crop(0.5, 0.5, 1.0, 1.0)


def plain_spec(size, **options):
    return ClipSpec(resize=size, crop=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **options)


def noise(num_frames, height, width):
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def as_bytes(clip):
    return (clip * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("crop", "height", "width", "box"),
    [
        (WHOLE, 64, 64, (0, 0, 64, 64)),
        (WHOLE, 240, 320, (0, 40, 240, 240)),
        (WHOLE, 320, 240, (40, 0, 240, 240)),
        (Crop(0.0, 0.0, 1.0, 1.0), 240, 320, (0, 0, 240, 240)),
        (Crop(1.0, 1.0, 1.0, 1.0), 240, 320, (0, 80, 240, 240)),
        (Crop(0.5, 0.5, 0.875, 1.0), 240, 320, (15, 55, 210, 210)),
        (Crop(0.0, 1.0, 0.5, 1.0), 100, 200, (50, 0, 50, 50)),
        (Crop(1.0, 0.0, 0.5, 4.0), 100, 200, (0, 100, 25, 100)),
        (Crop(0.5, 0.5, 1.0, 4.0), 100, 150, (25, 0, 50, 150)),
        (Crop(0.5, 0.5, 1.0, 0.25), 100, 100, (0, 25, 100, 50)),
        (Crop(0.3, 0.8, 3.0, 1.0), 7, 9, (0, 0, 7, 9)),
        (Crop(1.0, 1.0, 0.001, 1.0), 33, 50, (32, 49, 1, 1)),
        (WHOLE, 1, 1, (0, 0, 1, 1)),
    ],
)
def test_a_crop_is_this_box(crop, height, width, box):
    assert crop_box(crop, height=height, width=width) == box


def test_a_box_is_always_inside_the_frame():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        height, width = rng.integers(1, 400, 2).tolist()
        x, y = rng.random(2).tolist()
        crop = Crop(x, y, scale=rng.uniform(0.01, 1.5), aspect=rng.uniform(0.2, 5.0))
        top, left, box_height, box_width = crop_box(crop, height=height, width=width)
        assert box_height >= 1
        assert box_width >= 1
        assert 0 <= top <= top + box_height <= height
        assert 0 <= left <= left + box_width <= width


def test_a_whole_frame_of_the_right_size_is_kept_exactly():
    frames = noise(3, 32, 32)
    clip = make_clip(frames, View((0.1, 0.2, 0.3), WHOLE), plain_spec(32))
    assert clip.shape == (3, 3, 32, 32)
    assert clip.dtype == torch.float32
    assert np.array_equal(as_bytes(clip), frames)
    assert_close(clip, torch.from_numpy(frames).permute(0, 3, 1, 2) / 255.0)


def test_mirroring_exchanges_left_and_right_exactly():
    frames = noise(2, 32, 32)
    clip = make_clip(frames, View((0.1, 0.2), WHOLE, mirrored=True), plain_spec(32))
    assert np.array_equal(as_bytes(clip), frames[:, :, ::-1])


def test_mirroring_follows_the_crop():
    frames = noise(1, 32, 64)
    left_edge = Crop(0.0, 0.5, 1.0, 1.0)
    clip = make_clip(frames, View((0.5,), left_edge, mirrored=True), plain_spec(32))
    assert np.array_equal(as_bytes(clip), frames[:, :, 31::-1])


def test_a_crop_of_the_right_size_is_not_resampled():
    frames = noise(2, 40, 60)
    clip = make_clip(frames, View((0.1, 0.6), Crop(1.0, 0.0, 0.8, 1.0)), plain_spec(32))
    assert np.array_equal(as_bytes(clip), frames[:, :32, 28:])


def test_channels_are_normalized_each_by_its_own_numbers():
    spec = ClipSpec(resize=8, crop=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    frames = noise(2, 8, 8)
    clip = make_clip(frames, View((0.1, 0.6), WHOLE), spec)
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        expected = (torch.from_numpy(frames[..., channel].astype(np.float32)) / 255.0 - mean) / std
        assert_close(clip[:, channel], expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_scaling_keeps_a_plain_colour_and_mixes_no_frames(interpolation):
    frames = np.zeros((3, 50, 70, 3), dtype=np.uint8)
    frames[0], frames[1], frames[2] = (10, 20, 30), (200, 100, 0), (255, 255, 255)
    clip = make_clip(frames, View((0.1, 0.4, 0.7), WHOLE), plain_spec(24, interpolation=interpolation))
    assert clip.shape == (3, 3, 24, 24)
    assert np.array_equal(as_bytes(clip), np.broadcast_to(frames[:, :1, :1], (3, 24, 24, 3)))


def test_every_frame_gets_the_same_crop():
    frames = np.repeat(noise(1, 50, 70), 4, axis=0)
    clip = make_clip(frames, View((0.1, 0.3, 0.5, 0.7), Crop(0.2, 0.9, 0.7, 1.2), mirrored=True), plain_spec(24))
    assert torch.equal(clip, clip[:1].expand(4, -1, -1, -1))


def test_neighbours_are_stacked_in_the_channels_in_their_order():
    frames, spec = noise(6, 16, 16), {"resize": 16, "crop": 16, "mean": (0.1, 0.4, 0.7), "std": (0.2, 0.3, 0.5)}
    view = View((0.2, 0.7), WHOLE, mirrored=True)

    clip = make_clip(frames, view, ClipSpec(stack=3, **spec))

    assert clip.shape == (2, 9, 16, 16)
    alone = make_clip(frames, view, ClipSpec(**spec))
    for moment in range(2):
        for place in range(3):
            assert torch.equal(clip[moment, 3 * place : 3 * place + 3], alone[3 * moment + place])


def test_shrinking_is_antialiased():
    stripes = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    stripes[:, :, ::2] = 255
    clip = make_clip(stripes, View((0.5,), WHOLE), plain_spec(16))
    assert_close(clip[..., 2:-2], torch.full_like(clip[..., 2:-2], 0.5), atol=0.01, rtol=0.0)  # uint8 rounds


def test_interpolation_is_the_one_of_the_spec():
    frames = noise(1, 20, 20)
    view = View((0.5,), WHOLE)
    assert not torch.equal(
        make_clip(frames, view, plain_spec(32, interpolation="bilinear")),
        make_clip(frames, view, plain_spec(32, interpolation="bicubic")),
    )


def test_the_frames_given_are_left_as_they_were():
    frames = noise(2, 16, 16)
    before = frames.copy()
    make_clip(frames, View((0.1, 0.6), WHOLE, mirrored=True), ClipSpec(resize=16, crop=16))
    assert np.array_equal(frames, before)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 8, 8, 3), dtype=np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((2, 8, 8, 1), np.uint8)],
)
def test_anything_but_frames_is_refused(frames):
    with pytest.raises(ValueError, match=r"frames must be uint8 \[T, H, W, 3\], got"):
        make_clip(frames, View((0.5,), WHOLE), plain_spec(8))
