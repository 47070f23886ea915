"""The cache of decoded frames of a run: where it lies, how large it may be, and what is said of it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import lightning as L
from lightning.pytorch.callbacks import Callback

from kinema.data.memory import available_memory, gigabytes
from kinema.data.user_cache import cache_folder
from kinema.data.video.cached import FrameCache
from kinema.engine.recipe import Recipe
from kinema.engine.training.ranks import is_main

MEMORY: Final = Path("/dev/shm")
"""A folder in memory, where the system has one; else the folder for temporary files is taken."""
_OF_MEMORY: Final = 0.5
_OF_DISK, _OF_LARGE_DISK = 0.1, 20 * 10**9
_NAME: Final = "kinema-frames"


def memory_for_frames() -> int:
    """Returns the bytes of memory that frames may take: half of what is free."""
    return int(_OF_MEMORY * available_memory())


@contextmanager
def frame_cache(recipe: Recipe) -> Iterator[FrameCache | None]:
    """Gives the cache that a recipe asks for; what lies in memory is removed afterwards.

    All processes of a run share the folder in memory, which has a lock as long as one of them lives. What a killed run
    has left there is used by the run that goes on in its place, or removed by the next one.

    Raises:
        ValueError: If its folder cannot be written to.
    """
    data = recipe.data
    if data.cache == "none":
        yield None
    elif data.cache == "disk":
        folder = _disk_folder(data.cache_folder)
        total = shutil.disk_usage(folder).total
        keep_free = int(min(_OF_DISK * total, _OF_LARGE_DISK))
        yield FrameCache(folder, "disk", keep_free, short_side=data.cache_short_side)
    else:
        folder, lock = _memory_folder(recipe.out)
        keep_free = available_memory() - memory_for_frames()
        try:
            yield FrameCache(folder, "ram", keep_free, short_side=data.cache_short_side)
        finally:
            with lock:
                _remove_unused(folder, lock)


class CacheReport(Callback):
    """Says after the first epoch how much is kept, and once if nothing more is."""

    def __init__(self, cache: FrameCache, *, say: Callable[[str], None]) -> None:
        """Starts with nothing said."""
        self.cache = cache
        self.say = say
        self.said: set[str] = set()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says what is new."""
        taken, place = gigabytes(self.cache.num_bytes()), self._place()
        if self.cache.stopped.item():
            rest = gigabytes(self.cache.keep_free)
            line = f"cache: full with {taken} of frames in {place}, of which {rest} stay free; the rest is decoded anew"
            self._once("full", f"{line} in each epoch")
        else:
            self._once("kept", f"cache: {taken} of decoded frames kept in {place}")

    def _once(self, name: str, line: str) -> None:
        if name not in self.said and is_main():
            self.said |= {name, "kept"}
            self.say(line)

    def _place(self) -> str:
        return "memory" if self.cache.kind == "ram" else str(self.cache.folder)


def _disk_folder(given: str | None) -> Path:
    """Makes the folder of a cache on disk.

    Raises:
        ValueError: If it cannot be made or written to.
    """
    user = cache_folder()
    folder = Path(given) if given else user / "frames" if user else None
    if folder is None:
        raise ValueError("data.cache_folder must name a folder where KINEMA_CACHE is off, got none; name one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"data.cache_folder must be a folder that can be written to, got {folder} ({error.strerror}); name another"
        ) from error
    return folder.absolute()


def _memory_folder(out: str) -> tuple[Path, BinaryIO]:
    """Makes the folder in memory of a run, and locks it; the folders of runs that are no more are removed."""
    base = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    mine = f"{_NAME}-{os.getuid()}-"
    name = hashlib.sha256(os.fsencode(Path(out).resolve())).hexdigest()[:16]
    for other in base.glob(f"{mine}*"):
        if not other.name.startswith(f"{mine}{name}"):
            _remove_left(other)
    folder = base / f"{mine}{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp(prefix=f"{mine}{name}-", dir=base))  # somebody else's bears the name
    lock = _open_lock(folder)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return folder, lock


def _open_lock(folder: Path) -> BinaryIO:
    return open(folder / "lock", "ab")  # noqa: PTH123 (it stays open)


def _remove_left(folder: Path) -> None:
    """Removes a folder if no process uses it."""
    with suppress(OSError), _open_lock(folder) as lock:
        _remove_unused(folder, lock)


def _remove_unused(folder: Path, lock: BinaryIO) -> None:
    """Removes a folder, unless another process has a lock in it."""
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
