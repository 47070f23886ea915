"""2D weights from files that torchvision, timm and trainers wrote: the features are the original network's."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from kinema.models.backbones import create_backbone
from kinema.models.classifier import create_model
from kinema.models.pretrained import load_pretrained
from kinema.models.weights import save_model
from networks import randomize_

State = dict[str, Tensor]


def torchvision_network(name: str) -> nn.Module:
    """One of torchvision's networks with random weights, without its classifier."""
    options = {"init_weights": False} if name == "inception_v3" else {}
    return randomize_(getattr(torchvision.models, name)(weights=None, num_classes=5, **options)).eval()


def features_of(network: nn.Module, frames: Tensor) -> Tensor:
    """What goes into the last linear layer: for VGG the hidden layer, as timm has it without a classifier."""
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    seen: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(frames)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("theirs", "ours", "size"),
    [
        ("resnet18", "resnet18", 64),
        ("resnet50", "resnet50", 64),
        ("resnext50_32x4d", "resnext50_32x4d", 64),
        ("wide_resnet50_2", "wide_resnet50_2", 64),
        ("mobilenet_v2", "mobilenetv2_100", 64),
        ("densenet121", "densenet121", 64),
        ("inception_v3", "inception_v3", 96),
        pytest.param("vgg11_bn", "vgg11_bn", 224, marks=pytest.mark.slow),
    ],
)
@torch.inference_mode()
def test_a_file_of_torchvision_gives_torchvisions_features(theirs: str, ours: str, size: int, tmp_path: Path):
    network = torchvision_network(theirs)
    torch.save(network.state_dict(), tmp_path / "weights.pth")

    backbone = create_backbone(ours).eval()
    lines = load_pretrained(backbone, tmp_path / "weights.pth")

    frames = torch.randn(2, 3, size, size)
    wanted = features_of(network, frames)
    scale = wanted.abs().max().item()
    torch.testing.assert_close(backbone(frames) / scale, wanted / scale, rtol=0.0, atol=1e-6)
    assert lines[0].endswith(f"{len(backbone.state_dict())} of {len(backbone.state_dict())} tensors taken")
    assert lines[1].startswith("  classifier left out: ")
    unused = lines[2:]
    assert all("AuxLogits" in line for line in unused)
    assert bool(unused) == (theirs == "inception_v3")


@torch.inference_mode()
def test_the_names_that_torchvision_publishes_densenet_under_are_known(tmp_path: Path):
    network = torchvision_network("densenet121")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): v for key, v in network.state_dict().items()}
    assert old.keys() != network.state_dict().keys()
    torch.save(old, tmp_path / "weights.pth")

    backbone = create_backbone("densenet121")
    load_pretrained(backbone, tmp_path / "weights.pth")

    for key, value in backbone.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key


def timm_state(seed: int = 0) -> State:
    return randomize_(timm.create_model("test_resnet", num_classes=4), seed=seed).state_dict()


def check_taken(backbone: nn.Module, state: State) -> None:
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "state_dict_ema", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "_orig_mod.module."])
def test_what_trainers_put_around_weights_is_taken_off(wrapper: str | None, prefix: str, tmp_path: Path):
    state = timm_state()
    content: object = {f"{prefix}{key}": value for key, value in state.items()}
    if wrapper is not None:
        content = {wrapper: content, "epoch": 3, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "weights.pt")

    backbone = create_backbone("test_resnet")
    lines = load_pretrained(backbone, tmp_path / "weights.pt")

    check_taken(backbone, state)
    assert (f"({wrapper})" in lines[0]) == (wrapper is not None)
    beside = [] if wrapper is None else ["  not loaded: epoch, optimizer"]
    assert lines[1:] == ["  classifier left out: fc.weight, fc.bias", *beside]


def test_averaged_weights_go_before_the_last_ones(tmp_path: Path):
    averaged = timm_state(seed=1)
    torch.save({"state_dict": timm_state(), "state_dict_ema": averaged}, tmp_path / "weights.pth")

    backbone = create_backbone("test_resnet")
    load_pretrained(backbone, tmp_path / "weights.pth")

    check_taken(backbone, averaged)


def test_safetensors_are_read(tmp_path: Path):
    state = timm_state()
    save_file(state, tmp_path / "weights.safetensors")

    backbone = create_backbone("test_resnet")
    load_pretrained(backbone, tmp_path / "weights.safetensors")

    check_taken(backbone, state)


def test_a_video_network_starts_from_the_file_and_says_what_it_left_out(tmp_path: Path):
    state = timm_state()
    torch.save({**state, "extra.weight": torch.zeros(2)}, tmp_path / "weights.pth")

    model = create_model("test_resnet", temporal="tsm", num_classes=3, pretrained=tmp_path / "weights.pth")

    assert torch.equal(model.backbone.layer1[0].conv1.net.weight, state["layer1.0.conv1.weight"])
    first, left_out, unused = model.notes
    assert first.startswith(f"2D weights from {tmp_path / 'weights.pth'}: ")
    assert left_out == "  classifier left out: fc.weight, fc.bias"
    assert unused == "  unused: extra.weight"
    assert create_model("test_resnet", num_classes=3).notes == ()


@pytest.mark.parametrize("channels", [1, 2, 10])
def test_other_channels_get_the_first_conv_as_tsn_adapts_it(channels: int, tmp_path: Path):
    state = timm_state()
    torch.save(state, tmp_path / "weights.pth")

    backbone = create_backbone("test_resnet", in_channels=channels)
    load_pretrained(backbone, tmp_path / "weights.pth")

    first = next(key for key, value in state.items() if value.ndim == 4)
    red, green, blue = state[first].unbind(dim=1)
    wanted = torch.stack([(red + green + blue) / 3] * channels, dim=1) * (3 if channels == 1 else 1)
    torch.testing.assert_close(backbone.state_dict()[first], wanted)
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items() if key != first)


def test_old_files_have_no_counters(tmp_path: Path):
    state = {key: value for key, value in timm_state().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "weights.pth")

    backbone = create_backbone("test_resnet")
    lines = load_pretrained(backbone, tmp_path / "weights.pth")

    taken = len(state) - 2  # the classifier's are left out
    assert f"{taken} of {len(backbone.state_dict())} tensors taken" in lines[0]


def broken(state: State) -> dict[str, object]:
    """Content of files, by what is wrong with them."""
    wrong = {**state, "layer1.0.conv1.weight": torch.zeros(1, 2, 3, 3)}
    short = {key: value for key, value in state.items() if key != "layer1.0.conv1.weight"}
    return {
        "shape": wrong,
        "missing": short,
        "other": torchvision.models.squeezenet1_1(weights=None).state_dict(),
        "nothing": {"epoch": 3},
        "list": [torch.zeros(2)],
        "module": nn.Linear(2, 2),
    }


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("shape", r"layer1\.0\.conv1\.weight must have shape \[\d+, \d+, 3, 3\], got \[1, 2, 3, 3\]; take the same"),
        ("missing", r"got none for layer1\.0\.conv1\.weight, but fc\.weight, fc\.bias; take the same network"),
        ("other", r"got none for conv1\.0\.weight, .* and \d+ more, but features\.0\.weight"),
        ("nothing", r"must hold a state dict, got entries without tensors \(epoch\); nothing of it was run"),
        ("list", r"must hold a state dict, got an object of type list; nothing of it was run"),
        ("module", r"must hold a state dict, got an object of another program \(torch\.nn\.modules\.linear\.Linear"),
    ],
)
def test_what_does_not_fit_is_one_sentence(kind: str, sentence: str, tmp_path: Path):
    torch.save(broken(timm_state())[kind], tmp_path / "weights.pth")
    backbone = create_backbone("test_resnet")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}

    with pytest.raises(ValueError, match=rf"weights\.pth: .*{sentence}") as info:
        load_pretrained(backbone, tmp_path / "weights.pth")

    assert "\n" not in str(info.value)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


class Trap:
    """What a file could run if it were unpickled without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("sprung"),)  # type: ignore[return-value]


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.save({"state_dict": timm_state(), "trap": Trap()}, tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)

    lines = load_pretrained(create_backbone("test_resnet"), tmp_path / "weights.pth")

    assert lines[2].startswith("  not loaded: trap, ")
    assert not Path("sprung").exists()


def test_objects_of_a_trainer_are_named_and_not_loaded(tmp_path: Path):
    torch.save({"model": timm_state(), "args": argparse.Namespace(lr=0.1)}, tmp_path / "weights.pth")

    lines = load_pretrained(create_backbone("test_resnet"), tmp_path / "weights.pth")

    assert lines[2] == "  not loaded: args, argparse.Namespace"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q\x00.", b"\x80\x02K."])
def test_half_files_and_others_are_refused(name: str, content: bytes, tmp_path: Path):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=rf"{name}: the file must"):
        load_pretrained(create_backbone("test_resnet"), tmp_path / name)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth: there is no such file; pretrained takes a file of 2D"):
        create_model("test_resnet", num_classes=2, pretrained="nowhere.pth")


def test_a_kinema_model_is_no_file_of_2d_weights(tmp_path: Path):
    save_model(tmp_path / "video.safetensors", create_model("test_resnet", num_classes=2))

    with pytest.raises(
        ValueError, match=r"of another project, got one of kinema's own; .* start from it with model\.init"
    ):
        create_model("test_resnet", num_classes=2, pretrained=tmp_path / "video.safetensors")


def test_a_whole_video_network_starts_from_torchvisions_file(tmp_path: Path):
    torch.manual_seed(0)
    original = torchvision.models.video.mc3_18()
    torch.save(original.state_dict(), tmp_path / "mc3_18.pth")
    clip = torch.randn(1, 4, 3, 32, 32)

    model = create_model("mc3_18", num_frames=4, num_classes=2, pretrained=tmp_path / "mc3_18.pth").eval()

    original.fc = nn.Identity()
    torch.testing.assert_close(model.backbone(clip[0]), original.eval()(clip.transpose(1, 2)))
    assert model.notes[1] == "  classifier left out: fc.weight, fc.bias"
