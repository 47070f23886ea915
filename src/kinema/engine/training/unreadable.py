"""Training videos that cannot be read: left out of their batch, counted, named once, and too many of them end a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from torch.utils.data import Dataset, default_collate

from kinema.data.annotations import Sample
from kinema.data.annotations.text import read_lines
from kinema.data.atomic import write_atomically
from kinema.data.quarantine import quarantine_text
from kinema.data.video.opening import VideoError
from kinema.engine.fingerprint import size_of
from kinema.engine.processes.ranks import is_main
from kinema.wording import listed, one_line

MAX_LOOKED_FOR = 20_000
"""Videos that are looked for before training begins, at most."""
ERRORS = "errors"
"""Key of a batch under which the reasons of its unreadable videos stand, by index."""


@dataclass(frozen=True)
class Unreadable:
    """What stands in the place of a clip that cannot be had."""

    index: int
    reason: str


class ReadableClips(Dataset[Any]):
    """A dataset whose unreadable videos give their reason in place of a clip; none is ever replaced by another one."""

    def __init__(self, clips: Any) -> None:  # noqa: ANN401 (any dataset with samples and keys of epoch and index)
        """Remembers the dataset.

        Args:
            clips: Its keys begin with epoch and index of the sample; it has `samples`.
        """
        self.clips = clips
        self.samples: Sequence[Sample] = clips.samples

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, ...]) -> Any:  # noqa: ANN401
        try:
            return self.clips[key]
        except VideoError as error:
            return Unreadable(key[1], str(error))


class CollateReadable:
    """Collates the readable items of a batch, and puts the reasons of the others beside them.

    A batch of which nothing is left is the reasons alone.
    """

    def __init__(self, collate: Callable[[list[Any]], dict[str, Any]] = default_collate) -> None:
        """Remembers how readable items are collated."""
        self.collate = collate

    def __call__(self, items: Sequence[Any]) -> dict[str, Any]:
        """Returns the batch."""
        errors = {item.index: item.reason for item in items if isinstance(item, Unreadable)}
        readable = [item for item in items if not isinstance(item, Unreadable)]
        batch = self.collate(readable) if readable else {}
        return {**batch, ERRORS: errors}


class UnreadableVideos:
    """Counts the training videos that could not be read; what it knows depends on the files alone."""

    def __init__(self, samples: Sequence[Sample], *, root: str, max_share: float, file: Path) -> None:
        """Starts with none.

        Args:
            samples: All training videos.
            root: Where the data lies, for advice.
            max_share: Part of the videos that may be unreadable.
            file: Where they are listed, in the format of a quarantine, once there are any.
        """
        self.samples = samples
        self.root = root
        self.max_share = max_share
        self.file = file
        self.say: Callable[[str], None] = print
        """Tells a person a line."""
        self.reasons: dict[int, str] = {}
        """Why a video could not be read, by its index."""
        self._num_listed = 0

    def restore(self) -> None:
        """Takes over what was found before the run was stopped, so that it is neither forgotten nor told again."""
        if not self.file.is_file():
            return
        told = dict(map(_name_and_reason, read_lines(self.file)))
        named = ((index, told.get(sample.name)) for index, sample in enumerate(self.samples))
        self.reasons = {index: reason for index, reason in named if reason is not None}
        self._num_listed = len(self.reasons)

    def look_for_missing(self) -> None:
        """Looks whether the videos are there; of many, at some that lie evenly in the list. Writes nothing yet.

        Raises:
            VideoError: If more are missing than may be.
        """
        count = len(self.samples)
        looked_at = np.unique(np.linspace(0, count - 1, min(count, MAX_LOOKED_FOR)).round().astype(int)).tolist()
        missing = [index for index in looked_at if size_of(self.samples[index].path) is None]
        self._note({index: _absence(self.samples[index].path) for index in missing}, of=len(looked_at))

    def note(self, batch: Mapping[str, Any]) -> None:
        """Notes the unreadable videos of a batch.

        Raises:
            VideoError: If there are now more than may be.
        """
        try:
            self._note(batch.get(ERRORS, {}), of=len(self.samples))
        finally:
            if len(self.reasons) > self._num_listed:
                if is_main():
                    write_atomically(self.file, self._list().encode())
                self._num_listed = len(self.reasons)

    def describe(self) -> str:
        """Sums up in a line."""
        return f"unreadable, left out of training: {self._share(len(self.samples))}; listed in {self.file}"

    def _note(self, reasons: Mapping[int, str], *, of: int) -> None:
        new = {index: reason for index, reason in sorted(reasons.items()) if index not in self.reasons}
        if not new:
            return
        paths = {self.samples[index].path for index in self.reasons}
        self.reasons |= new
        for index, reason in new.items():
            path = self.samples[index].path
            if path not in paths:  # parts of one video are named once
                paths.add(path)
                self.say(f"unreadable, left out of training: {one_line(self.samples[index].name)}: {one_line(reason)}")
        if len(self.reasons) > self.max_share * of or len(self.reasons) == of:
            raise VideoError(self._too_many(of))

    def _list(self) -> str:
        return quarantine_text(
            {"name": self.samples[index].name, "kind": "unreadable", "reason": reason}
            for index, reason in sorted(self.reasons.items())
        )

    def _share(self, of: int) -> str:
        count = len(self.reasons)
        return f"{count} of {of} training videos ({count / of:.1%})"

    def _too_many(self, of: int) -> str:
        names = listed([one_line(self.samples[index].name) for index in sorted(self.reasons)], 3)
        return (
            f"data.max_unreadable must not be exceeded, got {self._share(of)} that are missing or unreadable where "
            f"{self.max_share:.1%} may be: {names}; see `kinema data check {quote(self.root)} --quarantine FILE`, then "
            "leave them out with --data.quarantine FILE, or allow more with --data.max_unreadable"
        )


def _absence(path: Path) -> str:
    """Says why there is nothing at a path."""
    return f"{path}: {'a link to nothing' if path.is_symlink() else 'no such file or folder'}; mend or remove it"


def _name_and_reason(line: tuple[int, str]) -> tuple[str, str]:
    said = json.loads(line[1])
    return said["name"], said["reason"]
