"""`kinema import`: what it writes and prints, and how it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from foreign_networks import ResNet
from kinema.cli import main
from kinema.models.weights import load_model, read_metadata


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor, Tensor]:
    """A training checkpoint in the official code's layout, clips, and the logits that it gives for them."""
    path = tmp_path_factory.mktemp("theirs") / "TSM_something_RGB_resnet18_shift8_blockres_avg_segment4_e50.pth"
    network, clips = ResNet("tsm", wrapper="module."), torch.randn(2, 4, 3, 32, 32)
    logits = network(clips)
    torch.save({"epoch": 3, "arch": "resnet18", "state_dict": network.weights.tensors, "optimizer": {}}, path)
    return path, clips, logits


class Trap:
    """Pickles as a command that makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)


def test_import_writes_a_model_and_says_what_it_found(
    checkpoint: tuple[Path, Tensor, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path, clips, logits = checkpoint
    out = tmp_path / "new folder" / "ours.safetensors"
    assert main(["import", str(path), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "layout: ResNet, official code of TSM"
    assert lines[1] == "network: resnet18, temporal tsm, T = 4 frames of 3 channels, K = 5 classes"
    assert lines[2].endswith(" used, 0 unused")
    assert "not loaded: epoch, arch, optimizer" in lines
    assert lines[-1] == f"wrote {out}; next: kinema predict '{out}' VIDEO"
    assert captured.err.startswith("kinema: warning: classes are called class_0 to class_4")
    model = load_model(out)
    torch.testing.assert_close(model.double()(clips.double()), logits, rtol=1e-5, atol=1e-5)
    assert json.loads(read_metadata(out)["origin"])["file"] == path.name


def test_what_was_imported_predicts(
    checkpoint: tuple[Path, Tensor, Tensor], counting_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, names = tmp_path / "ours.safetensors", tmp_path / "category.txt"
    names.write_text("moving\nfalling\nrising\nopening\nclosing\n")
    arguments = ["import", str(checkpoint[0]), "--out", str(out), "--classes", str(names)]
    assert main(arguments) == 2
    assert "--class_order alphabetical" in capsys.readouterr().err
    assert not out.exists()
    assert main([*arguments, "--class_order", "file"]) == 0
    assert capsys.readouterr().err == ""
    assert load_model(out).spec.class_names[:2] == ("moving", "falling")
    assert main([*arguments, "--class_order", "alphabetical", "--num_frames", "6"]) == 0
    model = load_model(out)
    assert (model.spec.class_names[:2], model.spec.num_frames) == (("closing", "falling"), 6)
    assert main(["predict", str(out), str(counting_video)]) == 0


@pytest.mark.parametrize("inside", [True, False])
def test_a_malicious_file_runs_nothing_and_is_one_sentence(
    inside: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    canary, path, out = tmp_path / "canary", tmp_path / "evil.pth", tmp_path / "w.safetensors"
    trap = Trap(canary)
    torch.save({"state_dict": {"module.base_model.conv1.weight": torch.ones(1)}, "x": trap} if inside else trap, path)
    assert main(["import", str(path), "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith(f"kinema: {path}: the file must hold weights, got a pickle that asks for ")
    assert not canary.exists()
    assert not out.exists()


def test_files_that_cannot_be_imported_are_one_line(
    checkpoint: tuple[Path, Tensor, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "page.pth").write_text("<html>")
    (tmp_path / "half.pth").write_bytes(checkpoint[0].read_bytes()[:1000])
    out = str(tmp_path / "w.safetensors")
    for words, status, sentence in (
        ([str(tmp_path / "none.pth"), "--out", out], 1, "none.pth"),
        ([str(tmp_path), "--out", out], 2, "the checkpoint must be a file, got a folder"),
        ([str(tmp_path / "page.pth"), "--out", out], 2, "got a web page"),
        ([str(tmp_path / "half.pth"), "--out", out], 2, "something else or half of it"),
        ([str(checkpoint[0]), "--out", str(checkpoint[0])], 2, "out must be a file of its own"),
        ([str(checkpoint[0]), "--out", str(tmp_path)], 2, "out must be a file of its own"),
        ([str(checkpoint[0]), "--out", out, "--class_order", "file"], 2, "class_order must come with the names"),
        ([str(checkpoint[0]), "--out", out, "--classes", str(tmp_path / "none")], 1, "none"),
        ([str(checkpoint[0]), "--out", out, "--num_frames", "0"], 2, "num_frames must be"),
        ([str(checkpoint[0]), "--out", out, "--shift", "none"], 2, "shift must be auto or online"),
        ([str(checkpoint[0])], 2, "out"),
    ):
        assert main(["import", *words]) == status, words
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1, captured.err
        assert sentence in captured.err
        assert captured.out == ""
    assert not Path(out).exists()


def test_networks_on_flow_are_imported_and_take_folders_of_flow(
    counting_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    network, path, out = ResNet("tsm", in_channels=10), tmp_path / "flow.pth", tmp_path / "flow.safetensors"
    network(torch.zeros(1, 4, 10, 32, 32))
    torch.save(network.weights.tensors, path)
    assert main(["import", str(path), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith(f"wrote {out}; next: kinema predict {out} FOLDER_OF_FLOW\n")
    assert "kinema: warning: the network takes optical flow" in captured.err
    assert main(["predict", str(out), str(counting_video)]) == 1
    assert "a file where a folder of optical flow is needed" in capsys.readouterr().err
