"""Reads what `torch.save` wrote without letting it run: only tensors and plain containers come to life.

`torch.load(weights_only=True)` gives up on a training checkpoint that holds objects of its own project. This reader
knows the names that tensors are made of, each of which stands for a function of this file; every other name that a
pickle asks for becomes an inert placeholder. No module is imported, and nothing of what the file names is called.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import torch
from torch import Tensor

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The number that a file of torch before 1.6 begins with, as a pickle."""
LENGTH_BYTES = 8
"""Bytes of the length in front of each storage of such a file."""

STORAGES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Name of a storage's class in `torch` or `torch.cuda` -> what it holds."""


class Inert:
    """Stands in for an object of the file: takes whatever it is given, and does nothing with it."""

    def __new__(cls, *args: object, **kwargs: object) -> Inert:
        """Takes any arguments."""
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Takes any arguments."""

    def __call__(self, *args: object, **kwargs: object) -> Inert:
        """Stands in for its own result too."""
        return self

    def __setstate__(self, state: object) -> None:
        """Forgets what was stored of the object."""

    def __setitem__(self, key: object, value: object) -> None:
        """Forgets an entry, where the object was a mapping."""

    def append(self, value: object) -> None:
        """Forgets an element, where the object was a list."""

    def extend(self, values: object) -> None:
        """Forgets elements."""

    def add(self, value: object) -> None:
        """Forgets an element, where the object was a set."""


class PlainDict(dict[Any, Any]):
    """An ordered, counting or defaulting dictionary of the file, without its factory and its attributes."""

    def __init__(self, items: object = None, *rest: object) -> None:
        """Takes the entries, where there are some."""
        super().__init__(items if isinstance(items, dict | list | tuple) else ())

    def __setstate__(self, state: object) -> None:
        """Forgets attributes, such as the versions of modules that torch keeps there."""


class Storage(NamedTuple):
    """A row of numbers of the file, not yet read."""

    key: str
    dtype: torch.dtype
    length: int
    """Elements of the whole row."""
    start: int
    """Element at which the part begins that is meant."""


class StoredTensor(NamedTuple):
    """A tensor of the file, not yet read."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


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


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickles containers, numbers, texts and descriptions of tensors; everything else as placeholders.

    Args:
        file: Where to read from.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin-1")  # for texts of Python 2: every byte is one of its characters
        self.foreign: dict[str, type[Inert]] = {}
        self.dtypes: dict[str, torch.dtype] = {}

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 (a function, a type or a class)
        """Returns what stands for a name, never the thing itself."""
        whole = f"{module}.{name}"
        if whole in KNOWN:
            return KNOWN[whole]
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return Inert
        return self.foreign.setdefault(whole, type("Foreign", (Inert,), {}))

    def persistent_load(self, pid: object) -> Any:  # noqa: ANN401 (a storage, or the placeholder of a class)
        """Notes a row of numbers that the file keeps beside the pickle."""
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":  # a class, with its source
            return pid[1]
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            _refuse("a reference to something that is no storage")
        _, dtype, key, _, length, *views = pid
        view = views[0] if views else None  # key, start and length of a part, in the older form
        start = view[1] if isinstance(view, tuple) and len(view) == 3 else 0
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str) or not _are_counts((length, start)):
            _refuse("a storage that is not described as torch does it")
        self.dtypes[key] = dtype
        return Storage(key, dtype, length, start)


def _restore_zip(path: Path) -> Restored:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        place = next((name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")), None)
        if place is None:
            _refuse("a zip archive without data.pkl")
        folder = place.partition("/")[0]
        if f"{folder}/constants.pkl" in names:
            _refuse("a TorchScript archive")
        if f"{folder}/byteorder" in names:
            with _record(archive, f"{folder}/byteorder") as file:
                if file.read() != b"little":
                    _refuse("numbers in an order of bytes that is not little-endian")
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
        _refuse("a compressed record")
    return archive.open(name)


def _restore_legacy(path: Path) -> Restored:
    with path.open("rb") as file:
        first = RestrictedUnpickler(file)
        content = first.load()
        if content != LEGACY_MAGIC:  # a pickle, but none of torch
            return Restored(content, tuple(first.foreign), lambda tensor: _refuse("a tensor without its numbers"))
        for _ in range(2):  # the version of the form, and the machine that wrote it
            RestrictedUnpickler(file).load()
        unpickler = RestrictedUnpickler(file)
        content = unpickler.load()
        places: dict[str, int] = {}
        for key in list(RestrictedUnpickler(file).load()):
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            places[key] = file.tell()
            file.seek(length * unpickler.dtypes[key].itemsize, 1)

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
        _refuse("a tensor that is larger than its storage")
    numbers = bytearray(file.read(length * dtype.itemsize))
    if len(numbers) < length * dtype.itemsize:
        _refuse("half of a storage")
    return torch.frombuffer(numbers, dtype=dtype).as_strided(size, stride, first).clone()


def _tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> StoredTensor:
    """Describes a tensor, in place of torch's `_rebuild_tensor` and `_rebuild_tensor_v2`."""
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        _refuse("a tensor that is not described as torch does it")
    if not isinstance(offset, int) or len(size) != len(stride) or not _are_counts((offset, *size, *stride)):
        _refuse("a tensor with a shape that is none")
    return StoredTensor(storage, offset, size, stride)


def _first(value: object, *rest: object) -> object:
    """Takes the tensor of a parameter, in place of torch's `_rebuild_parameter`."""
    return value


def _as_plain(rebuild: object, kind: object, arguments: object, *rest: object) -> object:
    """Takes the tensor of one that has attributes, in place of torch's `_rebuild_from_type_v2`."""
    if rebuild is not _tensor or not isinstance(arguments, tuple):
        _refuse("a tensor that is not described as torch does it")
    return _tensor(*arguments)


def _are_counts(values: tuple[object, ...]) -> bool:
    return all(isinstance(value, int) and 0 <= value < 2**62 for value in values)


def _refuse(what: str) -> NoReturn:
    raise pickle.UnpicklingError(what)


KNOWN: dict[str, Any] = {
    "collections.OrderedDict": PlainDict,
    "collections.defaultdict": PlainDict,
    "collections.Counter": PlainDict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _as_plain,
    "torch.Size": tuple,
    "torch.Tensor": Inert,
    "torch.nn.parameter.Parameter": Inert,
    "torch.device": Inert,
    "torch.serialization._get_layout": Inert,
    "_codecs.encode": Inert,
    "builtins.set": Inert,
    "__builtin__.set": Inert,
    "builtins.bytearray": Inert,
    "builtins.complex": Inert,
}
"""Name in a file -> what stands for it: what `torch.load(weights_only=True)` knows too."""
