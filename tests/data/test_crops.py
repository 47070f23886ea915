"""Crops: TSN's sizes and places, torchvision's random resized crop, and the fixed crops of evaluation."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from kinema.data.crops import FIXED_PLACES, Crop, crop_box, draw_crop, fixed_crops, multiscale_sizes
from kinema.data.mirror import find_mirrors
from kinema.data.views import Augmentation, draw_view, grid_views
from kinema.spec import ClipSpec


def test_multiscale_sizes_are_the_pairs_of_near_scales():
    assert multiscale_sizes(Augmentation(crop="multiscale")) == [
        (1.0, 1.0),
        (1.0, 0.875),
        (0.875, 1.0),
        (0.875, 0.875),
        (0.875, 0.75),
        (0.75, 0.875),
        (0.75, 0.75),
        (0.75, 0.66),
        (0.66, 0.75),
        (0.66, 0.66),
    ]
    squares = Augmentation(crop="multiscale", scales=(1.0, 0.5), max_distortion=0)
    assert multiscale_sizes(squares) == [(1.0, 1.0), (0.5, 0.5)]
    assert len(multiscale_sizes(Augmentation(crop="multiscale", max_distortion=3))) == 16


def test_multiscale_crops_are_those_of_tsn_in_a_frame():
    """Frame 320 x 256: sizes 256, 224, 192, 168; TSN's steps are a quarter of the room, rounded down."""
    drawn = Counter()
    for seed in range(4000):
        view = draw_view(ClipSpec(), Augmentation(crop="multiscale"), np.random.default_rng(seed))
        drawn[crop_box(view.crop, height=256, width=320)] += 1
    expected = set()
    sides = (256, 224, 192, 169)
    for i, box_width in enumerate(sides):
        for j, box_height in enumerate(sides):
            if abs(i - j) <= 1:
                across, down = (320 - box_width) / 4, (256 - box_height) / 4
                steps = [
                    (0, 0),
                    (4, 0),
                    (0, 4),
                    (4, 4),
                    (2, 2),
                    (0, 2),
                    (4, 2),
                    (2, 4),
                    (2, 0),
                    (1, 1),
                    (3, 1),
                    (1, 3),
                    (3, 3),
                ]
                expected |= {(round(y * down), round(x * across), box_height, box_width) for x, y in steps}
    assert set(drawn) == expected
    sizes = Counter()
    for (_, _, height, width), count in drawn.items():
        sizes[height, width] += count
    assert len(sizes) == 10
    assert min(sizes.values()) > 300
    assert len(FIXED_PLACES) == len(set(FIXED_PLACES)) == 13


def test_resized_crops_have_the_distribution_of_torchvision():
    theirs = v2.RandomResizedCrop(8, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    frame = torch.zeros(1, 180, 320)
    torch.manual_seed(0)
    expected = [theirs.make_params([frame]) for _ in range(4000)]
    boxes = []
    for seed in range(4000):
        crop = draw_view(ClipSpec(), Augmentation(crop="resized"), np.random.default_rng(seed)).crop
        boxes.append(crop_box(crop, height=180, width=320))
    for place, name in enumerate(("top", "left", "height", "width")):
        ours = np.quantile([box[place] for box in boxes], [0.1, 0.25, 0.5, 0.75, 0.9])
        other = np.quantile([box[name] for box in expected], [0.1, 0.25, 0.5, 0.75, 0.9])
        assert np.abs(ours - other).max() < 8.0, (name, ours, other)


def test_a_resized_crop_keeps_its_range_of_area_and_aspect():
    augmentation = Augmentation(crop="resized", min_area=0.3, max_area=0.5, min_aspect=0.8, max_aspect=1.25)
    for seed in range(500):
        crop = draw_crop(augmentation, (0.2, 0.9), np.random.default_rng(seed))
        _, _, height, width = crop_box(crop, height=240, width=320)
        assert 0.295 < height * width / (240 * 320) < 0.505
        assert 0.79 < width / height < 1.26


def test_the_first_box_that_fits_is_taken_and_else_the_first_is_cut():
    wide, small = Crop(0.0, 0.0, 1.0, 4.0), Crop(1.0, 1.0, 0.5, 1.0)
    box = Crop(0.5, 0.5, 1.0, 9.0, others=(wide, small))
    assert crop_box(box, height=100, width=200) == (0, 0, 50, 200)
    assert crop_box(box, height=100, width=150) == (50, 100, 50, 50)
    assert crop_box(Crop(0.5, 0.5, 1.0, 9.0, others=(wide,)), height=100, width=150) == (34, 0, 33, 150)


def test_a_crop_can_be_measured_by_the_area_of_the_frame():
    assert crop_box(Crop(0.0, 0.0, 0.5, 1.0, of_area=True), height=100, width=400) == (0, 0, 100, 100)
    assert crop_box(Crop(0.0, 0.0, 0.5, 4.0, of_area=True), height=100, width=400) == (0, 0, 50, 200)


def test_a_free_box_is_drawn_as_it_always_was():
    """The literal draws of the first release, so that a seed still means the same run."""
    for seed in range(50):
        view = draw_view(ClipSpec(num_frames=3), Augmentation(), np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        jitter = rng.random(3)
        center_x, center_y, coin = rng.random(3)
        scale = rng.uniform(0.66, 1.0)
        aspect = np.exp(rng.uniform(np.log(0.75), np.log(4 / 3)))
        assert view.offsets == pytest.approx(tuple((frame + jitter[frame]) / 3 for frame in range(3)))
        assert (view.crop.center_x, view.crop.center_y, view.mirrored) == (center_x, center_y, coin < 0.5)
        assert (view.crop.scale, view.crop.aspect) == pytest.approx((scale, aspect))


@pytest.mark.parametrize(
    ("num_crops", "boxes"),
    [
        (1, [(16, 48, 224, 224)]),
        (3, [(0, 0, 256, 256), (0, 32, 256, 256), (0, 64, 256, 256)]),
        (
            5,
            [(0, 0, 224, 224), (0, 96, 224, 224), (32, 0, 224, 224), (32, 96, 224, 224), (16, 48, 224, 224)],
        ),
    ],
)
def test_crops_of_an_evaluation_are_these_boxes(num_crops, boxes):
    crops = fixed_crops(num_crops, scale=224 / 256)
    assert [crop_box(crop, height=256, width=320) for crop in crops] == boxes


def test_ten_crops_are_five_and_their_mirror_images():
    spec = ClipSpec(num_frames=2, class_names=("walk", "run"))
    five, ten = grid_views(spec, num_clips=2, num_crops=5), grid_views(spec, num_clips=2, num_crops=10)
    assert [view for view in ten if not view.mirrored] == five
    assert [(view.offsets, view.crop, view.mirrored) for view in ten[:10]] == [
        (view.offsets, view.crop, mirrored) for mirrored in (False, True) for view in five[:5]
    ]


def test_ten_crops_are_refused_for_classes_that_a_mirror_changes():
    names = ("turn left", "turn right", "walk", "look left")
    spec = ClipSpec(class_names=names)
    with pytest.raises(
        ValueError, match=r"num_crops must be 1, 3 or 5 .* got 10 and turn left, turn right, look left;"
    ):
        grid_views(spec, num_crops=10)
    kept = find_mirrors(names, overrides={name: name for name in names})
    assert len(grid_views(spec, num_crops=10, mirrors=kept)) == 10
    swapped = find_mirrors(("a", "b"), overrides={"a": "b"})
    with pytest.raises(ValueError, match="got 10 and a, b"):
        grid_views(ClipSpec(class_names=("a", "b")), num_crops=10, mirrors=swapped)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"scales": ()}, r"scales must be some numbers in \(0, 1\], got \(\)"),
        ({"scales": (1.0, 1.2)}, r"scales must be some numbers in \(0, 1\]"),
        ({"max_distortion": -1}, "max_distortion must be 0 or more, got -1"),
        ({"min_area": 0.0}, "min_area must be positive"),
        ({"min_area": 0.9, "max_area": 0.8}, "at most max_area"),
        ({"max_area": 1.1}, "which is at most 1"),
    ],
)
def test_a_range_that_means_nothing_is_refused(wrong, rule):
    with pytest.raises(ValueError, match=rule):
        Augmentation(**wrong)
