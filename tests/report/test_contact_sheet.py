from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.data.transforms import make_clip
from kinema.data.views import Crop, View
from kinema.report.contact_sheet import clip_frames, film_strip
from kinema.spec import ClipSpec


def open_strip(uri):
    head, _, data = uri.partition(";base64,")
    assert head == "data:image/webp"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_frames_come_back_from_a_normalized_clip():
    spec = ClipSpec(mean=(0.1, 0.4, 0.7), std=(0.2, 0.3, 0.5))
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    values = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255.0
    clip = (values - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]
    assert np.array_equal(clip_frames(clip, spec=spec), frames)


def test_of_stacked_frames_the_sampled_ones_are_shown():
    frames = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    spec = ClipSpec(num_frames=2, stack=3, resize=8, crop=8)
    clip = make_clip(frames, View((0.2, 0.7), Crop(0.5, 0.5, 1.0, 1.0)), spec)
    assert np.array_equal(clip_frames(clip, spec=spec), frames[[1, 4]])


def test_frames_stand_side_by_side_from_first_to_last():
    frames = np.stack([np.full((32, 48, 3), level, dtype=np.uint8) for level in (10, 90, 170, 250)])
    strip = open_strip(film_strip(frames, gap=2))
    assert strip.shape == (32, 4 * 48 + 3 * 2, 3)
    seen = [int(strip[16, place * 50 + 24, 0]) for place in range(4)]
    assert seen == pytest.approx([10, 90, 170, 250], abs=6)  # the picture is compressed with losses


def test_large_frames_are_scaled_down_and_keep_their_shape():
    frames = np.zeros((2, 480, 640, 3), dtype=np.uint8)
    assert open_strip(film_strip(frames, height=96, gap=4)).shape == (96, 2 * 128 + 4, 3)
