"""Unpickles without letting anything run: only tensors and plain containers come to life.

`torch.load(weights_only=True)` gives up on a training checkpoint that holds objects of its own project. This unpickler
knows the names that tensors are made of, each of which stands for a function of this file; every other name that a
pickle asks for becomes an inert placeholder. No module is imported, and nothing of what the file names is called.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import IO, Any, NamedTuple, NoReturn

import torch

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


class Rebuild:
    """A function that a pickle may call. Unlike a bare function it has no attributes that the pickle could set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        """Calls it."""
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        """Keeps what it is."""


class RestrictedUnpickler(pickle._Unpickler):  # in Python: the one in C takes as much memory as the file says
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
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return Inert
        return self.foreign.setdefault(whole, type("Foreign", (Inert,), {}))

    def persistent_load(self, pid: object) -> Any:  # noqa: ANN401 (a storage, or the placeholder of a class)
        """Notes a row of numbers that the file keeps beside the pickle."""
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":  # a class, with its source
            return pid[1]
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            refuse("a reference to something that is no storage")
        _, dtype, key, _, length, *views = pid
        view = views[0] if views else None  # key, start and length of a part, in the older form
        start = view[1] if isinstance(view, tuple) and len(view) == 3 else 0
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str) or not _are_counts((length, start)):
            refuse("a storage that is not described as torch does it")
        self.dtypes[key] = dtype
        return Storage(key, dtype, length, start)


def _tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> StoredTensor:
    """Describes a tensor, in place of torch's `_rebuild_tensor` and `_rebuild_tensor_v2`."""
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        refuse("a tensor that is not described as torch does it")
    if not isinstance(offset, int) or len(size) != len(stride) or not _are_counts((offset, *size, *stride)):
        refuse("a tensor with a shape that is none")
    return StoredTensor(storage, offset, size, stride)


def _first(value: object, *rest: object) -> object:
    """Takes the tensor of a parameter, in place of torch's `_rebuild_parameter`."""
    return value


def _as_plain(rebuild: object, kind: object, arguments: object, *rest: object) -> object:
    """Takes the tensor of one that has attributes, in place of torch's `_rebuild_from_type_v2`."""
    if rebuild is not TENSOR or not isinstance(arguments, tuple):
        refuse("a tensor that is not described as torch does it")
    return _tensor(*arguments)


def _are_counts(values: tuple[object, ...]) -> bool:
    return all(isinstance(value, int) and 0 <= value < 2**62 for value in values)


def refuse(what: str) -> NoReturn:
    """Gives up on a file.

    Raises:
        UnpicklingError: With what is wrong about it.
    """
    raise pickle.UnpicklingError(what)


TENSOR = Rebuild(_tensor)
KNOWN: dict[str, Any] = {
    "collections.OrderedDict": PlainDict,
    "collections.defaultdict": PlainDict,
    "collections.Counter": PlainDict,
    "torch._utils._rebuild_tensor": TENSOR,
    "torch._utils._rebuild_tensor_v2": TENSOR,
    "torch._utils._rebuild_parameter": Rebuild(_first),
    "torch._utils._rebuild_parameter_with_state": Rebuild(_first),
    "torch._tensor._rebuild_from_type_v2": Rebuild(_as_plain),
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
