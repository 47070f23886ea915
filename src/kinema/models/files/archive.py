"""Opens what `torch.save` wrote, in its two forms, with the restricted unpickler.

A zip archive holds the pickle `data.pkl` and a record for each storage; before torch 1.6, a file was several pickles in
a row, with the storages behind them.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from kinema.models.files.restricted import RestrictedUnpickler, StoredTensor, refuse

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The number that a file of torch before 1.6 begins with, as a pickle."""
LENGTH_BYTES = 8
"""Bytes of the length in front of each storage of such a file."""


@dataclass(frozen=True)
class Restored:
    """What a file holds."""

    content: object
    """Dictionaries, lists and numbers; `StoredTensor` and `Inert` among them."""
    foreign: tuple[str, ...]
    """Names of the file for which placeholders stand, in the order of the file."""
    read: Callable[[StoredTensor], Tensor]
    """Reads a tensor; raises `UnpicklingError` if its numbers are not there."""


def restore(path: Path) -> Restored:
    """Reads the pickle of a file, but not yet the numbers of its tensors.

    Args:
        path: A file of `torch.save`, as a zip archive or in the older form, or any pickle.

    Returns:
        What it holds.

    Raises:
        Exception: Whatever a broken or hostile file makes the reading of a pickle raise.
    """
    with path.open("rb") as file:
        return _restore_zip(path) if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC else _restore_legacy(path)


def check_records(path: Path) -> None:
    """Refuses a zip archive whose pickle or numbers are compressed: torch does not do that, and they could swell.

    Raises:
        UnpicklingError: If there is one.
        BadZipFile: If the archive is broken.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        records = [one for one in archive.infolist() if re.search(r"/data(\.pkl$|/)", one.filename)]
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            refuse("a compressed record")


def _restore_zip(path: Path) -> Restored:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        place = next((name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")), None)
        if place is None:
            refuse("a zip archive without data.pkl")
        folder = place.partition("/")[0]
        if f"{folder}/constants.pkl" in names:
            refuse("a TorchScript archive")
        if f"{folder}/byteorder" in names:
            with _record(archive, f"{folder}/byteorder") as file:
                if file.read() != b"little":
                    refuse("numbers in an order of bytes that is not little-endian")
        with _record(archive, place) as file:
            unpickler = RestrictedUnpickler(file)
            content = unpickler.load()

    def read(tensor: StoredTensor) -> Tensor:
        with zipfile.ZipFile(path) as archive, _record(archive, f"{folder}/data/{tensor.storage.key}") as file:
            return _fill(tensor, file, limit=path.stat().st_size)

    return Restored(content, tuple(unpickler.foreign), read)


def _record(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Opens a record; torch compresses none, and a compressed one could swell without end."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        refuse("a compressed record")
    return archive.open(name)


def _restore_legacy(path: Path) -> Restored:
    with path.open("rb") as file:
        first = RestrictedUnpickler(file)
        content = first.load()
        if content != LEGACY_MAGIC:  # a pickle, but none of torch
            return Restored(content, tuple(first.foreign), lambda tensor: refuse("a tensor without its numbers"))
        for _ in range(2):  # the version of the form, and the machine that wrote it
            RestrictedUnpickler(file).load()
        unpickler = RestrictedUnpickler(file)
        content = unpickler.load()
        places: dict[str, int] = {}
        for key in list(RestrictedUnpickler(file).load()):
            length = file.read(LENGTH_BYTES)
            places[key] = file.tell()
            end = places[key] + int.from_bytes(length, "little") * unpickler.dtypes[key].itemsize
            if len(length) < LENGTH_BYTES or end > path.stat().st_size:
                refuse("half of a storage")
            file.seek(end)

    def read(tensor: StoredTensor) -> Tensor:
        with path.open("rb") as file:
            file.seek(places[tensor.storage.key])
            return _fill(tensor, file, limit=path.stat().st_size)

    return Restored(content, tuple(unpickler.foreign), read)


def _fill(tensor: StoredTensor, file: IO[bytes], *, limit: int) -> Tensor:
    """Reads a storage from where the file stands, and takes the tensor out of it."""
    (_, dtype, length, start), offset, size, stride = tensor
    first = start + offset
    last = first + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    count = math.prod(size)
    if count == 0:
        return torch.empty(size, dtype=dtype)
    if length * dtype.itemsize > limit or last >= length or count > length:
        refuse("a tensor that is larger than its storage")
    numbers = bytearray(file.read(length * dtype.itemsize))
    if len(numbers) < length * dtype.itemsize:
        refuse("half of a storage")
    return torch.frombuffer(numbers, dtype=dtype).as_strided(size, stride, first).clone()
