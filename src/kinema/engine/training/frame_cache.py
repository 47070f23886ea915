"""The cache of decoded frames of a run: where it lies, how large it may be, and what is said of it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import lightning as L
from lightning.pytorch.callbacks import Callback

from kinema.data.memory import available_memory, gigabytes
from kinema.data.user_cache import cache_folder
from kinema.data.video.cached import FrameCache
from kinema.data.video.kept_frames import HALF
from kinema.engine.processes.ranks import is_main
from kinema.engine.recipe import Recipe
from kinema.wording import check

MEMORY: Final = Path("/dev/shm")
"""A folder in memory, where the system has one."""
_OF_MEMORY: Final = 0.5
_OF_DISK, _OF_LARGE_DISK = 0.1, 20 * 10**9
_NAME: Final = "kinema-frames"
_HALF_SECONDS: Final = 3600
"""Age from which on a half-made file is nobody's: it is named as whole within milliseconds."""


class FrameRoom(NamedTuple):
    """How much memory decoded frames may take."""

    num_bytes: int
    """0 where nothing can be kept in memory."""
    reason: str
    """What bounds it."""


def memory_for_frames() -> FrameRoom:
    """Returns what decoded frames may take: half of what is free, of the memory and of the folder in it."""
    if (refusal := _no_folder_in_memory()) is not None:
        return FrameRoom(0, refusal)
    of_folder, of_machine = shutil.disk_usage(MEMORY).free, available_memory()
    reason = f"half of what is free in {MEMORY}" if of_folder < of_machine else "half of the free memory"
    return FrameRoom(int(_OF_MEMORY * min(of_folder, of_machine)), reason)


def _no_folder_in_memory() -> str | None:
    """Says why frames cannot be kept in memory; none where they can."""
    if sys.platform == "win32" or not _can_lock():
        return "this system has no locks"
    return None if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else f"{MEMORY} is no folder that can be written to"


def _can_lock() -> bool:
    try:
        import fcntl  # noqa: F401
    except ImportError:  # not on Windows
        return False
    return True


@contextmanager
def frame_cache(recipe: Recipe) -> Iterator[FrameCache | None]:
    """Gives the cache that a recipe asks for; what lies in memory is removed afterwards.

    All processes of a run share the folder in memory, which has a lock as long as one of them lives. What a killed run
    has left there is used by the run that goes on in its place, or removed by the next one.

    Raises:
        ValueError: If its folder cannot be written to, or there is none in memory.
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
        refusal = _no_folder_in_memory()
        check(refusal is None, "data.cache", f"be disk or none where {refusal}", "ram", "take --data.cache disk")
        folder, lock = _memory_folder(recipe.out)
        keep_free = min(available_memory(), shutil.disk_usage(MEMORY).free) - memory_for_frames().num_bytes
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
            self._once("full", f"cache: {self._why(taken, place)}; the rest is decoded anew in each epoch")
        else:
            self._once("kept", f"cache: {taken} of decoded frames kept in {place}")

    def _once(self, name: str, line: str) -> None:
        if name not in self.said and is_main():
            self.said |= {name, "kept"}
            self.say(line)

    def _why(self, taken: str, place: str) -> str:
        """Says why nothing more is kept: for want of room, or by an error."""
        code = self.cache.stopped_by()
        if code is None:
            return f"full with {taken} of frames in {place}, of which {gigabytes(self.cache.keep_free)} stay free"
        return f"nothing more is kept than {taken} of frames in {place} ({os.strerror(code)})"

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
    _remove_halves(folder)
    return folder.absolute()


def _remove_halves(folder: Path) -> None:
    """Removes files that a killed process had begun; one of the last hour may be of a run that lives."""
    for half in folder.glob(f"{HALF}*"):
        with suppress(OSError):
            if time.time() - half.lstat().st_mtime > _HALF_SECONDS:
                half.unlink()


def _memory_folder(out: str) -> tuple[Path, BinaryIO]:
    """Makes the folder in memory of a run, and locks it; the folders of runs that are no more are removed."""
    mine = f"{_NAME}-{os.getuid()}-"
    name = hashlib.sha256(os.fsencode(Path(out).resolve())).hexdigest()[:16]
    for other in MEMORY.glob(f"{mine}*"):
        if not other.name.startswith(f"{mine}{name}"):
            _remove_left(other)
    folder = MEMORY / f"{mine}{name}"
    while True:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not _is_own(folder):
                folder = Path(tempfile.mkdtemp(prefix=f"{mine}{name}-", dir=MEMORY))  # somebody else's bears the name
            lock = _open_lock(folder)
        except FileNotFoundError:  # another run has just removed it, for it had no lock yet
            if not MEMORY.is_dir():
                raise
            continue
        except FileExistsError:  # a file, or a link that leads nowhere
            folder = Path(tempfile.mkdtemp(prefix=f"{mine}{name}-", dir=MEMORY))
            continue
        if _lock(lock, alone=False) and _is_there(folder, lock):
            return folder, lock
        lock.close()


def _is_own(folder: Path) -> bool:
    """Says whether a path is a folder that nobody else could have made, or can write to; links are not followed."""
    state = folder.lstat()
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077


def _is_there(folder: Path, lock: BinaryIO) -> bool:
    """Says whether the lock of a folder is still the one that was opened."""
    try:
        return os.path.samestat((folder / "lock").lstat(), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False


def _open_lock(folder: Path) -> BinaryIO:
    """Opens the lock of a folder, or makes it.

    Raises:
        OSError: If it is a link, or no file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    handle = os.open(folder / "lock", flags, 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a file", str(folder / "lock"))
    return os.fdopen(handle, "r+b", buffering=0)


def _lock(lock: BinaryIO, *, alone: bool) -> bool:
    """Takes a lock, together with others or alone; says whether it could be had without waiting, where alone."""
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
    except BlockingIOError:
        return False
    return True


def _remove_left(folder: Path) -> None:
    """Removes a folder of ours if no process uses it."""
    with suppress(OSError):
        if _is_own(folder):
            with _open_lock(folder) as lock:
                _remove_unused(folder, lock)


def _remove_unused(folder: Path, lock: BinaryIO) -> None:
    """Removes a folder, unless another process has a lock in it."""
    with suppress(OSError):
        if _lock(lock, alone=True) and _is_there(folder, lock):
            shutil.rmtree(folder)
