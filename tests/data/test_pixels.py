"""Changes of pixels: one draw for all frames, from a seed alone, and never a mirror."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from kinema.data.pixels import PixelAugmentation, PixelChange
from kinema.data.transforms import make_clip
from kinema.data.views import Crop, View
from kinema.spec import IMAGENET_MEAN, ClipSpec

KINDS = {
    "color_jitter": PixelAugmentation(color_jitter=0.5),
    "hue_jitter": PixelAugmentation(hue_jitter=0.3),
    "randaugment": PixelAugmentation(randaugment=2),
    "erasing": PixelAugmentation(erasing=1.0),
    "all": PixelAugmentation(color_jitter=0.4, hue_jitter=0.1, randaugment=3, randaugment_magnitude=15, erasing=0.5),
}


def change(augmentation, seed=0):
    return PixelChange(augmentation=augmentation, seed=seed, mean=IMAGENET_MEAN)


def picture(size=48, num_channels=3):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (num_channels, size, size), dtype=np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_all_frames_of_a_clip_are_changed_alike(kind):
    frames = picture().expand(5, -1, -1, -1).contiguous()
    changed = 0
    for seed in range(12):
        result = change(KINDS[kind], seed)(frames)
        assert result.shape == frames.shape
        assert result.dtype == torch.uint8
        assert torch.equal(result, result[:1].expand_as(result))
        changed += not torch.equal(result, frames)
    assert changed >= 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_depends_on_its_seed_alone_and_leaves_the_random_state(kind):
    frames = picture()[None]
    torch.manual_seed(5)
    first = change(KINDS[kind], seed=3)(frames)
    after = torch.rand(4)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(4))
    torch.manual_seed(99)
    assert torch.equal(change(KINDS[kind], seed=3)(frames), first)
    others = [change(KINDS[kind], seed=seed)(frames) for seed in range(4, 14)]
    assert any(not torch.equal(other, first) for other in others)


def test_the_same_frames_are_left_as_they_were():
    frames = picture()[None]
    before = frames.clone()
    for augmentation in KINDS.values():
        for seed in range(10):
            change(augmentation, seed)(frames)
    assert torch.equal(frames, before)


def test_nothing_is_on_by_default():
    assert not PixelAugmentation().is_on
    assert all(augmentation.is_on for augmentation in KINDS.values())
    assert torch.equal(change(PixelAugmentation())(picture()[None]), picture()[None])


def test_what_is_erased_has_the_mean_colour_and_becomes_zero():
    spec = ClipSpec(num_frames=2, resize=48, crop=48)
    frames = np.zeros((2, 48, 48, 3), np.uint8)
    view = View((0.2, 0.7), Crop(0.5, 0.5, 1.0, 1.0))
    clip = make_clip(frames, view, spec, change=change(KINDS["erasing"], seed=1))
    erased = clip.abs() < 0.01
    black = torch.tensor([(0.0 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True)])
    assert 0.02 < erased.float().mean() < 0.4
    assert torch.equal(erased[0], erased[1])
    rest = clip.permute(0, 2, 3, 1)[~erased.all(dim=1)]
    torch.testing.assert_close(rest, black.expand_as(rest))


def test_color_jitter_is_that_of_torchvision():
    frames = picture()[None]
    torch.manual_seed(7)
    expected = v2.ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5)(frames)
    assert torch.equal(change(KINDS["color_jitter"], seed=7)(frames), expected)


def test_randaugment_never_mirrors():
    """What is bright on the left stays so, whatever is drawn."""
    frames = torch.full((1, 3, 60, 60), 60, dtype=torch.uint8)
    frames[..., :20] = 150
    operations = set()
    for seed in range(300):
        result = change(PixelAugmentation(randaugment=1), seed)(frames).float()
        middle = result[0, :, 25:35].mean(dim=(0, 1))
        assert middle[:10].mean() > middle[50:].mean() + 20, seed
        operations.add(result.sum().item())
    assert len(operations) > 10


def test_frames_without_colours_are_refused_where_colours_are_changed():
    flow = picture(num_channels=2)[None]
    for kind in ("color_jitter", "hue_jitter", "randaugment"):
        with pytest.raises(ValueError, match=r"be 0 for frames of other than 3 channels, got 2"):
            PixelChange(augmentation=KINDS[kind], seed=0, mean=(0.5, 0.5))(flow)
    erased = PixelChange(augmentation=KINDS["erasing"], seed=0, mean=(0.5, 0.5))(flow)
    assert erased.shape == flow.shape
    assert (erased != flow).any()


@pytest.mark.parametrize(
    "wrong",
    [{"color_jitter": 1.5}, {"hue_jitter": 0.6}, {"randaugment": -1}, {"randaugment_magnitude": 31}, {"erasing": 2.0}],
)
def test_a_number_out_of_its_range_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must "):
        PixelAugmentation(**wrong)
