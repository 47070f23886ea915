"""One call for the three ways to prepare a dataset; as a program, what a test starts in order to kill it."""

from __future__ import annotations

import sys
from pathlib import Path

from kinema.data.annotations import Source, read_annotations
from kinema.data.prepare.encode import Encoding
from kinema.data.prepare.extract import ExtractConfig, extract
from kinema.data.prepare.pack_files import pack_files
from kinema.data.prepare.pack_shards import pack_shards
from kinema.data.prepare.report import Report


def run(
    what: str, root: Path, out: Path, *, num_workers: int = 1, annotations: Path | None = None, **options
) -> Report:
    source = Source(root=root, annotations=annotations)
    found = read_annotations(source)
    if what == "extract":
        return extract(found, source, out, ExtractConfig(**options), num_workers=num_workers)
    if what == "files":
        return pack_files(found, source, out, Encoding(**options), num_workers=num_workers)
    return pack_shards(found, out, Encoding(**options), shard_mb=0.004, num_workers=num_workers)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), num_workers=2)
