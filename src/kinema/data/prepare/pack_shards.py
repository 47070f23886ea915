"""A dataset to shards: tar files in the layout of webdataset, with an index beside them by which samples are found.

Samples of a split stand in shards of their own, in an order that a hash of their names makes, so that neighbours are
strangers for a reader that can only read from the start.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any, Final

from kinema.data.annotations import Annotations, Sample
from kinema.data.annotations.shard_index import INDEX, IndexHeader, Row, index_text
from kinema.data.atomic import put_in_place, write_atomically
from kinema.data.prepare.encode import Encoding, encode
from kinema.data.prepare.jobs import Jobs
from kinema.data.prepare.pictures import uneven_times
from kinema.data.prepare.report import Report
from kinema.data.prepare.work_log import WorkLog, is_done, stamp, unchanged
from kinema.data.video.opening import VideoError, without_extension
from kinema.data.video.section import open_sample
from kinema.data.video.shards import num_bytes, open_bytes
from kinema.wording import check, listed

_STAGED: Final = ".staged"
_SHARD: Final = "shard "
"""Before the name of a shard in the log; names of single files stand there as they are."""
_OWN: Final = re.compile(r"(data|train|val|test)-\d{6,}\.tar")


@dataclass(frozen=True)
class _Piece:
    """A video whose bytes are ready to be put into a shard."""

    sample: Sample
    content: Path
    suffix: str
    source: list[int]


@dataclass
class _Shards:
    """The shards of a folder."""

    log: WorkLog
    labels: dict[str, int]
    sizes: dict[str, int] = field(default_factory=dict)
    rows: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)  # by sample: shard, and place in it


def pack_shards(
    annotations: Annotations,
    out: Path,
    encoding: Encoding,
    *,
    shard_mb: float = 500,
    num_workers: int = 1,
    quiet: bool = False,
) -> Report:
    """Packs a dataset into shards.

    A shard appears when it is whole, the index when all are. A run that was interrupted goes on where it was; videos
    that could be read only later go into further shards.

    Args:
        annotations: The dataset.
        out: Folder of the shards.
        encoding: How videos are written.
        shard_mb: Size of a shard in megabytes (10**6 bytes), which the last video of it exceeds.
        num_workers: Videos at the same time.
        quiet: Whether to show no bar.

    Returns:
        What was done, and what cannot be read.

    Raises:
        ValueError: If names or settings do not allow it, or a video has changed since it was packed.
        OSError: If the disk is full or cannot be written to.
    """
    check(shard_mb > 0, "shard_mb", "be positive", shard_mb, "500 is usual")
    samples = sorted(annotations.samples, key=_place)
    if len({sample.name for sample in samples}) < len(samples):
        raise ValueError("names of samples must differ to be packed, got some twice; remove the doubles")
    report = Report(num_videos=len(samples))
    with WorkLog(out, {"command": "data pack", "to": "shards", "shard_mb": shard_mb, **asdict(encoding)}) as log:
        shards = _Shards(log, {name: label for label, name in enumerate(annotations.class_names)})
        _take_stock(shards, {sample.name: sample for sample in samples})
        todo = [sample for sample in samples if sample.name not in shards.rows]
        report.num_kept = len(samples) - len(todo)
        if todo:
            (out / INDEX).unlink(missing_ok=True)
        pieces = _pieces(todo, log, encoding, report, num_workers=num_workers, quiet=quiet)
        for shard in _in_shards(pieces, size=int(shard_mb * 10**6)):
            _write_shard(shards, shard)
            report.num_new += len(shard)
        packed = [sample for sample in samples if sample.name in shards.rows]
        if (out / _STAGED).is_dir():
            shutil.rmtree(out / _STAGED)
        write_atomically(out / INDEX, _index(annotations, shards, packed).encode())
    report.notes.append(f"{len(shards.sizes)} shards, {sum(shards.sizes.values()) / 10**6:.0f} MB")
    return report


def _place(sample: Sample) -> tuple[str, bytes]:
    return sample.split or "", hashlib.sha256(sample.name.encode("utf-8", "surrogateescape")).digest()


def _take_stock(shards: _Shards, samples: dict[str, Sample]) -> None:
    """Finds what an earlier run has packed; removes a shard that it had not noted yet.

    Raises:
        ValueError: If the dataset is no longer what was packed.
    """
    log = shards.log
    for key, noted in log.done.items():
        name = key.removeprefix(_SHARD)
        path = log.folder / name
        if key.startswith(_SHARD) and path.is_file() and path.stat().st_size == noted["bytes"]:
            shards.sizes[name] = noted["bytes"]
            shards.rows |= {row["name"]: (name, row) for row in noted["rows"]}
    for path in log.folder.glob("*.tar"):
        if path.name not in shards.sizes and _OWN.fullmatch(path.name):
            path.unlink()
    changed = [
        name for name, (_, row) in shards.rows.items() if name not in samples or _stamp(samples[name]) != row["source"]
    ]
    if changed:
        raise ValueError(
            f"videos must be those that {log.folder} was begun with, got {len(changed)} that have changed or are gone: "
            f"{listed(changed, 3)}; pack into a new folder"
        )


def _stamp(sample: Sample) -> list[int] | None:
    try:
        return stamp(sample.path)
    except OSError:
        return None


def _pieces(
    samples: Sequence[Sample], log: WorkLog, encoding: Encoding, report: Report, *, num_workers: int, quiet: bool
) -> Iterator[_Piece]:
    """Yields the bytes of each video in order; those of an earlier run are taken where they are whole."""
    number = {sample.name: str(place) for place, sample in enumerate(samples)}

    def work(sample: Sample, stop: Event) -> _Piece:
        if encoding.codec == "copy":
            return _as_it_is(sample)
        staged = f"{_STAGED}/{hashlib.sha256(sample.name.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}"
        if is_done(log, staged, sample.path):
            return _Piece(sample, log.folder / staged, ".mp4", log.done[staged]["source"])
        with unchanged(sample.path) as before, open_sample(sample) as video:
            partial = log.partial(number[sample.name])
            times = None
            if sample.section is None:
                times = uneven_times(sample.path, length=len(video), fps=video.fps)
            encode(video, partial, encoding, times=times, stop=stop)
        put_in_place(partial, log.folder / staged)
        return _Piece(sample, log.folder / staged, ".mp4", before)

    for sample, result in Jobs(work, num_workers=num_workers).run(samples, what="packing", quiet=quiet):
        if isinstance(result, VideoError):
            report.failures[sample.name] = str(result)
        else:
            if encoding.codec != "copy":
                log.add(str(result.content.relative_to(log.folder)), source=result.source)
            yield result


def _as_it_is(sample: Sample) -> _Piece:
    """Takes a file as it is, if it can be opened."""
    if sample.section is not None or sample.path.is_dir():
        raise VideoError(f"{sample.name}: a part of a video or a folder of frames cannot be copied; take a codec")
    with unchanged(sample.path) as before:
        open_sample(sample).close()
    return _Piece(sample, sample.path, PurePosixPath(sample.path.name).suffix.lower() or ".mp4", before)


def _in_shards(pieces: Iterator[_Piece], *, size: int) -> Iterator[list[_Piece]]:
    """Gathers pieces of one split until they are large enough."""
    shard: list[_Piece] = []
    filled = 0
    for piece in pieces:
        if shard and (filled >= size or piece.sample.split != shard[0].sample.split):
            yield shard
            shard, filled = [], 0
        shard.append(piece)
        filled += num_bytes(piece.content)
    if shard:
        yield shard


def _write_shard(shards: _Shards, pieces: Sequence[_Piece]) -> None:
    """Writes one tar file, notes it, and removes what it was made of."""
    log = shards.log
    kind = pieces[0].sample.split or "data"
    number = 1 + max((int(name[-10:-4]) for name in shards.sizes if name.startswith(f"{kind}-")), default=-1)
    name = f"{kind}-{number:06d}.tar"
    partial = log.partial(name)
    rows = []
    with tarfile.open(partial, "w:", format=tarfile.PAX_FORMAT) as tar:
        for piece in pieces:
            key = _key(piece.sample)
            with open_bytes(piece.content) as file:
                info = _info(key + piece.suffix, file.seek(0, io.SEEK_END))
                file.seek(0)
                tar.addfile(info, file)
            offset = tar.offset - _padded(info.size)
            rows.append(
                {
                    "name": piece.sample.name,
                    "member": info.name,
                    "offset": offset,
                    "size": info.size,
                    "source": piece.source,
                }
            )
            for extension, text in _texts(piece.sample, shards.labels).items():
                content = text.encode("utf-8", "surrogateescape")
                tar.addfile(_info(f"{key}.{extension}", len(content)), io.BytesIO(content))
    changed = [piece.sample.name for piece in pieces if _stamp(piece.sample) != piece.source]
    if changed:
        raise ValueError(f"videos must stay as they are while they are packed, got a change of {listed(changed, 3)}")
    put_in_place(partial, log.folder / name)
    size = (log.folder / name).stat().st_size
    log.add(_SHARD + name, bytes=size, rows=rows)
    shards.sizes[name] = size
    shards.rows |= {str(row["name"]): (name, row) for row in rows}
    for piece in pieces:
        if piece.content.parent == log.folder / _STAGED:
            piece.content.unlink()


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _info(name: str, size: int) -> tarfile.TarInfo:
    """Header of a member; nothing in it tells who made it or when."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def _key(sample: Sample) -> str:
    """Name of a sample in a shard: without a dot in its last part, where readers take what follows for an extension."""
    name = sample.name.lstrip("/")
    stem = PurePosixPath(without_extension(name))
    digest = hashlib.sha256(sample.name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return str(stem.with_name(f"{stem.name.replace('.', '_')}-{digest}"))


def _texts(sample: Sample, labels: dict[str, int]) -> dict[str, str]:
    """What a shard says of a sample, by extension."""
    label = sample.class_names[0] if len(sample.class_names) == 1 else list(sample.class_names)
    said = {"name": sample.name, "label": label, "split": sample.split, "group": sample.group}
    texts = {"json": json.dumps(said)}
    return texts | ({"cls": str(labels[sample.class_name])} if sample.class_name else {})


def _index(annotations: Annotations, shards: _Shards, samples: Sequence[Sample]) -> str:
    names = sorted(shards.sizes)
    header = IndexHeader(
        classes=annotations.class_names, shards=tuple((name, shards.sizes[name]) for name in names), made_by="pack"
    )
    place = {name: number for number, name in enumerate(names)}
    return index_text(
        header,
        (
            Row(
                shard=place[shard],
                offset=row["offset"],
                size=row["size"],
                member=row["member"],
                name=sample.name,
                labels=tuple(shards.labels[name] for name in sample.class_names),
                split=sample.split,
                group=sample.group,
            )
            for sample in sorted(samples, key=lambda sample: sample.name)
            for shard, row in [shards.rows[sample.name]]
        ),
    )
