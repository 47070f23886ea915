"""Frames kept once decoded, in memory or on a disk, so that later epochs decode nothing.

What is kept is the decoded frame itself, uint8 and as large as it is: a clip is cropped and scaled of it in each epoch
as of a frame just decoded, and is the same to the last bit. With a `short_side`, frames are scaled down as soon as they
are decoded, kept or not: that takes less memory, and clips differ a little, for they are scaled twice.

One file a video (or section of one; `kept_frames.py`), named by the hash of what its frames depend on: path, size and
times of the file, the section, the modality, `short_side`, FFmpeg. Folders of frames are told apart by the folder's own
times, not by those of the pictures in it.

Training draws other frames in each epoch, of a file whose frames need their neighbours to be decoded: so all of a video
is decoded when the first of it is asked for. A folder of pictures, a long video of which a clip shows little, and an
evaluation, which looks at the same frames each time, give only the frames that are asked for.

Shapes: H height, W width, C channels (3, of flow 2).
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from kinema.data.annotations.sample import Sample
from kinema.data.memory import available_memory
from kinema.data.video.base import Video, VideoError
from kinema.data.video.index_cache import state_of
from kinema.data.video.kept_frames import KeptFrames
from kinema.data.video.section import open_sample
from kinema.data.video.shards import member_of
from kinema.spec import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_PER_FRAME: Final = 64
"""Frames of a video for each one that is asked for, up to which all of it is decoded at once."""


@dataclass(frozen=True)
class FrameCache:
    """Where frames are kept, and until when."""

    folder: Path
    """Holds a file for each video."""
    kind: Literal["ram", "disk"]
    """What the folder is on."""
    keep_free: int
    """Bytes of memory, or of the disk, that stay free."""
    short_side: int | None = None
    """Larger frames are scaled down to this short side, in pixels; none: they are kept as decoded."""
    whole: bool = True
    """Whether a video is decoded as a whole when the first frame of it is asked for."""
    stopped: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.int64).share_memory_())
    """Whether nothing more is kept: 1 for want of room, 1 + the number of an error; all processes see it."""

    def for_evaluation(self) -> FrameCache:
        """Returns the same cache for clips that show the same frames each time, as decoded."""
        return replace(self, short_side=None, whole=False)

    def has_room(self, num_bytes: int) -> bool:
        """Says whether so many bytes more may be kept; once they may not, nothing more is."""
        if not self.stopped.item():
            try:
                free = shutil.disk_usage(self.folder).free
            except OSError as error:  # somebody has removed the folder
                self.stop(error)
                return False
            if (min(free, available_memory()) if self.kind == "ram" else free) - num_bytes < self.keep_free:
                self.stop()
        return not self.stopped.item()

    def stop(self, error: OSError | None = None) -> None:
        """Lets nothing more be kept, for want of room or by an error."""
        number = None if error is None else error.errno
        self.stopped.fill_(1 if number in (None, errno.ENOSPC, errno.EDQUOT) else 1 + number)

    def stopped_by(self) -> int | None:
        """Returns the number of the error by which nothing more is kept; none where there was no room, or is."""
        return int(self.stopped.item()) - 1 or None if self.stopped.item() else None

    def num_bytes(self) -> int:
        """Counts the bytes that the folder takes."""
        total = 0
        for entry in self.folder.glob("*.frames"):
            with suppress(OSError):
                total += entry.stat().st_blocks * 512
        return total


def open_kept(
    sample: Sample, *, modality: Modality = "rgb", index_cache: bool = False, cache: FrameCache | None = None
) -> Video:
    """Opens the video of a sample as `open_sample` does, through a cache of its frames where there is one.

    Args:
        sample: What to open.
        modality: Whether its frames or its flow is read.
        index_cache: Whether the index of its file is kept for the next time.
        cache: Where frames are kept.

    Returns:
        The video, to be closed after use; of one of which all is kept, the file is not even opened.

    Raises:
        VideoError: If it cannot be read.
    """
    if cache is None:
        return open_sample(sample, modality=modality, index_cache=index_cache)
    return CachedVideo(sample, modality=modality, index_cache=index_cache, cache=cache)


class CachedVideo(Video):
    """A video whose frames are kept once they are decoded."""

    def __init__(self, sample: Sample, *, modality: Modality, index_cache: bool, cache: FrameCache) -> None:
        """Looks for what is kept, and opens the video only where nothing is.

        Raises:
            VideoError: If nothing is kept and it cannot be opened.
        """
        self._sample, self._modality, self._index_cache, self._cache = sample, modality, index_cache, cache
        self._video: Video | None = None
        key = _key(sample, modality=modality, short_side=cache.short_side)
        self._place = None if key is None else cache.folder / f"{sha256(key.encode()).hexdigest()[:40]}.frames"
        self._kept = None if self._place is None else KeptFrames.open(self._place)
        facts: Any = self._opened() if self._kept is None else self._kept
        self.path, self.fps = sample.path, facts.fps
        self.codec_name, self.container_name = facts.codec_name, facts.container_name
        self.sequential_reason = facts.sequential_reason
        self._length = len(facts)

    def __len__(self) -> int:
        return self._length

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        missing = []
        for number in numbers:
            frame = None if self._kept is None else self._kept.read(number)
            if frame is None:
                missing.append(number)
            else:
                yield number, frame
        if missing and self._takes_all(missing):
            given: set[int] = set()
            with suppress(VideoError):  # a frame that nobody asked for may be damaged
                for number, frame in self._decoded(range(len(self))):
                    if number in missing:
                        given.add(number)
                        yield number, frame
            missing = [number for number in missing if number not in given]
        if missing:
            yield from self._decoded(missing)

    def _takes_all(self, missing: Sequence[int]) -> bool:
        """Says whether the whole video is decoded where some frames are missing."""
        few = len(self) > _MOST_PER_FRAME * len(missing)
        return self._cache.whole and self.container_name != "folder" and not few and not self._cache.stopped.item()

    def _decoded(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yields frames of the video itself, and keeps them."""
        first = True
        for number, decoded in self._opened()._read(numbers):
            frame = _scaled_down(decoded, self._cache.short_side)
            if first and self._cache.has_room(len(numbers) * frame.nbytes):
                self._make_room(frame)
            first = False
            if self._kept is not None and not self._cache.stopped.item():
                try:
                    self._kept.write(number, frame)
                except OSError as error:  # the disk is full, or may no longer be written to
                    self._cache.stop(error)
            yield number, frame

    def _make_room(self, frame: NDArray[np.uint8]) -> None:
        """Begins the file of the video, if there is none."""
        if self._kept is not None or self._place is None:
            return
        facts = {name: getattr(self, name) for name in ("fps", "codec_name", "container_name", "sequential_reason")}
        try:
            self._kept = KeptFrames.create(self._place, {**facts, "length": len(self), "shape": list(frame.shape)})
        except OSError as error:
            self._cache.stop(error)

    def _opened(self) -> Video:
        if self._video is None:
            self._video = open_sample(self._sample, modality=self._modality, index_cache=self._index_cache)
        return self._video

    def close(self) -> None:
        """Lets go of the video, and of the file of its frames."""
        if self._video is not None:
            self._video.close()
        if self._kept is not None:
            self._kept.close()


def _scaled_down(frame: NDArray[np.uint8], short_side: int | None) -> NDArray[np.uint8]:
    """Scales a frame [H, W, C] down to a short side, antialiased; one that is not larger stays as it is."""
    if short_side is None or min(frame.shape[:2]) <= short_side:
        return frame
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)  # [C, H, W]
    return F.resize(pixels, [short_side], antialias=True).permute(1, 2, 0).contiguous().numpy()


def _key(sample: Sample, *, modality: Modality, short_side: int | None) -> str | None:
    """Names what the frames of a sample depend on; none where its file cannot be looked at."""
    member = member_of(sample.path)
    file = sample.path if member is None else Path(member.shard)
    state = state_of(file)
    if state is None and member is None:
        return None
    part = None if member is None else [member.shard, member.offset, member.size, member.name]
    section = sample.section and [sample.section.start, sample.section.end, sample.section.unit]
    return json.dumps([state, part, section, modality, short_side])
