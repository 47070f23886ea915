"""Looks at all files of a dataset, in parallel, and remembers what they gave in columns of numbers."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinema.data.check.cache import Cache
from kinema.data.check.pool import Lost, do_all
from kinema.data.check.probe import Decode, Probe, digest, probe, signature

ABSENT, DANGLING = "no such file or folder", "a link to nothing"
"""Why there is nothing at a path."""
Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""

_DEEPER: dict[Decode, tuple[Decode, ...]] = {
    "all": ("all",),
    "ends": ("ends", "all"),
    "none": ("none", "ends", "all"),
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How files are looked at."""

    decode: Decode
    num_workers: int
    """Processes; 0 reads in this one."""
    timeout_seconds: float
    """How long a file may give nothing before it is given up."""


@dataclass
class Files:
    """What each file gave, by its number."""

    paths: Sequence[str]
    num_bytes: NDArray[np.int64]
    """Size; -1 for what is not there or may not be looked at."""
    num_frames: NDArray[np.int64]
    """Frames; 0 where it cannot be read."""
    fps: NDArray[np.float64]
    """Frames per second; 0 where it states none."""
    sizes: NDArray[np.int32]
    """Width and height, 0 where not known [N, 2]."""
    signatures: dict[int, str] = field(default_factory=dict)
    """Of those that are there, while they are looked at."""
    missing: dict[int, str] = field(default_factory=dict)
    """Why there is nothing."""
    errors: dict[int, str] = field(default_factory=dict)
    """Why it cannot be read."""
    changing: list[int] = field(default_factory=list)
    """Those that store frames of several sizes."""
    turned: list[int] = field(default_factory=list)
    """Those that a tag turns or mirrors."""
    uneven: dict[int, float] = field(default_factory=dict)
    """Part of the gaps between frames that are unlike the usual one, of those that have such."""
    copies: list[list[int]] = field(default_factory=list)
    """Groups of files with the same content."""
    num_read: int = 0
    """Files that were opened."""
    num_known: int = 0
    """Files whose answer was known from an earlier time."""

    def take(self, number: int, given: Probe) -> None:
        """Notes what a file gave."""
        self.num_frames[number], self.fps[number] = given.num_frames, given.fps
        self.sizes[number] = given.width, given.height
        if given.error:
            self.errors[number] = given.error
        if given.changes_size:
            self.changing.append(number)
        if given.turned:
            self.turned.append(number)
        if given.uneven:
            self.uneven[number] = given.uneven


def look_at_files(paths: Sequence[str], look: Look, *, cache: Cache, progress: Progress) -> Files:
    """Looks at files; what is wrong with one does not stop the others.

    Args:
        paths: Files and folders of frames, each once.
        look: How.
        cache: What is known of them, and will be.
        progress: Is told how far it is.

    Returns:
        What they gave.
    """
    count = len(paths)
    files = Files(
        paths=paths,
        num_bytes=np.full(count, -1, np.int64),
        num_frames=np.zeros(count, np.int64),
        fps=np.zeros(count),
        sizes=np.zeros((count, 2), np.int32),
    )
    for (number, path, _), given in do_all(
        _probe,
        _unknown(files, look, cache=cache, progress=progress),
        num_workers=look.num_workers,
        silence_seconds=look.timeout_seconds,
    ):
        if isinstance(given, Lost):
            given = Probe(error=given.reason, lasting=False)
        files.num_read += 1
        files.take(number, given)
        if given.lasting:
            cache.put(path, look.decode, files.signatures[number], json.dumps(asdict(given)))
    cache.write()
    files.copies = _copies(files, look, cache=cache, progress=progress)
    cache.write()
    files.signatures.clear()
    return files


def _probe(task: tuple[int, str, Decode], beat: Callable[[], None]) -> Probe:
    _, path, decode = task
    return probe(path, decode, beat)


def _unknown(files: Files, look: Look, *, cache: Cache, progress: Progress) -> Iterator[tuple[int, str, Decode]]:
    """Looks files up; yields those that have to be read."""
    for number, path in enumerate(files.paths):
        progress("reading", number, len(files.paths))
        try:
            files.signatures[number], files.num_bytes[number] = signature(path)
        except (FileNotFoundError, NotADirectoryError):
            files.missing[number] = DANGLING if os.path.islink(path) else ABSENT  # noqa: PTH114
            continue
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            files.errors[number] = f"cannot be looked at ({reason}); mend or remove it"
            continue
        known = (cache.get(path, decode, files.signatures[number]) for decode in _DEEPER[look.decode])
        answer = next((text for text in known if text is not None), None)
        if answer is None:
            yield number, path, look.decode
        else:
            files.num_known += 1
            files.take(number, Probe(**json.loads(answer)))


def _copies(files: Files, look: Look, *, cache: Cache, progress: Progress) -> list[list[int]]:
    """Finds readable files with the same content: of those with the same size, the same hash."""
    sizes = Counter(files.num_bytes[files.num_frames > 0].tolist())
    alike = [
        number for number in np.flatnonzero(files.num_frames > 0).tolist() if sizes[int(files.num_bytes[number])] > 1
    ]
    digests: dict[int, str] = {}
    unknown = []
    for number in alike:
        known = cache.get(files.paths[number], "content", files.signatures[number])
        if known is None:
            unknown.append((number, files.paths[number]))
        else:
            digests[number] = known
    tasks = do_all(_digest, unknown, num_workers=look.num_workers, silence_seconds=look.timeout_seconds)
    for count, ((number, path), text) in enumerate(tasks, start=1):
        if not isinstance(text, Lost):
            digests[number] = text
            cache.put(path, "content", files.signatures[number], text)
        progress("comparing contents", count, len(unknown))
    groups: dict[str, list[int]] = {}
    for number, text in sorted(digests.items()):
        groups.setdefault(text, []).append(number)
    return [numbers for numbers in groups.values() if len(numbers) > 1]


def _digest(task: tuple[int, str], beat: Callable[[], None]) -> str:
    return digest(task[1], beat)
