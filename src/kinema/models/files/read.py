"""Reads other programs' weights: the tensors of the network, and what is told beside them. Nothing of them runs."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from kinema.models.files.archive import check_records, restore
from kinema.models.files.restricted import Inert, StoredTensor
from kinema.wording import listed

HOLDERS = (
    *("state_dict_ema", "model_ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights"),
)
"""Keys under which a checkpoint keeps the network, the first one that is there; averaged weights before the last ones,
as timm takes them."""
LONGEST_NAME = 120
"""Characters of a name of the file that a message shows."""

HOSTILE = """
bdb codeop commands ctypes _ctypes ftplib http importlib marshal nt os pdb pickle _pickle popen2 posix pty runpy shelve
shutil smtplib socket subprocess sys timeit urllib webbrowser
builtins.__import__ builtins.breakpoint builtins.compile builtins.delattr builtins.eval builtins.exec builtins.globals
builtins.input builtins.locals builtins.open builtins.setattr builtins.vars __builtin__.__import__ __builtin__.compile
__builtin__.delattr __builtin__.eval __builtin__.exec __builtin__.execfile __builtin__.file __builtin__.globals
__builtin__.input __builtin__.locals __builtin__.open __builtin__.setattr __builtin__.vars
"""
"""Modules and builtin functions that no weights need, whatever they ask of them: only an attack names them."""

OTHER_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF", "an HDF5 file, as of Keras"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"BZh", "a bzip2 archive: unpack it"),
    (b"\xfd7zXZ", "an xz archive: unpack it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (b"Rar!", "a rar archive: unpack it"),
    (b"version https://git-lfs", "a pointer of git-lfs: fetch the file itself"),
    (b"TFL3", "a TensorFlow Lite model"),
    (b"GGUF", "a GGUF model"),
    (b"<", "a web page: download the file itself"),
    (b"{", "a JSON text"),
)
"""First bytes of a file, apart from blanks -> what it is."""
OTHER_SUFFIXES = {
    ".onnx": "an ONNX model",
    ".pb": "a TensorFlow graph",
    ".index": "a TensorFlow checkpoint",
    ".tflite": "a TensorFlow Lite model",
    ".caffemodel": "a Caffe model",
}
"""Suffix of a file, where the first bytes say nothing -> what it is."""
TAR_MAGIC = slice(257, 262)
"""Where a tar archive has the word `ustar`."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds of a network."""

    tensors: Mapping[str, Tensor]
    """By the file's own names."""
    place: str = ""
    """The entry that they are in; empty where they are the whole file."""
    not_loaded: tuple[str, ...] = ()
    """What else the file holds, by name: entries beside the network, and foreign objects."""
    text: str = ""
    """The recipe as text, where the file has one (mmaction2's `meta`)."""
    class_names: tuple[str, ...] = ()
    """The names of the classes, where the file has them (mmaction2's `meta`)."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint: of `torch.save`, new or old, whole or only a state dict, or safetensors.

    Args:
        path: The file.

    Returns:
        What it holds of a network.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no checkpoint, holds no state dict, or asks for what only an attack needs.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file; give the path of a checkpoint")
    if path.is_dir():
        raise ValueError(f"{path}: the checkpoint must be a file, got a folder; give the .pth file in it")
    with path.open("rb") as file:
        start = file.read(512)
    _check_kind(path, start)
    if _is_safetensors(start):
        return _read_safetensors(path)
    return _read_pickle(path)


def shown(name: object) -> str:
    """Returns a name of the file as a message can show it: printable, and not too long."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(name))
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def _read_pickle(path: Path) -> Checkpoint:
    with _guarded(path):
        content, foreign, read = _load(path)
    hostile = [shown(name) for name in foreign if _is_hostile(name)]
    if hostile:
        raise ValueError(
            f"{path}: the file must hold weights, got a pickle that asks for {listed(hostile, 3)}, as attacks do; "
            "nothing of it was run: delete it, and take the weights from a source that you trust"
        )
    place, network = _find_network(path, content, foreign)
    with _guarded(path):
        tensors = {
            name: read(value) if isinstance(value, StoredTensor) else _dense(name, value)
            for name, value in dict.items(network)
            if isinstance(name, str) and isinstance(value, Tensor | StoredTensor)
        }
    whole = content if isinstance(content, dict) and place else {}
    beside = [name for name in dict.keys(whole) if name != place]
    rest = [name for name in dict.keys(network) if name not in tensors]
    meta = dict.get(whole, "meta")
    return Checkpoint(
        tensors,
        place=place,
        not_loaded=tuple(map(shown, [*beside, *rest, *foreign])),
        text=_recipe_text(meta),
        class_names=_class_names(meta),
    )


def _load(path: Path) -> tuple[object, tuple[str, ...], Callable[[StoredTensor], Tensor]]:
    """Reads a file as torch does for weights only; where torch refuses, with placeholders for foreign objects."""
    check_records(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True), (), _never
    except Exception:  # a foreign object or a broken file: torch has no error of its own that tells one from the other
        restored = restore(path)
    return restored.content, restored.foreign, restored.read


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Turns whatever a broken or hostile pickle makes Python raise, which has no bounds, into one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about the form of the file
        try:
            yield
        except Exception as error:
            raise _broken(path, str(error) or type(error).__name__) from error


def _dense(name: str, tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_complex():
        raise pickle.UnpicklingError(f"{shown(name)} is sparse, quantized, complex or without numbers")
    return tensor.detach()


def _is_hostile(name: str) -> bool:
    names = HOSTILE.split()
    return name in names or name.partition(".")[0] in names


def _never(tensor: StoredTensor) -> NoReturn:
    raise AssertionError("torch gives tensors that are read already")


def _find_network(path: Path, content: object, foreign: tuple[str, ...]) -> tuple[str, dict[Any, Any]]:
    """Finds the state dict: under one of its usual names, or the content itself, whose name is then empty."""
    if isinstance(content, dict):
        for name in HOLDERS:
            inner = dict.get(content, name)
            if isinstance(inner, dict) and _has_tensors(inner):
                return name, inner
        if _has_tensors(content):
            return "", content
        what = f"entries without tensors ({listed(list(map(shown, dict.keys(content))), 6) or 'none'})"
    elif isinstance(content, Inert):
        what = f"an object of another program ({listed(list(map(shown, foreign)), 3)})"
    else:
        what = f"an object of type {'Tensor' if isinstance(content, StoredTensor) else type(content).__name__}"
    raise ValueError(
        f"{path}: the file must hold a state dict, got {what}; nothing of it was run: load it where it was made, and "
        "save its model.state_dict()"
    )


def _has_tensors(entries: dict[Any, Any]) -> bool:
    return any(
        isinstance(name, str) and isinstance(value, Tensor | StoredTensor) for name, value in dict.items(entries)
    )


def _recipe_text(meta: object) -> str:
    """Takes the recipe out of mmaction2's `meta`: `cfg` since 1.0, `config` before."""
    texts = [dict.get(meta, name) for name in ("cfg", "config")] if isinstance(meta, dict) else []
    return next((text for text in texts if isinstance(text, str)), "")


def _class_names(meta: object) -> tuple[str, ...]:
    """Takes the names of the classes out of mmaction2's `meta`: `dataset_meta` since 1.0, `CLASSES` before."""
    if not isinstance(meta, dict):
        return ()
    dataset = dict.get(meta, "dataset_meta")
    inner = dict.get(dataset, "classes") if isinstance(dataset, dict) else None
    names = inner or dict.get(meta, "CLASSES")
    is_list = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_list and names else ()


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
        tensors = load_file(path)
    except SafetensorError as error:
        raise _broken(path, str(error)) from error
    if {"spec", "config"} <= metadata.keys():
        raise ValueError(
            f"{path}: the file must be of another project, got one of kinema's own; use it as it is, as in "
            f"kinema predict {path}, or start from it with model.init"
        )
    return Checkpoint(tensors)


def _is_safetensors(start: bytes) -> bool:
    """Tells safetensors by their header: its length, and then JSON."""
    return len(start) > 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32


def _check_kind(path: Path, start: bytes) -> None:
    """Refuses what is known to be something else, by its name."""
    if not start:
        raise _other(path, "an empty file: download it again")
    if _is_safetensors(start) or start[:1] == b"\x80" or start[:2] == b"PK":
        return
    begin = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    kinds = [what for magic, what in OTHER_KINDS if begin.startswith(magic) or start[4:8] == magic]
    if start[TAR_MAGIC] == b"ustar":
        kinds.append("a tar archive: unpack it, or save the weights with a newer torch")
    kinds += [what for suffix, what in OTHER_SUFFIXES.items() if path.suffix.lower() == suffix]
    if kinds:
        raise _other(path, kinds[0])


def _other(path: Path, what: str) -> ValueError:
    kind, _, advice = what.partition(": ")
    advice = advice or "take the checkpoint that it was made from"
    return ValueError(f"{path}: the file must be a checkpoint of torch.save or safetensors, got {kind}; {advice}")


def _broken(path: Path, reason: str) -> ValueError:
    line = shown(" ".join(reason.split()))
    return ValueError(
        f"{path}: the file must be a checkpoint of torch.save or safetensors, got something else or half of it "
        f"({line}); download it again"
    )
