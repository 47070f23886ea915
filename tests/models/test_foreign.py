"""Checkpoints of other projects: through our own model, the logits of a slow reference on the file's names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from foreign_networks import NONLOCAL_PLACES, MobileNet, ResNet
from kinema.models.foreign.convert import ImportReport, import_weights
from kinema.models.weights import load_model, read_metadata, save_model

CONFIG = "model = dict(backbone=dict(type='ResNetTSM', num_segments=4, shift_div=8, non_local_cfg=dict({})))"


def draw(network: ResNet | MobileNet, *, size: int = 32) -> tuple[Tensor, Tensor]:
    """Clips and the reference's logits for them; draws the weights."""
    channels = network.in_channels if isinstance(network, ResNet) else 3
    clips = torch.randn(2, network.num_frames, channels, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return clips, network(clips)


def expect_same_logits(
    network: ResNet | MobileNet, path: Path, *, content: object = None, size: int = 32, **arguments: object
) -> ImportReport:
    """Writes a checkpoint, imports it, and holds the model against the reference, before and after saving."""
    clips, wanted = draw(network, size=size)
    tensors = network.weights.tensors
    torch.save({"state_dict": tensors, "epoch": 3} if content is None else content, path)
    arguments.setdefault("num_frames", network.num_frames)
    model, report = import_weights(path, **arguments)
    assert wanted.std() > 0.01
    with torch.no_grad():
        torch.testing.assert_close(model.double()(clips.double()), wanted, rtol=1e-5, atol=1e-5)
        order = torch.arange(network.num_frames).roll(1)
        moved = model(clips[:, order].double())
    sees_order = report.config.temporal not in (("none",), ("nonlocal",))
    assert sees_order == (not torch.allclose(moved, wanted, rtol=1e-4, atol=1e-4))
    assert (report.used, report.unused) == (len(tensors), ())
    return report


@pytest.mark.parametrize(
    ("network", "layout", "options"),
    [
        (ResNet("tsm", wrapper="module."), "ResNet, official code of TSM", {}),
        (ResNet("tsm", place="", wrapper="module."), "ResNet, official code of TSM", {}),
        (ResNet("tsm", place="block", wrapper="module."), "ResNet, official code of TSM", {"site": "block"}),
        (ResNet("tsm", pool=True, wrapper="module."), "ResNet, official code of TSM", {"temporal_pool": True}),
        (ResNet("tsm", in_channels=10, head="base_model.fc"), "ResNet, official code of TSM", {}),
        pytest.param(ResNet("tsm", depth=34), "ResNet, official code of TSM", {}, marks=pytest.mark.slow),
        (ResNet("mmaction2"), "ResNet, mmaction2", {}),
        (ResNet("mmaction2", place=""), "ResNet, mmaction2", {}),
        (ResNet("mmaction2", place="block"), "ResNet, mmaction2", {"site": "block"}),
        (ResNet("mmaction2", pool=True, wrapper="module."), "ResNet, mmaction2", {"temporal_pool": True}),
        (ResNet("torchvision", place="", head="fc"), "ResNet, names of torchvision", {}),
        (
            ResNet("torchvision", place="", wrapper="backbone.", head=".."),
            "ResNet of torchvision, mmaction2",
            {},
        ),
    ],
    ids=lambda value: "" if not isinstance(value, ResNet) else f"{value.project}-{value.place}-{value.pool}",
)
def test_resnets_give_the_reference_logits(network: ResNet, layout: str, options: dict[str, object], tmp_path: Path):
    if network.head.endswith(".."):
        network.head = "cls_head.fc_cls"
    report = expect_same_logits(network, tmp_path / "weights.pth")
    assert report.layout == layout
    assert report.config.backbone == f"resnet{network.depth}"
    assert report.config.temporal == (("tsm",) if network.place else ("none",))
    assert report.config.options == options
    assert report.not_loaded == ("epoch",)


@pytest.mark.slow
@pytest.mark.parametrize("project", ["tsm", "mmaction2"])
def test_bottlenecks_give_the_reference_logits(project: str, tmp_path: Path):
    report = expect_same_logits(ResNet(project, depth=50, wrapper="module."), tmp_path / "weights.pth")
    assert report.config.backbone == "resnet50"


@pytest.mark.slow
@pytest.mark.parametrize("project", ["tsm", "mmaction2"])
def test_deep_resnets_have_a_shift_in_every_second_block(project: str, tmp_path: Path):
    report = expect_same_logits(ResNet(project, depth=101, num_frames=2), tmp_path / "weights.pth")
    assert report.config.options == {}


@pytest.mark.parametrize(
    "project", ["tanet", *(pytest.param(one, marks=pytest.mark.slow) for one in ("tanet-old", "mmaction2"))]
)
def test_tanet_gives_the_reference_logits_and_has_its_own_t(project: str, tmp_path: Path):
    network = ResNet(project, depth=50, place="", tam=True, wrapper="module." if project != "mmaction2" else "")
    report = expect_same_logits(network, tmp_path / "weights.pth", num_frames=None)
    assert (report.config.temporal, report.config.num_frames) == (("tam",), 4)
    assert (
        report.layout
        == {
            "tanet": "TANet, official code",
            "tanet-old": "TANet, official code with its first names",
            "mmaction2": "TANet, mmaction2",
        }[project]
    )
    with pytest.raises(ValueError, match=r"weights\.pth: num_frames must be the 4 .* got 8"):
        import_weights(tmp_path / "weights.pth", num_frames=8)


@pytest.mark.parametrize(
    ("network", "temporal"),
    [
        (MobileNet("tsm", trunk="module.base_model.", head="module.base_model.classifier"), "tsm"),
        (MobileNet("tsm", trunk="module.base_model.", head="module.new_fc"), "tsm"),
        (MobileNet("tsm", trunk="module.base_model.", head="module.new_fc", shifted=False), "none"),
        (MobileNet("mmaction2", trunk="backbone.", head="cls_head.fc_cls"), "tsm"),
        (MobileNet("mmaction2", trunk="backbone.", head="cls_head.fc_cls", shifted=False), "none"),
        (MobileNet("torchvision", head="classifier.1", shifted=False), "none"),
        (MobileNet("torchvision", trunk="backbone.", head="cls_head.fc_cls", shifted=False), "none"),
    ],
)
def test_mobilenets_give_the_reference_logits(network: MobileNet, temporal: str, tmp_path: Path):
    report = expect_same_logits(network, tmp_path / "weights.pth")
    assert (report.config.backbone, report.config.temporal) == ("mobilenetv2_100", (temporal,))
    assert report.config.options == {}


def test_the_online_demo_looks_only_back_by_its_name_or_by_choice(tmp_path: Path):
    path = tmp_path / "mobilenetv2_jester_online.pth.tar"
    report = expect_same_logits(MobileNet("tsm", online=True, classes=27), path)
    assert (report.config.temporal, report.config.causal) == (("tsm",), True)
    other = path.rename(tmp_path / "jester.pth")
    with pytest.raises(ValueError, match="shift must be chosen for a MobileNetV2"):
        import_weights(other)
    assert import_weights(other, shift="online")[1].config.causal
    assert import_weights(other, shift="none")[1].config.temporal == ("none",)


def test_shifts_that_no_name_shows_can_be_said_of_resnets_too(tmp_path: Path):
    network = ResNet("tsm", place="")
    draw(network)
    torch.save(network.weights.tensors, tmp_path / "w.pth")
    model, report = import_weights(tmp_path / "w.pth", shift="online")
    assert (report.config.temporal, report.config.causal, report.unused) == (("tsm",), True, ())
    assert "layer1.0.conv1.net.weight" in model.backbone.state_dict()


def test_shifts_that_only_look_back_can_be_said_of_names_that_show_them(tmp_path: Path):
    report = expect_same_logits(ResNet("tsm", online=True), tmp_path / "w.pth", shift="online")
    assert report.config.causal
    with pytest.raises(ValueError, match="shift must be auto or online for names with TSM's marks"):
        import_weights(tmp_path / "w.pth", shift="none")


@pytest.mark.parametrize("place", ["blockres", "block"])
def test_shifts_in_unusual_blocks_stay_there(place: str, tmp_path: Path):
    network = ResNet("tsm", place=place, shifted={(1, 1), (3, 0), (4, 1)})
    report = expect_same_logits(network, tmp_path / "w.pth")
    end = ".conv1" if place == "blockres" else ""
    assert report.config.options == {"sites": [f"layer1.1{end}", f"layer3.0{end}", f"layer4.1{end}"]}


@pytest.mark.parametrize(
    ("project", "place"),
    [
        ("tsm", "blockres"),
        pytest.param("mmaction2", "blockres", marks=pytest.mark.slow),
        pytest.param("tsm", "", marks=pytest.mark.slow),
        pytest.param("mmaction2", "", marks=pytest.mark.slow),
    ],
)
def test_nonlocal_blocks_give_the_reference_logits(project: str, place: str, tmp_path: Path):
    network = ResNet(project, depth=50, place=place, nonlocals=NONLOCAL_PLACES)
    report = expect_same_logits(network, tmp_path / "w.pth")
    assert report.config.temporal == (("tsm", "nonlocal") if place else ("nonlocal",))
    assert len(report.filled) == (5 if project == "mmaction2" else 0)  # mmcv's last conv has no bias before its norm


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ("use_scale=False, mode='embedded_gaussian'", {}),
        ("sub_sample=True, mode='embedded_gaussian'", {"scaled": True}),
        ("use_scale=True", {"subsample": False, "nonlocal_norm": False, "scaled": True}),
    ],
)
def test_the_recipe_says_how_mmaction2s_nonlocal_blocks_attend(config: str, fields: dict[str, bool], tmp_path: Path):
    network = ResNet("mmaction2", depth=50, nonlocals=NONLOCAL_PLACES, **fields)
    draw(network)
    content = {"state_dict": network.weights.tensors, "meta": {"cfg": CONFIG.format(config)}}
    expect_same_logits(network, tmp_path / "w.pth", content=content)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tsm_nl-dot-product_r50.pth", "tsm_nl-gaussian_r50.pth"])
def test_nonlocal_blocks_of_another_mode_are_refused(name: str, tmp_path: Path):
    network = ResNet("mmaction2", depth=50, nonlocals=NONLOCAL_PLACES)
    draw(network)
    torch.save(network.weights.tensors, tmp_path / name)
    with pytest.raises(ValueError, match="Non-local blocks must be of mode embedded_gaussian, got"):
        import_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "suffix"), [("legacy", ".pth.tar"), ("zip", ".pth"), ("safetensors", ".safetensors"), ("model", ".pt")]
)
def test_every_kind_of_file_gives_the_same_model(kind: str, suffix: str, tmp_path: Path):
    from safetensors.torch import save_file

    network, path = ResNet("tsm", wrapper="module."), tmp_path / f"w{suffix}"
    clips, wanted = draw(network)
    if kind == "safetensors":
        save_file(network.weights.tensors, path)
    else:
        content = {"model" if kind == "model" else "state_dict": network.weights.tensors}
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    model, _ = import_weights(path, num_frames=4)
    torch.testing.assert_close(model.double()(clips.double()), wanted, rtol=1e-5, atol=1e-5)


def test_a_model_that_was_imported_can_be_saved_and_says_where_it_is_from(tmp_path: Path):
    network = ResNet("mmaction2")
    clips, wanted = draw(network)
    torch.save(network.weights.tensors, tmp_path / "theirs.pth")
    model, report = import_weights(tmp_path / "theirs.pth", num_frames=4, class_names="abcde")
    save_model(tmp_path / "ours.safetensors", model, metadata={"origin": report.to_json()})
    loaded = load_model(tmp_path / "ours.safetensors")
    torch.testing.assert_close(loaded.double()(clips.double()), wanted, rtol=1e-5, atol=1e-5)
    assert loaded.spec.class_names == tuple("abcde")
    origin = json.loads(read_metadata(tmp_path / "ours.safetensors")["origin"])
    assert (origin["file"], origin["layout"]) == ("theirs.pth", "ResNet, mmaction2")
    assert str(tmp_path) not in json.dumps(origin)
