"""Files that want to be run: nothing in them is, and what is wrong with them is one sentence."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foreign_files import SAVES, TENSORS, sentence_about
from kinema.models.files.read import read_checkpoint


class Call:
    """Pickles as a call of a function; never unpickles as one here."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments

    def __call__(self, *arguments: object) -> None:
        raise AssertionError("only its pickle is wanted")


def attacks(canary: Path) -> dict[str, object]:
    """Calls that would make a file at `canary`, if anything made them."""
    code = f"open({str(canary)!r}, 'w').write('x')"
    command = f'{sys.executable} -c "{code}"'
    return {
        "os.system": Call(os.system, command),
        "subprocess.Popen": Call(subprocess.Popen, [sys.executable, "-c", code]),
        "builtins.eval": Call(eval, code),
        "builtins.exec": Call(exec, code),
        "builtins.__import__": Call(builtins.__import__, "this"),
        "getattr": Call(Call(getattr, Call(__import__, "os"), "system"), command),
        "builtins.open": Call(open, str(canary), "w"),
        "bound method": Call(Path(canary).touch),
        "torch.save": Call(torch.save, [1], str(canary)),
        "numpy.save": Call(np.save, str(canary), [1]),
        "partial": Call(__import__("functools").partial(Path.touch, Path(canary))),
        "apply": Call(map, exec, [code]),
        "tensor hook": Call(torch._utils._rebuild_parameter, Call(os.system, command), True, {}),
        "numpy runstring": Call(np.lib.npyio.NpzFile, str(canary)) if hasattr(np.lib, "npyio") else Call(eval, code),
    }


NAMES = tuple(attacks(Path("canary")))
PLACES: dict[str, Callable[[object], object]] = {
    "alone": lambda attack: attack,
    "beside": lambda attack: {"state_dict": TENSORS, "extra": [attack]},
    "inside": lambda attack: {"state_dict": {**TENSORS, "x": attack}},
    "before": lambda attack: {"extra": {"deep": (attack, [attack])}, "state_dict": TENSORS},
}


def write_pickle(content: object, path: Path, kind: str) -> None:
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, **SAVES[kind])


@pytest.mark.parametrize("kind", [*SAVES, "pickle"])
@pytest.mark.parametrize("attack", NAMES)
def test_nothing_that_a_file_asks_for_is_run(attack: str, kind: str, tmp_path: Path):
    canary = tmp_path / "canary"
    for place, put in PLACES.items():
        if kind == "pickle" and place != "alone":
            continue
        path = tmp_path / f"{place}.pth"
        write_pickle(put(attacks(canary)[attack]), path, kind)
        canary.unlink(missing_ok=True)
        if (
            sentence_about(path) is None
        ):  # placeholders stand where calls were: the network is read, the calls are named
            assert place != "alone"
            read = read_checkpoint(path)
            assert set(TENSORS) == set(read.tensors)
            assert len(read.not_loaded) > 1
        assert not canary.exists()
    assert "this" not in sys.modules


@pytest.mark.parametrize("attack", ["os.system", "subprocess.Popen", "builtins.eval", "getattr", "tensor hook"])
@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_asks_for_what_only_attacks_need_is_refused_by_name(attack: str, place: str, tmp_path: Path):
    torch.save(PLACES[place](attacks(tmp_path / "canary")[attack]), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: the file must hold weights, got a pickle that asks for \S+, as att"):
        read_checkpoint(tmp_path / "w.pth")


class Raw:
    """Writes a pickle by hand, in torch's zip form."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path / "raw.pth"

    def write(self, program: bytes, *, compression: int = zipfile.ZIP_STORED, storage: bytes = bytes(16)) -> Path:
        with zipfile.ZipFile(self.path, "w", compression) as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
            archive.writestr("archive/data/0", storage)
        return self.path


def tensor_program(
    *, size: int, stride: int = 1, offset: int = 0, length: int = 4, kind: str = "FloatStorage"
) -> bytes:
    """The opcodes of {"x": tensor, "y": an object of a class of the file}, with numbers that may lie."""
    storage = f"(X\7\0\0\0storagectorch\n{kind}\nX\1\0\0\0" + "0X\3\0\0\0cpuJ"
    numbers = b"".join(b"J" + number.to_bytes(4, "little", signed=True) for number in (offset,))
    shape = b"(J" + size.to_bytes(4, "little", signed=True) + b"t(J" + stride.to_bytes(4, "little", signed=True) + b"t"
    return (
        b"}(X\1\0\0\0xctorch._utils\n_rebuild_tensor_v2\n("
        + storage.encode()
        + length.to_bytes(4, "little", signed=True)
        + b"tQ"
        + numbers
        + shape
        + b"\x89}tRX\1\0\0\0ycother\nThing\n)\x81u"
    )


def test_a_tensor_by_hand_is_read(tmp_path: Path):
    numbers = torch.arange(4.0).numpy().tobytes()
    read = read_checkpoint(Raw(tmp_path).write(tensor_program(size=2, offset=1, stride=2), storage=numbers))
    assert read.tensors["x"].tolist() == [1.0, 3.0]
    assert read.not_loaded == ("y", "other.Thing")


@pytest.mark.parametrize(
    "numbers",
    [
        {"size": 5},
        {"size": 2, "offset": 3},
        {"size": 2, "stride": 4},
        {"size": 2**30, "stride": 0},
        {"size": -1},
        {"size": 2, "offset": -1},
        {"size": 2, "stride": -1},
        {"size": 5, "length": 5},
        {"size": 2**30, "length": 2**30},
        {"size": 4, "length": -4},
        {"size": 4, "kind": "DoubleStorage"},
        {"size": 4, "kind": "SecretStorage"},
    ],
)
def test_tensors_that_lie_about_their_numbers_are_refused(numbers: dict[str, Any], tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"raw\.pth: the file must be a checkpoint .* got something else or half of it"
    ):
        read_checkpoint(Raw(tmp_path).write(tensor_program(**numbers)))


@pytest.mark.parametrize(
    "program",
    [
        b"ctorch._utils\n_rebuild_tensor\nN}X\1\0\0\0xcother\nThing\ns\x86b",  # state of a function of ours
        b"K\1r\xff\xff\xff\xff",  # a place in the memo that would take gigabytes
        b"cos\nsystem\nX\4\0\0\0true\x85R",
        b"cother\nThing\n}b",  # state of a class itself
        b"ccollections\nOrderedDict\n)R}X\5\0\0\0itemscother\nThing\nsb",  # state of a dictionary
        b"(cother\nThing\no",
        b"(iother\nThing\n",
        b"ctorch\nFloatStorage\n)R",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        b"ctorch._utils\n_rebuild_tensor_v2\n(K\1K\2K\3K\4tR",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(cother\nThing\nNNNtR",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(cother\nThing\nN)NtR",
        b"X\1\0\0\0aQ",
        b"(X\6\0\0\0modulecother\nThing\ntQ",
        b"\x82\1",  # the registry of copyreg
        b"h\5",
        b"R",
        b"ctorch.hub\nload\n(X\4\0\0\0evilX\4\0\0\0evilt\x81",
        b"cother\nThing\n)R(cother\nThing\n)Rcother\nThing\n)Ru",
        b"]cother\nThing\n)Ra",
    ],
)
def test_pickles_by_hand_are_one_sentence(program: bytes, tmp_path: Path):
    for path in (Raw(tmp_path).write(program), tmp_path / "plain.pth"):
        if path.name == "plain.pth":
            path.write_bytes(b"\x80\x02" + program + b".")
        with pytest.raises(ValueError, match=rf"{path.name}: the file must ") as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)


def test_a_compressed_pickle_may_not_swell(tmp_path: Path):
    path = Raw(tmp_path).write(tensor_program(size=2), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="a compressed record"):
        read_checkpoint(path)


def test_compressed_numbers_may_not_swell(tmp_path: Path):
    torch.save({"conv1.weight": torch.zeros(2**20)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "w.pth", "w") as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name), compress_type=zipfile.ZIP_DEFLATED)

    with pytest.raises(ValueError, match=r"w\.pth: the file must be a checkpoint .* \(a compressed record\)"):
        read_checkpoint(tmp_path / "w.pth")
