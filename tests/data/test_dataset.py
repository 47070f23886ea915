"""Datasets: the right frames with the right label, drawn from (seed, epoch, index) alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from kinema.data.annotations import Sample, read_samples
from kinema.data.dataset import (
    TrainingClips,
    labels_of,
    load_views,
    measure_timing,
)
from kinema.data.mirror import find_mirrors
from kinema.data.samplers import EpochSampler
from kinema.data.video.opening import VideoError, open_video
from kinema.data.views import Augmentation, Crop, View, frame_indices
from kinema.spec import ClipSpec

SIZE = 32
STEP = 10  # brightness from one frame to the next: far more than the encoder can blur


def write_video(path, num_frames, *, fps=10):
    """Writes a video whose frame i has brightness STEP * i; its left half is darker by 8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"qp": "1", "g": "1"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for i in range(num_frames):
            picture = np.full((SIZE, SIZE, 3), STEP * i + 8, dtype=np.uint8)
            picture[:, : SIZE // 2] -= 8
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for class_name in ("turn left", "turn right", "walk", "look left"):
        for i, length in enumerate((8, 5, 20)):
            write_video(root / class_name / f"{i}.mp4", length)
    return root


@pytest.fixture(scope="module")
def samples(root):
    return read_samples(root)


NAMES = ("walk", "turn left", "look left", "turn right")
SPEC = ClipSpec(num_frames=4, resize=SIZE, crop=SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), class_names=NAMES)


def training(samples, *, spec=SPEC, seed=0, **options):
    return TrainingClips(
        samples,
        spec=spec,
        augmentation=Augmentation(**options),
        mirrors=find_mirrors(spec.class_names),
        seed=seed,
    )


def seen(clip):
    """Frame numbers that a clip [T, C, H, W] shows, told from its brightness."""
    return [round((255.0 * frame.mean().item() - 4.0) / STEP) for frame in clip]


def is_mirrored(clip):
    """Whether the darker half is on the right."""
    return bool(clip[..., : SIZE // 2].mean() > clip[..., SIZE // 2 :].mean())


def test_a_training_clip_shows_the_frames_that_were_drawn(samples):
    dataset = training(samples, min_scale=1.0, min_aspect=1.0, max_aspect=1.0)
    for index, sample in enumerate(samples):
        item = dataset[(3, index)]
        view, label = dataset.draw(3, index)
        with open_video(sample.path) as video:
            assert seen(item["clip"]) == frame_indices(view.offsets, len(video))
        assert item["clip"].shape == (4, 3, SIZE, SIZE)
        assert (item["label"], item["index"]) == (label, index)


def test_the_label_follows_the_mirror_and_some_classes_are_never_mirrored(samples):
    dataset = training(samples, min_scale=1.0, min_aspect=1.0, max_aspect=1.0, mirror=1.0)
    expected = {"walk": ("walk", True), "turn left": ("turn right", True), "turn right": ("turn left", True)}
    expected["look left"] = ("look left", False)
    for index, sample in enumerate(samples):
        item = dataset[(0, index)]
        assert (NAMES[item["label"]], is_mirrored(item["clip"])) == expected[sample.class_name]


def test_the_mirror_comes_as_often_as_asked_for(samples):
    dataset = training(samples, mirror=0.25)
    index = next(i for i, sample in enumerate(samples) if sample.class_name == "turn left")
    labels = Counter(NAMES[dataset.draw(epoch, index)[1]] for epoch in range(1000))
    assert 200 < labels["turn right"] < 300
    assert labels["turn left"] == 1000 - labels["turn right"]


def test_a_sample_is_drawn_from_seed_epoch_and_index_alone(samples):
    first, second, other = training(samples, seed=1), training(samples, seed=1), training(samples, seed=2)
    torch.manual_seed(5)
    clip = first[(4, 2)]["clip"]
    torch.manual_seed(6)
    np.random.default_rng(0).random()
    first[(9, 1)]
    assert torch.equal(clip, second[(4, 2)]["clip"])
    assert first.draw(4, 2)[0] not in {first.draw(5, 2)[0], first.draw(4, 3)[0], other.draw(4, 2)[0]}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_the_same_whoever_loads_them(samples, num_workers):
    dataset = training(samples, seed=3)
    sampler = EpochSampler(len(dataset), seed=3)
    sampler.set_epoch(2)
    loader = DataLoader(dataset, batch_size=5, sampler=sampler, num_workers=num_workers)
    batches = list(loader)
    assert [len(batch["index"]) for batch in batches] == [5, 5, 2]
    order = torch.cat([batch["index"] for batch in batches]).tolist()
    assert order == [index for _, index in sampler]
    clips = torch.cat([batch["clip"] for batch in batches])
    labels = torch.cat([batch["label"] for batch in batches])
    assert labels.dtype == torch.int64
    for place, index in enumerate(order):
        alone = dataset[(2, index)]
        assert torch.equal(clips[place], alone["clip"])
        assert labels[place] == alone["label"]


def test_an_epoch_visits_every_sample_once_in_its_own_order():
    sampler = EpochSampler(50, seed=0)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        pairs = list(sampler)
        assert {pair[0] for pair in pairs} == {epoch}
        orders.append([index for _, index in pairs])
        assert sorted(orders[-1]) == list(range(50))
    assert orders[0] != orders[1] != orders[2]
    sampler.set_epoch(1)
    assert [index for _, index in sampler] == orders[1]
    assert [index for _, index in EpochSampler(50, seed=1)] != orders[0]
    assert len(sampler) == 50


def test_without_shuffling_the_order_is_ascending():
    sampler = EpochSampler(4, seed=0, shuffle=False)
    sampler.set_epoch(7)
    assert list(sampler) == [(7, 0), (7, 1), (7, 2), (7, 3)]


class RecordingVideo:
    """A video of 10 frames that writes down what is asked of it."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 10

    def frames(self, indices):
        self.asked.append(list(indices))
        return np.stack([np.full((SIZE, SIZE, 3), STEP * i + 4, dtype=np.uint8) for i in indices])


def test_a_frame_that_several_views_need_is_decoded_once():
    whole = Crop(0.5, 0.5, 1.0, 1.0)
    views = [View((0.1, 0.5, 0.9, 0.5), whole), View((0.9, 0.0, 0.1, 0.0), whole, mirrored=True)]
    video = RecordingVideo()
    clips = load_views(video, views, SPEC)
    assert video.asked == [[0, 1, 5, 9]]
    assert [seen(clip) for clip in clips] == [[1, 5, 9, 5], [9, 0, 1, 0]]


def test_a_frame_that_several_stacks_need_is_decoded_once():
    whole = Crop(0.5, 0.5, 1.0, 1.0)
    views = [View((0.1, 0.5), whole), View((0.9, 0.3), whole)]
    video = RecordingVideo()
    clips = load_views(video, views, replace(SPEC, stack=3))
    assert video.asked == [[0, 1, 2, 3, 4, 5, 6, 8, 9]]
    assert clips.shape == (2, 2, 9, SIZE, SIZE)
    assert [seen(clip.unflatten(1, (3, 3)).flatten(0, 1)) for clip in clips] == [[0, 1, 2, 4, 5, 6], [8, 9, 9, 2, 3, 4]]


def test_a_training_clip_shows_the_neighbours_of_what_was_drawn(samples):
    options = {"min_scale": 1.0, "min_aspect": 1.0, "max_aspect": 1.0}
    dataset, alone = (training(samples, spec=replace(SPEC, stack=stack), **options) for stack in (3, 1))
    for index, sample in enumerate(samples):
        clip = dataset[(3, index)]["clip"]
        with open_video(sample.path) as video:
            last = len(video) - 1
        middles = seen(alone[(3, index)]["clip"])
        assert clip.shape == (4, 9, SIZE, SIZE)
        assert seen(clip.unflatten(1, (3, 3)).flatten(0, 1)) == [
            number for middle in middles for number in (max(middle - 1, 0), middle, min(middle + 1, last))
        ]


def test_a_class_that_the_spec_lacks_is_refused_with_the_nearest():
    samples = [Sample(Path("a.mp4"), "walk"), Sample(Path("b.mp4"), "trun left")]
    message = r"class of b\.mp4 must be one of the 4 class names of the spec, got 'trun left'; did you mean turn left\?"
    with pytest.raises(ValueError, match=message):
        labels_of(samples, class_names=NAMES)
    with pytest.raises(ValueError, match=message):
        training(samples)
    with pytest.raises(ValueError, match="one of the 0 class names of the spec, got 'walk'; known are none"):
        labels_of(samples, class_names=())


def test_mirrors_of_other_classes_are_refused(samples):
    with pytest.raises(ValueError, match="mirrors must be of the spec's classes"):
        TrainingClips(samples, spec=SPEC, augmentation=Augmentation(), mirrors=find_mirrors(sorted(NAMES)), seed=0)


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    samples = [Sample(tmp_path / "broken.mp4", "walk")]
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        training(samples)[(0, 0)]


def test_timing_is_the_median_length_and_its_share_of_a_frame(samples):
    span, spacing = measure_timing(samples, spec=ClipSpec(num_frames=4), seed=0)
    assert span == pytest.approx(0.8)
    assert spacing == pytest.approx(0.2)


def test_timing_looks_at_few_videos_and_always_the_same(tmp_path):
    for i in range(6):
        write_video(tmp_path / f"a/{i}.mp4", 3 + i)
    samples = read_samples(tmp_path)
    few = [
        measure_timing(samples, spec=ClipSpec(num_frames=2), limit=1, seed=seed)[0] for seed in (0, 0, 1, 2, 3, 4, 5)
    ]
    assert few[0] == few[1]
    assert len(set(few)) > 1
    with pytest.raises(ValueError, match="samples must be at least one"):
        measure_timing([], spec=ClipSpec(num_frames=2))
