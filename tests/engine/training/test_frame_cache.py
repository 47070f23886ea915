"""Runs with a cache of decoded frames: the same weights, nothing left in memory, and said where it is full."""

from __future__ import annotations

import errno
import fcntl
import io
import multiprocessing
import os
import shutil
import sys
import time
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from kinema.data.video import cached
from kinema.data.video.cached import CachedVideo, FrameCache
from kinema.engine.recipe import ClipRecipe, DataRecipe, ModelRecipe, Recipe, TrainerRecipe
from kinema.engine.training import frame_cache as module
from kinema.engine.training.frame_cache import CacheReport, frame_cache, memory_for_frames
from kinema.engine.training.train import train


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """The folder that stands for memory."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(module, "MEMORY", folder)
    return folder


def recipe_of(root, out, *, workers=0, **data):
    return Recipe(
        out=str(out),
        data=DataRecipe(root=str(root), num_workers=workers, **data),
        clip=ClipRecipe(num_frames=2, resize=32, crop=24),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False),
        trainer=TrainerRecipe(epochs=2, batch_size=8, precision="32-true", accelerator="cpu"),
    )


def quiet():
    return Console(file=io.StringIO(), width=300)


def same(one, other):
    left, right = load_file(one.last), load_file(other.last)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_ends_with_the_same_weights_and_decodes_in_its_first_epoch_only(
    motion_root, tmp_path, memory, monkeypatch
):
    plain = train(recipe_of(motion_root, tmp_path / "plain"), console=quiet())
    console, opened = quiet(), []
    original = CachedVideo._opened

    def counted(self):
        if self._video is None:
            opened.append(self._sample.name)
        return original(self)

    monkeypatch.setattr(CachedVideo, "_opened", counted)
    kept = train(recipe_of(motion_root, tmp_path / "kept", cache="ram"), console=console)
    assert same(plain, kept)
    assert len(opened) == len(set(opened)) == 24 + 8
    assert " of decoded frames kept in memory" in console.file.getvalue()
    assert list(memory.iterdir()) == []


def test_frames_on_a_disk_are_there_for_the_next_run(motion_root, tmp_path, monkeypatch):
    data = {"cache": "disk", "cache_folder": str(tmp_path / "disk")}
    first = train(recipe_of(motion_root, tmp_path / "first", workers=2, **data), console=quiet())
    folder = tmp_path / "disk"
    assert len(list(folder.glob("*.frames"))) == 32
    monkeypatch.setattr(CachedVideo, "_opened", lambda _: pytest.fail("it was decoded again"))
    again = train(recipe_of(motion_root, tmp_path / "again", **data), console=quiet())
    assert same(first, again)


def test_a_run_goes_on_with_another_cache(motion_root, tmp_path):
    recipe = recipe_of(motion_root, tmp_path / "run", cache="ram")
    train(recipe, console=quiet())
    moved = replace(recipe, data=replace(recipe.data, cache="disk", cache_folder=str(tmp_path / "disk")))
    train(moved, resume=True, console=quiet())
    smaller = replace(recipe, data=replace(recipe.data, cache_short_side=30))
    with pytest.raises(ValueError, match=r"data\.cache_short_side must be as the run began with"):
        train(smaller, resume=True, console=quiet())


def test_where_no_room_is_left_one_line_says_so_and_training_goes_on(motion_root, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_OF_MEMORY", 0.0)
    monkeypatch.setattr(cached, "available_memory", lambda: 0)
    console = quiet()
    plain = train(recipe_of(motion_root, tmp_path / "plain"), console=quiet())
    full = train(recipe_of(motion_root, tmp_path / "full", cache="ram", workers=2), console=console)
    assert same(plain, full)
    lines = [line for line in console.file.getvalue().splitlines() if line.startswith("cache: ")]
    assert len(lines) == 1
    assert lines[0].startswith("cache: full with 0 GB of frames in memory")


def test_processes_of_a_run_share_a_folder_that_the_last_one_removes(tmp_path, memory):
    recipe = Recipe(out=str(tmp_path / "run"), data=DataRecipe(cache="ram"))
    with frame_cache(recipe) as one:
        with frame_cache(recipe) as other, frame_cache(replace(recipe, out="elsewhere")) as third:
            assert one.folder == other.folder != third.folder
        assert list(memory.iterdir()) == [one.folder]
    assert list(memory.iterdir()) == []


def test_what_a_killed_run_left_in_memory_is_removed_by_the_next(tmp_path, memory):
    with frame_cache(Recipe(out=str(tmp_path / "killed"), data=DataRecipe(cache="ram"))) as killed:
        shutil.copytree(killed.folder, tmp_path / "left")
    shutil.copytree(tmp_path / "left", killed.folder)  # without its lock
    with frame_cache(Recipe(out=str(tmp_path / "next"), data=DataRecipe(cache="ram"))) as cache:
        assert list(memory.iterdir()) == [cache.folder]
        with (cache.folder / "lock").open("ab") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def start_and_end(out, failures):
    for _ in range(100):
        try:
            folder, lock = module._memory_folder(out)
            assert module._is_there(folder, lock)
            with lock:
                module._remove_unused(folder, lock)
        except Exception as error:
            failures.put(repr(error))


@pytest.mark.parametrize("outs", [("one", "one"), ("one", "other")])
def test_runs_that_begin_and_end_at_once_do_not_meet(memory, outs):
    context = multiprocessing.get_context("fork")
    failures = context.SimpleQueue()
    processes = [context.Process(target=start_and_end, args=(out, failures)) for out in outs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert failures.empty(), failures.get()


def test_what_others_have_put_into_memory_is_not_opened(tmp_path, memory):
    recipe, mine = Recipe(out=str(tmp_path / "run"), data=DataRecipe(cache="ram")), f"kinema-frames-{os.getuid()}-"
    with frame_cache(recipe) as cache:
        name = cache.folder.name
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (memory / f"{mine}link").symlink_to(elsewhere)
    (memory / name).symlink_to(elsewhere)
    for left in ("pipe", "lock", "open"):
        (memory / f"{mine}{left}").mkdir(mode=0o700)
    os.mkfifo(memory / f"{mine}pipe" / "lock")
    (memory / f"{mine}lock" / "lock").symlink_to(elsewhere / "made")
    (memory / f"{mine}open").chmod(0o777)
    before = {entry.name for entry in memory.iterdir()}
    with frame_cache(recipe) as cache:
        assert cache.folder.name.startswith(f"{name}-")
        assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert {entry.name for entry in memory.iterdir()} == before
    assert list(elsewhere.iterdir()) == []


def test_a_small_folder_in_memory_bounds_the_frames(tmp_path, memory, monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: 10**9)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 64 * 10**6}))
    assert memory_for_frames() == (32 * 10**6, f"half of what is free in {memory}")
    with frame_cache(Recipe(out=str(tmp_path / "run"), data=DataRecipe(cache="ram"))) as cache:
        assert not cache.has_room(32 * 10**6 + 1)
    monkeypatch.setattr(module, "available_memory", lambda: 10**6)
    assert memory_for_frames() == (500_000, "half of the free memory")


@pytest.mark.parametrize("absent", ["folder", "locks"])
def test_without_a_folder_in_memory_or_locks_it_is_refused(memory, monkeypatch, absent):
    if absent == "folder":
        monkeypatch.setattr(module, "MEMORY", memory / "absent")
    else:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    assert memory_for_frames().num_bytes == 0
    with (
        pytest.raises(ValueError, match=r"data\.cache must be disk or none where .*; take --data\.cache disk"),
        frame_cache(Recipe(data=DataRecipe(cache="ram"))),
    ):
        pass


def test_halves_that_a_killed_process_left_are_removed(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    for name, age in ((".framesold", 7200), (".framesnew", 0), ("a.frames", 7200)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    with frame_cache(Recipe(data=DataRecipe(cache="disk", cache_folder=str(folder)))):
        assert sorted(entry.name for entry in folder.iterdir()) == [".framesnew", "a.frames"]


def test_an_error_of_the_cache_is_said_as_what_it_is(tmp_path):
    cache, said = FrameCache(tmp_path, "disk", keep_free=0), []
    cache.stop(PermissionError(errno.EACCES, "no"))
    report = CacheReport(cache, say=said.append)
    report.on_train_epoch_end(None, None)
    assert said == [
        f"cache: nothing more is kept than 0 GB of frames in {tmp_path} (Permission denied); the rest is decoded anew "
        "in each epoch"
    ]


def test_without_a_cache_there_is_none(tmp_path, memory):
    with frame_cache(Recipe()) as cache:
        assert cache is None
    assert list(memory.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match=r"data\.cache_folder must be a folder that can be written to, got .*file"),
        frame_cache(Recipe(data=DataRecipe(cache="disk", cache_folder=str(tmp_path / "file")))),
    ):
        pass
    monkeypatch.setenv("KINEMA_CACHE", "off")
    with (
        pytest.raises(ValueError, match="must name a folder where KINEMA_CACHE is off"),
        frame_cache(Recipe(data=DataRecipe(cache="disk"))),
    ):
        pass


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"cache_short_side": 128}, "be positive, and left out unless data.cache is ram or disk, got 128"),
        ({"cache_short_side": 111, "cache": "ram"}, r"be at least clip\.crop \(112\), got 111"),
    ],
)
def test_a_short_side_belongs_to_a_cache_and_holds_the_crop(data, message):
    with pytest.raises(ValueError, match=rf"data\.cache_short_side must {message}"):
        Recipe(data=DataRecipe(**data))
