"""Reading files that nobody vouches for: nothing in them runs, and what cannot be read is one sentence."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from foreign_files import SAVES, TENSORS, foreign_content, sentence_about
from kinema.models.classifier import create_model
from kinema.models.files.read import read_checkpoint, shown
from kinema.models.weights import save_model


def test_names_of_a_file_are_printable_and_short():
    assert shown("a\x1b[31m\nb") == "a?[31m?b"
    assert len(shown("x" * 10_000)) < 200


@pytest.mark.parametrize("kind", SAVES)
def test_a_plain_checkpoint_and_one_with_foreign_objects_give_the_same_tensors(kind: str, tmp_path: Path):
    torch.save(foreign_content(), tmp_path / "w.pth", **SAVES[kind])
    read = read_checkpoint(tmp_path / "w.pth")
    assert read.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert read.tensors[name].dtype == tensor.dtype
        assert torch.equal(read.tensors[name], tensor), name
    assert {"message_hub", "args", "counts", "epoch", "argparse.Namespace", "collections.deque"} < set(read.not_loaded)
    assert [name for name in read.not_loaded if name.endswith("History")]


@pytest.mark.parametrize("place", ["state_dict", "model", "model_state", "model_state_dict", "net", ""])
def test_a_state_dict_is_found_where_projects_put_it(place: str, tmp_path: Path):
    content = {place: TENSORS, "epoch": 3} if place else {**TENSORS, "epoch": 3}
    torch.save(content, tmp_path / "w.pth")
    read = read_checkpoint(tmp_path / "w.pth")
    assert (read.tensors.keys(), read.not_loaded) == (TENSORS.keys(), ("epoch",))


def torch_bytes(content: object, **options: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("foreign", [False, True])
def test_half_a_file_is_one_sentence_wherever_it_ends(kind: str, foreign: bool, tmp_path: Path):
    content = foreign_content() if foreign else {"state_dict": TENSORS}
    whole, path = torch_bytes(content, **SAVES[kind]), tmp_path / "half.pth"
    for end in {0, 1, 2, 9, 40, len(whole) // 3, len(whole) // 2, len(whole) - 200, len(whole) - 9, len(whole) - 1}:
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"half\.pth: the file must ") as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)


def test_a_file_that_ends_in_the_length_of_an_empty_storage_is_half_a_file(tmp_path: Path):
    whole, path = torch_bytes({"state_dict": {"empty": torch.zeros(0, 3)}}, **SAVES["legacy"]), tmp_path / "w.pth"
    path.write_bytes(whole)
    assert read_checkpoint(path).tensors["empty"].shape == (0, 3)
    for missing in (1, 7, 8):
        path.write_bytes(whole[:-missing])
        assert "the file must " in (sentence_about(path) or "")


def test_changed_bytes_are_never_more_than_one_sentence(tmp_path: Path):
    generator, path, refused = np.random.default_rng(0), tmp_path / "changed.pth", 0
    for kind in ("zip", "legacy"):
        whole = np.frombuffer(torch_bytes(foreign_content(), **SAVES[kind]), dtype=np.uint8)
        for _ in range(150):
            changed = whole.copy()
            changed[generator.integers(0, len(whole), size=4)] = generator.integers(0, 256, size=4)
            path.write_bytes(changed.tobytes())
            refused += sentence_about(path) is not None
    assert 0 < refused < 300


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("w.pth", b"", "an empty file; download it again"),
        ("w.pth", b"<!DOCTYPE html><html>", "a web page; download the file itself"),
        ("w.pth", b"\n <html>", "a web page"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs"),
        ("w.pth", b'{"a": 1}', "a JSON text"),
        ("w.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("w.pth.gz", b"\x1f\x8b\x08\x00", "a gzip archive; unpack it"),
        ("w.npy", b"\x93NUMPY\x01", "an array of NumPy"),
        ("w.onnx", b"\x08\x07\x12\x07pytorch", "an ONNX model"),
        ("model.pb", b"\n\x01x", "a TensorFlow graph"),
        ("model.ckpt.index", b"\x00\x00", "a TensorFlow checkpoint"),
        ("w.tflite", b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
        ("w.safetensors", b"\x08\0\0\0\0\0\0\0{", "something else or half of it"),
        ("w.pth", b"some words", "something else or half of it"),
        ("w.pth", bytes(100), "something else or half of it"),
    ],
)
def test_files_of_other_kinds_are_called_what_they_are(name: str, content: bytes, what: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: the file must be a checkpoint of torch.save .*, got {what}"):
        read_checkpoint(tmp_path / name)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_archives_of_other_kinds_are_called_what_they_are(tmp_path: Path):
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    with tarfile.open(tmp_path / "w.tar", "w") as archive:
        archive.add(tmp_path / "w.npz", "w.npz")
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "w.pt")
    for name, what in (("w.npz", "zip archive without data.pkl"), ("w.tar", "a tar archive"), ("w.pt", "TorchScript")):
        with pytest.raises(ValueError, match=rf"{name}: the file must be .*{what}"):
            read_checkpoint(tmp_path / name)


def test_what_holds_no_state_dict_is_named(tmp_path: Path):
    for content, what in (
        (nn.Linear(2, 2), r"an object of another program \(torch.nn.modules.linear.Linear\)"),
        ({"epoch": 3, "optimizer": {}}, r"entries without tensors \(epoch, optimizer\)"),
        ({}, r"entries without tensors \(none\)"),
        ([torch.zeros(1)], "an object of type list"),
        (torch.zeros(1), "an object of type Tensor"),
    ):
        for options in SAVES.values():
            torch.save(content, tmp_path / "w.pth", **options)
            with pytest.raises(ValueError, match=rf"w\.pth: the file must hold a state dict, got {what}"):
                read_checkpoint(tmp_path / "w.pth")


def test_folders_missing_files_and_our_own_are_told_apart(tmp_path: Path):
    with pytest.raises(ValueError, match="the checkpoint must be a file, got a folder"):
        read_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        read_checkpoint(tmp_path / "none.pth")
    save_model(tmp_path / "ours.safetensors", create_model("test_resnet", num_classes=2))
    with pytest.raises(ValueError, match=r"must be of another project, got one of kinema's own; use it as it is"):
        read_checkpoint(tmp_path / "ours.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "theirs.safetensors")
    assert read_checkpoint(tmp_path / "theirs.safetensors").tensors["a"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "tensor", [torch.eye(2).to_sparse(), torch.zeros(2, dtype=torch.complex64), torch.zeros(2, device="meta")]
)
def test_tensors_without_plain_numbers_are_refused(tensor: Tensor, tmp_path: Path):
    torch.save({"state_dict": {"a": tensor}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="sparse, quantized, complex or without numbers"):
        read_checkpoint(tmp_path / "w.pth")
