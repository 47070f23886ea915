"""What is done in a folder that a command fills, so that it can be interrupted at any moment and started again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from kinema.data.annotations.shards import WORK_LOG
from kinema.data.lock import lock_file
from kinema.data.video.opening import VideoError, open_video
from kinema.data.video.shards import member_of

_PARTIAL: Final = ".partial"


class WorkLog:
    """A file of JSON lines: the settings first, then a line for each piece that is whole and in its place."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Opens the log of a folder, or begins one.

        Args:
            folder: The folder to fill; made if it is missing.
            settings: What the pieces depend on.

        Raises:
            ValueError: If the folder holds something else, or pieces of other settings, or another process fills it.
        """
        self.folder = folder
        self.done: dict[str, dict[str, Any]] = {}
        path = folder / WORK_LOG
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"out must be a folder, got the file {folder}; choose another name")
        if folder.is_dir() and not path.is_file() and any(folder.iterdir()):
            raise ValueError(f"out must be a new folder, or one that this command began, got {folder}; choose another")
        folder.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            lock_file(self._file, refusal=f"out must be filled by one process, got {folder}, at which another works")
            self._begin(json.loads(json.dumps(dict(settings))))
        except BaseException:
            self._file.close()
            raise
        shutil.rmtree(self._partials, ignore_errors=True)  # halves of a run that was killed

    @property
    def _partials(self) -> Path:
        return self.folder / _PARTIAL

    def partial(self, name: str) -> Path:
        """Returns where a piece is made before it is put in its place; nothing stands there."""
        path = self._partials / name
        self._partials.mkdir(exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        return path

    def add(self, key: str, **fields: Any) -> None:  # noqa: ANN401 (whatever JSON can hold)
        """Notes that a piece is in its place."""
        self._write({"key": key, **fields})
        self.done[key] = fields

    def close(self) -> None:
        """Lets go of the folder."""
        shutil.rmtree(self._partials, ignore_errors=True)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, settings: dict[str, Any]) -> None:
        """Reads the lines; what a kill left of the last one is cut off."""
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        self._file.truncate(whole)
        lines = content[:whole].splitlines()
        if not lines:
            self._write({"settings": settings})
            return
        try:
            first, *others = map(json.loads, lines)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{self.folder / WORK_LOG} must be JSON lines, got: {error}; choose another out"
            ) from error
        before = first["settings"]
        changed = sorted(key for key in settings.keys() | before.keys() if settings.get(key) != before.get(key))
        if changed:
            was = ", ".join(f"{key} {before.get(key)!r}, now {settings.get(key)!r}" for key in changed)
            raise ValueError(f"settings must be those that {self.folder} was begun with, got {was}; choose another out")
        for fields in others:
            self.done[fields.pop("key")] = fields

    def _write(self, fields: dict[str, Any]) -> None:
        self._file.write(json.dumps(fields).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def stamp(path: Path) -> list[int]:
    """Returns what tells whether a file, or a folder of frames, is still the same: size and time of the last change.

    Of a member of a shard it is size and place; reading it tells whether the shard is still the same.
    """
    member = member_of(path)
    if member is not None:
        return [member.size, member.offset]
    if not path.is_dir():
        status = path.stat()
        return [status.st_size, status.st_mtime_ns]
    with os.scandir(path) as entries:
        statuses = [entry.stat() for entry in entries]
    return [len(statuses), sum(s.st_size for s in statuses), max((s.st_mtime_ns for s in statuses), default=0)]


@contextmanager
def unchanged(path: Path) -> Iterator[list[int]]:
    """Gives the stamp of a video that is opened within, and sees to it that it is the same at the end.

    Raises:
        VideoError: If it is not, or the video is not there.
    """
    changed = f"{path}: has changed while it was read; run the command again"
    try:
        before = stamp(path)
    except OSError as error:
        open_video(path).close()  # says why
        raise VideoError(changed) from error
    yield before
    try:
        after = stamp(path)
    except OSError as error:
        raise VideoError(changed) from error
    if after != before:
        raise VideoError(changed)


def is_done(log: WorkLog, name: str, source: Path) -> bool:
    """Tells whether a piece is in its place, and the video that it was made of is still the same."""
    before = log.done.get(name)
    try:
        return before is not None and (log.folder / name).exists() and before["source"] == stamp(source)
    except OSError:
        return False  # opening it will say why
