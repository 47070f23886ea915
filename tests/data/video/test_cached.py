"""Frames that are kept once decoded: the same as decoded ones, whoever writes, whatever is full, cut off or changed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from counting import counting_frame, numbers_in, write_counting_video
from kinema.data.annotations.sample import Sample, Section
from kinema.data.dataset import TrainingClips
from kinema.data.mirror import find_mirrors
from kinema.data.video import cached
from kinema.data.video.cached import FrameCache, open_kept
from kinema.data.video.kept_frames import KeptFrames
from kinema.data.video.opening import VideoError, open_video
from kinema.data.video.section import open_sample
from kinema.data.views import Augmentation
from kinema.spec import ClipSpec


@pytest.fixture
def sample(tmp_path):
    return Sample(path=write_counting_video(tmp_path / "a.mp4", num_frames=40, gop_size=12), class_name="left")


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    return FrameCache(folder, "disk", keep_free=0)


def numbers_of(sample, cache, indices):
    with open_kept(sample, cache=cache) as video:
        return numbers_in(video.frames(indices))


def never_decoded(monkeypatch):
    monkeypatch.setattr(cached, "open_sample", lambda *_, **__: pytest.fail("it was decoded again"))


def test_all_of_a_video_is_kept_when_the_first_frames_are_read_and_its_file_is_not_opened_again(
    sample, cache, monkeypatch
):
    with open_sample(sample) as video:
        truth = video.frames(range(40))
        facts = video.path, video.fps, video.codec_name, video.container_name, len(video), video.size
    assert numbers_of(sample, cache, [30, 2, 2]) == [30, 2, 2]
    never_decoded(monkeypatch)
    with open_kept(sample, cache=cache) as video:
        assert (video.frames(range(40)) == truth).all()
        assert (video.path, video.fps, video.codec_name, video.container_name, len(video), video.size) == facts


def test_only_what_is_asked_for_is_kept_for_an_evaluation(sample, cache, monkeypatch):
    cache = cache.for_evaluation()
    assert numbers_of(sample, cache, [3, 20]) == [3, 20]
    taken = cache.num_bytes()
    asked = []
    with open_kept(sample, cache=cache) as video:
        decoded = video._decoded
        monkeypatch.setattr(video, "_decoded", lambda numbers: asked.append(numbers) or decoded(numbers))
        assert numbers_in(video.frames([3, 7, 20])) == [3, 7, 20]
    assert asked == [[7]]
    assert taken < 40 * 64 * 64 * 3
    never_decoded(monkeypatch)
    assert numbers_of(sample, cache, [20, 7]) == [20, 7]


def test_of_a_long_video_of_which_little_is_asked_only_that_is_decoded(sample, cache, monkeypatch):
    monkeypatch.setattr(cached, "_MOST_PER_FRAME", 10)
    assert numbers_of(sample, cache, [1, 2, 3]) == [1, 2, 3]
    kept = KeptFrames.open(next(cache.folder.iterdir()))
    assert [number for number in range(40) if kept.read(number) is not None] == [1, 2, 3]
    kept.close()
    numbers_of(sample, cache, [4, 5, 6, 7])  # a tenth
    never_decoded(monkeypatch)
    assert numbers_of(sample, cache, range(40)) == list(range(40))


def test_a_folder_of_pictures_gives_only_those_asked_for(tmp_path, cache):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(counting_frame(number)).save(folder / f"{number:05d}.png")
    sample = Sample(path=folder, class_name="left")
    assert numbers_of(sample, cache, [4, 1]) == [4, 1]
    kept = KeptFrames.open(next(cache.folder.iterdir()))
    assert [number for number in range(6) if kept.read(number) is not None] == [1, 4]
    kept.close()


def test_a_section_is_kept_by_itself(sample, cache, monkeypatch):
    part = replace(sample, section=Section(start=10, end=20, unit="frames"))
    assert numbers_of(part, cache, [0, 9]) == [10, 19]
    assert numbers_of(sample, cache, [0]) == [0]
    never_decoded(monkeypatch)
    with open_kept(part, cache=cache) as video:
        assert len(video) == 10
        assert numbers_in(video.frames(range(10))) == list(range(10, 20))


def test_a_file_that_was_replaced_is_decoded_anew(sample, cache):
    assert numbers_of(sample, cache, [5]) == [5]
    write_counting_video(sample.path, num_frames=9)
    with open_kept(sample, cache=cache) as video:
        assert len(video) == 9


def test_half_written_and_foreign_files_are_decoded_anew(sample, cache):
    numbers_of(sample, cache, [0])
    (file,) = cache.folder.iterdir()
    whole = file.read_bytes()
    for broken in (b"", b"not ours", whole[:20], whole[: len(whole) // 2], whole[:-100] + bytes(100)):
        file.write_bytes(broken)
        assert numbers_of(sample, cache, range(40)) == list(range(40))
        assert numbers_of(sample, cache, range(40)) == list(range(40))


def test_without_room_nothing_is_kept_and_everything_is_read(sample, cache, monkeypatch):
    full = replace(cache, keep_free=2**62)
    assert numbers_of(sample, full, [5, 30]) == [5, 30]
    assert full.stopped.item() == 1
    assert list(cache.folder.iterdir()) == []
    assert numbers_of(sample, full, [6]) == [6]


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_room_is_that_of_the_memory_or_of_the_disk(cache, monkeypatch, kind):
    monkeypatch.setattr(cached, "available_memory", lambda: 1000)
    monkeypatch.setattr(cached.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5000}))
    bounded = replace(cache, kind=kind, keep_free=400, stopped=torch.zeros(1))
    assert bounded.has_room(600 if kind == "ram" else 4600)
    assert not bounded.has_room(601 if kind == "ram" else 4601)
    assert not bounded.has_room(1), "once there is no room, nothing more is kept"


@pytest.mark.parametrize("name", ["create", "write"])
def test_a_full_disk_stops_the_keeping_and_nothing_else(sample, cache, monkeypatch, name):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(KeptFrames, name, full)
    assert numbers_of(sample, cache, [5, 30]) == [5, 30]
    assert cache.stopped.item() == 1
    monkeypatch.undo()
    assert numbers_of(sample, cache, [6]) == [6]


def test_a_folder_that_is_removed_meanwhile_stops_the_keeping_and_nothing_else(sample, cache):
    shutil.rmtree(cache.folder)
    assert numbers_of(sample, cache, [5, 30]) == [5, 30]
    assert cache.stopped_by() == errno.ENOENT


def test_a_video_that_cannot_be_read_is_so_with_the_cache_too(tmp_path, cache):
    absent = Sample(path=tmp_path / "absent.mp4", class_name="left")
    with pytest.raises(VideoError, match="no such file"):
        open_kept(absent, cache=cache)


def test_damage_in_frames_that_nobody_asked_for_is_no_error(sample, cache, monkeypatch):
    whole = open_video(sample.path)
    read = type(whole)._read

    def damaged(self, numbers):
        for number, frame in read(self, numbers):
            if number == 35:
                raise VideoError("frame 35 cannot be decoded")
            yield number, frame

    monkeypatch.setattr(type(whole), "_read", damaged)
    whole.close()
    for _ in range(2):
        assert numbers_of(sample, cache, [3, 20]) == [3, 20]
        with pytest.raises(VideoError, match="frame 35"):
            numbers_of(sample, cache, [3, 35])


def test_frames_are_scaled_down_whether_kept_or_not(sample, cache):
    small = replace(cache, short_side=24)
    kept, unkept = [], []
    for _ in range(2):
        with open_kept(sample, cache=small) as video:
            kept.append(video.frames([4, 30]))
        with open_kept(sample, cache=replace(small, keep_free=2**62, stopped=torch.ones(1))) as video:
            unkept.append(video.frames([4, 30]))
    assert kept[0].shape == (2, 24, 24, 3)
    assert all((frames == kept[0]).all() for frames in (*kept, *unkept))
    with open_kept(sample, cache=replace(cache, short_side=65)) as video:
        assert video.size == (64, 64)


def fill(sample, cache, start):
    start.wait()
    for first in range(40):
        assert numbers_of(sample, cache, [first, (first + 7) % 40]) == [first, (first + 7) % 40]


def test_several_processes_may_write_at_once(sample, cache):
    context = multiprocessing.get_context("fork")
    cache, start = cache.for_evaluation(), context.Event()
    processes = [context.Process(target=fill, args=(sample, cache, start)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert numbers_of(sample, cache, range(40)) == list(range(40))


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_are_the_same_to_the_last_bit_with_and_without(tmp_path, cache, workers):
    names = ("left", "right")
    samples = [
        Sample(path=write_counting_video(tmp_path / f"{n}.mp4", num_frames=20 + n, width=96), class_name=names[n % 2])
        for n in range(4)
    ]
    spec = ClipSpec(num_frames=4, resize=40, crop=32, class_names=names)
    settings = {"spec": spec, "augmentation": Augmentation(), "mirrors": find_mirrors(names), "seed": 3}
    plain = TrainingClips(samples, **settings)
    clips = TrainingClips(samples, **settings, cache=cache)
    for epoch in range(3):
        keys = [(epoch, index) for index in range(4)]
        found = list(DataLoader(clips, sampler=keys, batch_size=2, num_workers=workers, generator=torch.Generator()))
        expected = [plain[key]["clip"] for key in keys]
        assert torch.equal(torch.cat([batch["clip"] for batch in found]), torch.stack(expected))
        for sample in samples if epoch == 1 else ():
            os.utime(sample.path)  # changed, and so decoded and kept anew
    assert len(list(cache.folder.iterdir())) == 8


def test_flow_is_kept_like_frames(tmp_path, cache):
    folder = tmp_path / "flow"
    folder.mkdir()
    for number in range(1, 6):
        for axis in "xy":
            Image.fromarray(np.full((8, 9), number + (axis == "y") * 100, np.uint8)).save(
                folder / f"flow_{axis}_{number:05d}.png"
            )
    sample = Sample(path=folder, class_name="left")
    for _ in range(2):
        with open_kept(sample, modality="flow", cache=cache) as video:
            frames = video.frames([0, 3])
        assert frames.shape == (2, 8, 9, 2)
        assert frames[1, 0, 0].tolist() == [4, 104]
