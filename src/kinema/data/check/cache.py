"""What files gave when they were last looked at, kept between runs, so that nothing unchanged is read twice.

One SQLite file in the user's cache folder. It may be deleted at any time, shared by runs, and interrupted: what was not
written yet is read again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import av

NAME = "files.sqlite3"
"""The file in the cache folder."""

_VERSION = f"2 av {av.__version__}"  # results of another one's reader may differ
_WRITE_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0
_TABLE = """
create table if not exists files (
    path blob not null, question text not null, version text not null, signature text not null, answer text not null,
    primary key (path, question)
) without rowid
"""


class Cache:
    """Answers to questions about files; without a folder, or where it cannot be used, it knows nothing."""

    def __init__(self, folder: Path | None) -> None:
        """Opens or makes the cache in a folder."""
        self.trouble = ""
        """Why it cannot be used, in one sentence; empty if it can."""
        self._connection: sqlite3.Connection | None = None
        self._new: list[tuple[bytes, str, str, str, str]] = []
        self._written = time.monotonic()
        if folder is None:
            return
        self._file = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._file, timeout=_PATIENCE_SECONDS)
            self._connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def get(self, path: str, question: str, signature: str) -> str | None:
        """Returns the answer about this very version of a file, if it is known."""
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(
                "select version, signature, answer from files where path = ? and question = ?",
                (os.fsencode(path), question),
            ).fetchone()
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        return row[2] if row is not None and row[:2] == (_VERSION, signature) else None

    def put(self, path: str, question: str, signature: str, answer: str) -> None:
        """Keeps an answer; it goes to the disk at once, or with the next ones where many come in a second."""
        if self._connection is None:
            return
        self._new.append((os.fsencode(path), question, _VERSION, signature, answer))
        if time.monotonic() - self._written > _WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Puts everything on the disk; another run has to wait no longer than that takes."""
        if self._connection is None:
            return
        try:
            with self._connection:
                self._connection.executemany("insert or replace into files values (?, ?, ?, ?, ?)", self._new)
        except sqlite3.Error as error:
            self._give_up(error)
        self._new.clear()
        self._written = time.monotonic()

    def close(self) -> None:
        """Puts everything on the disk, and lets go of the file."""
        self.write()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _give_up(self, error: Exception) -> None:
        """Goes on without: a check must not fail for its cache."""
        self.trouble = (
            f"the cache {self._file} cannot be used ({error}), so files are read anew; remove it, or name another "
            f"folder with KINEMA_CACHE"
        )
        if self._connection is not None:
            self._connection.close()
            self._connection = None
