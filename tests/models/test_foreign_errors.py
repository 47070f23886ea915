"""What an import says: of tensors that are missing, misfit or left over, of T, of classes, and of other networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from foreign_networks import MobileNet, ResNet
from kinema.data.annotations.class_list import read_class_names
from kinema.models.foreign.convert import import_weights
from kinema.models.foreign.hints import attention_mode, choose_num_divisions, choose_num_frames, is_scaled
from kinema.spec import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """The tensors of a TSM ResNet-18, by the official code's names."""
    network = ResNet("tsm", wrapper="module.")
    network(torch.zeros(1, 4, 3, 32, 32))
    return network.weights.tensors


def save(content: object, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def test_a_missing_tensor_is_named_as_the_file_would(tensors: dict[str, Tensor], tmp_path: Path):
    for name in ("module.base_model.layer3.1.conv2.weight", "module.base_model.bn1.running_var", "module.new_fc.bias"):
        path = save({key: value for key, value in tensors.items() if key != name}, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=rf"w\.pth: {name} must be among the file's tensors"):
            import_weights(path)


def test_a_missing_tensor_is_named_in_mmaction2s_words_too(tmp_path: Path):
    network = ResNet("mmaction2", pool=True)
    network(torch.zeros(1, 4, 3, 32, 32))
    del network.weights.tensors["backbone.layer2.net.1.conv1.conv.net.weight"]
    del network.weights.tensors["backbone.layer2.net.0.downsample.bn.weight"]
    with pytest.raises(ValueError, match=r"layer2\.net\.0\.downsample\.bn\.weight must be .* \(and 1 more\)"):
        import_weights(save(network.weights.tensors, tmp_path / "w.pth"))


def test_a_misfit_is_named_with_both_shapes(tensors: dict[str, Tensor], tmp_path: Path):
    name = "module.base_model.layer2.0.conv2.weight"
    path = save({**tensors, name: torch.zeros(128, 128, 1, 1)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"w\.pth: {name} must have shape \[128, 128, 3, 3\].*got \[128, 128, 1, 1\]"):
        import_weights(path)


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("module.other.weight", True),
        ("module.base_model.layer1.0.gate.weight", True),
        ("module.data_preprocessor.mean", False),
    ],
)
def test_tensors_that_are_left_over_are_named_and_warned_of(
    name: str, differs: bool, tensors: dict[str, Tensor], tmp_path: Path
):
    _, report = import_weights(save({**tensors, name: torch.ones(1)}, tmp_path / "w.pth"))

    assert report.unused == (name,)
    assert f"unused: {name}" in report.lines()
    assert bool([text for text in report.warnings if "logits may differ" in text and name in text]) == differs


def test_counters_may_be_missing_and_are_counted(tensors: dict[str, Tensor], tmp_path: Path):
    kept = {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
    model, report = import_weights(save(kept, tmp_path / "w.pth"))
    assert f"filled in: {len(tensors) - len(kept)} counters num_batches_tracked, with 0" in report.lines()
    assert model.backbone.bn1.num_batches_tracked == 0


def test_wrappers_may_stand_before_some_names_only(tensors: dict[str, Tensor], tmp_path: Path):
    mixed = {
        key.removeprefix("module.") if "new_fc" in key else f"_orig_mod.{key}": value for key, value in tensors.items()
    }
    _, report = import_weights(save(mixed, tmp_path / "w.pth"))
    assert (report.used, report.unused) == (len(tensors), ())


def test_half_precision_becomes_single(tensors: dict[str, Tensor], tmp_path: Path):
    halves = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    model, _ = import_weights(save(halves, tmp_path / "w.pth"))
    assert torch.equal(model.head.weight, halves["module.new_fc.weight"].float())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "meta", "given", "num_frames"),
    [
        ("w.pth", "", None, 8),
        ("w.pth", "", 5, 5),
        ("TSM_x_segment16_e50.pth", "", None, 16),
        ("TSM_x_segment16_e50/ckpt.best.pth.tar", "", None, 16),
        ("tsm_r50_8xb16-1x1x16-50e.pth", "", None, 16),
        ("segment16/w.pth", "", None, 8),
        ("TSM_segment16.pth", "", 4, 4),
        ("w_segment4.pth", "backbone=dict(num_segments=16)", None, 16),
        ("w.pth", "dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=3)", None, 3),
        ("w.pth", "dict(num_clips=25, num_segments=3)", None, 3),
    ],
)
def test_t_comes_from_the_caller_the_recipe_or_a_name(name: str, meta: str, given: int | None, num_frames: int):
    found, source = choose_num_frames(given, by_shape=None, text=meta, path=Path(name))
    assert found == num_frames
    assert source


@pytest.mark.parametrize(
    ("name", "meta", "divisions"),
    [
        ("TSM_shift4_blockres.pth", "", 4),
        ("shift8.pth", "shift_div=4", 4),
        ("w.pth", "'shift_div': 3", 3),
        ("w.pth", "", 8),
        ("shift1/w.pth", "", 8),
        ("TSM_something_RGB_resnet50_shift4_blockres_avg_segment8_e50/ckpt.best.pth.tar", "", 4),
    ],
)
def test_the_share_that_shifts_comes_from_the_recipe_or_a_name(name: str, meta: str, divisions: int):
    assert choose_num_divisions(text=meta, path=Path(name))[0] == divisions


@pytest.mark.parametrize(
    ("name", "text", "mode", "scaled"),
    [
        ("w.pth", "", None, None),
        ("tsm_r50-nl-dot-product_8xb16.pth", "", "dot_product", None),
        ("tsm_r50-nl-embedded-gaussian_8xb16.pth", "", "embedded_gaussian", None),
        ("tsm_nl_gaussian.pth", "", "gaussian", None),
        ("w.pth", "test_mode=True, non_local_cfg=dict(mode='dot_product')", "dot_product", True),
        (
            "dot-product.pth",
            "non_local_cfg=dict(use_scale=False, mode='embedded_gaussian')",
            "embedded_gaussian",
            False,
        ),
        ("w.pth", "'non_local_cfg': {'use_scale': True}", None, True),
    ],
)
def test_how_nonlocal_blocks_attend_comes_from_the_recipe_or_a_name(
    name: str, text: str, mode: str | None, scaled: bool | None
):
    assert (attention_mode(text=text, path=Path(name)), is_scaled(text)) == (mode, scaled)


def test_what_the_recipe_says_is_built(tmp_path: Path):
    network = ResNet("tsm", divisions=4)
    clips = torch.randn(1, 4, 3, 32, 32)
    wanted = network(clips)
    meta = {"cfg": "backbone=dict(num_segments=4, shift_div=4)"}
    model, report = import_weights(save({"state_dict": network.weights.tensors, "meta": meta}, tmp_path / "w.pth"))
    torch.testing.assert_close(model.double()(clips.double()), wanted, rtol=1e-5, atol=1e-5)
    assert (report.config.options, model.spec.num_frames) == ({"num_divisions": 4}, 4)
    assert "note: T = 4: by the file's own recipe" in report.lines()


def test_the_spec_is_the_one_of_the_projects(tensors: dict[str, Tensor], tmp_path: Path):
    spec = import_weights(save(tensors, tmp_path / "w.pth"))[0].spec
    assert (spec.resize, spec.crop, spec.interpolation) == (256, 224, "bilinear")
    assert (spec.mean, spec.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(("project", "mean", "std"), [("tsm", 0.5, 0.226), ("mmaction2", 128 / 255, 128 / 255)])
def test_flow_is_normalized_as_its_project_does(project: str, mean: float, std: float, tmp_path: Path):
    network = ResNet(project, in_channels=10)
    network(torch.zeros(1, 4, 10, 32, 32))
    model, report = import_weights(save(network.weights.tensors, tmp_path / "w.pth"))
    assert (model.spec.modality, model.spec.stack, model.config.in_channels) == ("flow", 5, 10)
    assert model.spec.mean == pytest.approx([mean] * 2)
    assert model.spec.std == pytest.approx([std] * 2)
    assert [text for text in report.warnings if "optical flow" in text]


def test_other_inputs_are_refused(tmp_path: Path):
    network = ResNet("tsm", in_channels=15)
    network(torch.zeros(1, 4, 15, 32, 32))
    with pytest.raises(ValueError, match=r"3 channels \(RGB\) or 10 \(five fields of flow\), got 15"):
        import_weights(save(network.weights.tensors, tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["module.base_model.inception_3a_1x1.weight", "module.base_model.conv1_7x7_s2.weight"], "a BNInception"),
        (["backbone.layer1.0.conv1.conv.net1.conv.weight"], "a TIN"),
        (["module.base_model.layer1.0.conv1.action_p1_conv1.weight"], "an ACTION-Net"),
        (
            ["module.consensus.fc_fusion_scales.0.1.weight", "module.base_model.conv1.weight"],
            r"a relation head \(TRN\)",
        ),
        (["backbone.slow_path.conv1.conv.weight"], "a SlowFast network"),
        (["backbone.blocks.0.attn.qkv.weight"], "a transformer"),
        (["encoder.weight"], "tensors like encoder.weight"),
    ],
)
def test_networks_that_are_not_known_are_called_what_they_are(names: list[str], what: str, tmp_path: Path):
    with pytest.raises(ValueError, match=rf"w\.pth: the network must be of a known layout, got {what}.*; known are "):
        import_weights(save({name: torch.zeros(2, 2) for name in names}, tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"module.base_model.layer5.0.conv1.weight": torch.zeros(1)},
            r"a ResNet that timm has, got stages of \[2, 2, 2,",
        ),
        ({"module.base_model.conv1.weight": torch.zeros(64, 3, 1, 7, 7)}, "conv1.weight must have the 4 axes .* a 3D"),
        ({"module.new_fc.weight": torch.zeros(5, 512, 1)}, r"new_fc.weight must have shape \[classes, features\]"),
        ({"module.base_model.conv1.weight": None}, "the network must have the first convs of a ResNet"),
        ({"module.new_fc.weight": None}, "got a network without a classifier"),
    ],
)
def test_what_is_odd_about_a_known_layout_is_one_sentence(
    change: dict[str, Tensor | None], sentence: str, tensors: dict[str, Tensor], tmp_path: Path
):
    changed = {key: value for key, value in {**tensors, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=rf"w\.pth: .*{sentence}") as caught:
        import_weights(save(changed, tmp_path / "w.pth"))
    assert "\n" not in str(caught.value)


def test_a_mobilenet_of_another_width_is_refused(tmp_path: Path):
    network = MobileNet("tsm", trunk="module.base_model.", head="module.new_fc")
    network(torch.zeros(1, 4, 3, 32, 32))
    network.weights.tensors["module.base_model.features.0.0.weight"] = torch.zeros(24, 3, 3, 3)
    with pytest.raises(ValueError, match="a MobileNetV2 that timm has, got one with 24 channels"):
        import_weights(save(network.weights.tensors, tmp_path / "w.pth"))


def test_a_recipe_of_caffes_resnets_is_refused(tensors: dict[str, Tensor], tmp_path: Path):
    path = save({"state_dict": tensors, "meta": {"cfg": "backbone=dict(style='caffe')"}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="got one of style caffe by its recipe"):
        import_weights(path)


def test_classes_are_numbered_with_a_warning_unless_they_are_known(tensors: dict[str, Tensor], tmp_path: Path):
    path = save(tensors, tmp_path / "w.pth")
    model, report = import_weights(path)
    assert model.spec.class_names == tuple(f"class_{number}" for number in range(5))
    assert [text for text in report.warnings if text.startswith("classes are called class_0 to class_4")]
    model, report = import_weights(path, class_names=list("vwxyz"))
    assert (model.spec.class_names, report.warnings) == (tuple("vwxyz"), ())
    with pytest.raises(ValueError, match=r"w\.pth: class names must be as many as the file's classes, 5, got 4"):
        import_weights(path, class_names=list("abcd"))


@pytest.mark.parametrize("meta", [{"CLASSES": list("edcba")}, {"dataset_meta": {"classes": tuple("edcba")}}])
def test_classes_of_the_file_itself_keep_their_order(
    meta: dict[str, object], tensors: dict[str, Tensor], tmp_path: Path
):
    model, report = import_weights(save({"state_dict": tensors, "meta": meta}, tmp_path / "w.pth"))
    assert (model.spec.class_names, report.warnings) == (tuple("edcba"), ())


@pytest.mark.parametrize(
    ("text", "order", "names"),
    [
        ("a\nb, c\n\nd\n", None, ("a", "b, c", "d")),
        ('b\n"a"\n', "file", ("b", "a")),
        ("b\r\na", "alphabetical", ("a", "b")),
        ("\ufeffa\nb", None, ("a", "b")),
        ('["b", "a"]', "file", ("b", "a")),
        ('{"x": "1", "w": "0", "z": 2}', None, ("w", "x", "z")),
        ('{"x": "0", "w": "1"}', "alphabetical", ("w", "x")),
        ('{"0": "x", "1": "w"}', "file", ("x", "w")),
        ('id,name\n0,b\n1,"a, c"\n', "file", ("b", "a, c")),
    ],
)
def test_class_names_are_read_from_every_form(text: str, order: str | None, names: tuple[str, ...], tmp_path: Path):
    (tmp_path / "names").write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / "names", order=order) == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("b\na\n", r"class_order must be chosen .* \(its class 0 is 'b', in the alphabet it is 'a'\)"),
        ("", "there must be class names in the file, got none"),
        ("a\na\n", "class names must be distinct, got 'a' more than once"),
        ('{"a": 0, "b": 2}', "the numbers from 0 on"),
        ("[1, 2]", "a list of names"),
        ("[", "broken JSON"),
        ("id,name\n1,a\n", "rows of a number and a name, from 0 on"),
    ],
)
def test_class_names_that_cannot_be_read_or_ordered_are_refused(text: str, sentence: str, tmp_path: Path):
    (tmp_path / "names").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        read_class_names(tmp_path / "names")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "w.pth",
            {"neck.conv.weight": torch.ones(1)},
            "got a network with a neck between trunk and head, as TPN; known",
        ),
        ("c2d_r50-in1k.pth", {}, "must be a TSN, TSM or TANet, got a C2D by the file's recipe or name"),
        ("tpn-tsm_r50.pth", {}, "must be a TSN, TSM or TANet, got a TPN by the file's recipe or name"),
    ],
)
def test_networks_with_the_names_of_another_are_refused(
    name: str, content: dict[str, Tensor], sentence: str, tensors: dict[str, Tensor], tmp_path: Path
):
    with pytest.raises(ValueError, match=sentence):
        import_weights(save({**tensors, **content}, tmp_path / name))


def test_a_recipe_of_another_network_is_refused(tensors: dict[str, Tensor], tmp_path: Path):
    recipe = "model = dict(backbone=dict(depth=50, type='C2D'), type='Recognizer3D')"

    with pytest.raises(ValueError, match="got a C2D by the file's recipe or name"):
        import_weights(save({"state_dict": tensors, "meta": {"cfg": recipe}}, tmp_path / "w.pth"))


def test_whole_numbers_are_no_weights(tensors: dict[str, Tensor], tmp_path: Path):
    name = "module.base_model.layer1.0.conv2.weight"
    path = save({**tensors, name: tensors[name].to(torch.int8)}, tmp_path / "w.pth")

    with pytest.raises(ValueError, match=rf"{name} must hold floating-point numbers, got int8"):
        import_weights(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth: there is no such file; give the path of a checkpoint"):
        import_weights(tmp_path / "nowhere.pth")
    with pytest.raises(FileNotFoundError, match=r"names\.txt: there is no such file; give one with the names"):
        read_class_names(tmp_path / "names.txt")
