"""Every recipe is read, is named after its network, and agrees with its comments, its neighbours and the papers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, replace

import pytest
import timm
import torch
import yaml

from kinema.cli import main
from kinema.compare.sth_paper import TABLES
from kinema.demo.config import DemoConfig
from kinema.models.classifier import create_model
from pages import DOCS, load_script
from recipe_files import (
    FOLDER,
    PAPER_RECIPES,
    RECIPES,
    commands,
    comments,
    name_of,
    printed_numbers,
    read_recipe,
    temporal_of,
    views_of,
)
from sth_accuracies import ABLATIONS, ACCURACIES, FUSED

FORMATS = {
    "something_v1": "something_v1",
    "something_v2": "something_v2",
    "jester": "jester",
    "kinetics400": "kinetics",
    "ucf101": "ucf101",
    "hmdb51": "hmdb51",
}
NUM_CLASSES = {
    "something_v1": 174,
    "something_v2": 174,
    "jester": 27,
    "kinetics400": 400,
    "ucf101": 101,
    "hmdb51": 51,
}
ABLATION_FOLDER = FOLDER / "something_v1" / "ablations"

every_recipe = pytest.mark.parametrize("path", RECIPES, ids=name_of)
every_paper_recipe = pytest.mark.parametrize("path", PAPER_RECIPES, ids=name_of)


def dataset_of(path):
    return path.relative_to(FOLDER).parts[0]


def flat(recipe):
    """All values of a recipe by their dotted names; options of the layer are one value."""
    groups = {name: value for name, value in asdict(recipe).items() if isinstance(value, dict)}
    values = {name: value for name, value in asdict(recipe).items() if name not in groups}
    return values | {f"{group}.{name}": value for group, inner in groups.items() for name, value in inner.items()}


def differing(one, other):
    one, other = flat(one), flat(other)
    return {name for name in one if one[name] != other[name]}


def test_there_are_recipes_of_every_dataset():
    assert Counter(dataset_of(path) for path in PAPER_RECIPES).keys() == FORMATS.keys()
    assert len(RECIPES) - len(PAPER_RECIPES) == 4


@every_recipe
def test_a_recipe_is_named_after_its_network(path):
    recipe = read_recipe(path)
    backbone = recipe.model.backbone.partition(".")[0]
    ending = f"{'_'.join(temporal_of(recipe))}_{recipe.clip.num_frames}f"
    if path in PAPER_RECIPES:
        assert path.stem == f"{backbone}_{ending}" or path.stem.startswith(f"{backbone}_{ending}_")
        assert recipe.out == f"runs/{name_of(path)}"
    else:
        assert path.stem in (f"{backbone}_{ending}", f"footage_{ending}")
        assert path.stem.removeprefix("footage_") in recipe.out


def test_all_weights_are_named_in_full_and_published():
    names = {read_recipe(path).model.backbone for path in PAPER_RECIPES}
    assert names == {"resnet50.tv_in1k", "resnet101.tv_in1k", "mobilenetv2_100.ra_in1k"}
    assert all(timm.models.is_model_pretrained(name) for name in names)


@every_paper_recipe
def test_a_name_tells_what_is_unusual_of_the_clips(path):
    recipe = read_recipe(path)
    words = path.stem.split("_")
    assert ("dense" in words) == (recipe.clip.sampling == "dense")
    assert ("flow" in words) == (recipe.clip.modality == "flow")
    assert ("rgbdiff" in words) == (recipe.clip.modality == "rgbdiff")
    assert ("online" in words) == recipe.model.causal


@every_paper_recipe
def test_a_recipe_names_its_data_its_weights_and_the_protocol_of_training(path):
    recipe = read_recipe(path)
    dataset = dataset_of(path)
    on_flow = recipe.clip.modality == "flow"
    assert recipe.data.root == f"data/{dataset}{'_flow' * on_flow}"
    assert recipe.data.format == ("auto" if on_flow else FORMATS[dataset])
    assert "." in recipe.model.backbone
    assert recipe.model.pretrained is True or recipe.model.init
    assert (recipe.clip.resize, recipe.clip.crop, recipe.optimizer.name) == (256, 224, "sgd")
    assert recipe.trainer.batch_size * recipe.trainer.accumulate == recipe.optimizer.reference_batch
    milestones = recipe.optimizer.milestones
    assert milestones == sorted(milestones)
    assert max(milestones) < recipe.trainer.epochs


WRITTEN = {
    "augment": {"crop", "mirror"},
    "clip": {"num_frames", "sampling", "resize", "crop", "modality"},
    "data": {"root", "format"},
    "model": {"backbone", "temporal", "dropout"},
    "optimizer": {
        *("name", "momentum", "learning_rate", "weight_decay", "decay", "bias_rate", "head_rate", "first_conv_rate"),
        *("reference_batch", "warmup_epochs", "schedule", "milestones", "gamma"),
    },
    "trainer": {"epochs", "batch_size", "accumulate", "clip_norm", "batch_norm"},
}
"""What a paper's recipe writes down though it may be the default."""


@every_paper_recipe
def test_a_recipe_is_a_whole_that_does_not_lean_on_defaults(path):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values.keys() == {"seed", "out", *WRITTEN}
    for group, names in WRITTEN.items():
        assert names <= values[group].keys(), group
    has_splits = dataset_of(path) in ("ucf101", "hmdb51") and values["clip"]["modality"] != "flow"
    assert ("fold" in values["data"]) == has_splits


@every_paper_recipe
def test_comments_say_what_is_printed_how_it_is_scored_and_who_says_what(path):
    recipe, text = read_recipe(path), comments(path)
    lines = text.splitlines()
    assert re.search(rf", {recipe.clip.num_frames} (frames|stacks of .+), on .+\.$", lines[0])
    assert any(line.startswith("paper: ") for line in lines)
    where = "FLOW_FOLDER" if recipe.clip.modality == "flow" else "FOLDER"
    assert commands(path, "train") == [f"kinema train --config recipes/{name_of(path)}.yaml --data.root {where}"]
    scored = commands(path, "evaluate")
    for command in scored:
        assert command.startswith(f"kinema evaluate {recipe.out}/last.safetensors --data.root {where}")
    views = [views_of(command) for command in scored]
    assert len(views) == len(set(views)) >= 1
    printed = {number.views for number in printed_numbers(path)}
    assert printed <= set(views)
    assert printed == set(views) or "paper: no number; " in text
    for start in ("Stated: ", "Our choice: ", "Batch: "):
        assert sum(line.startswith(start) for line in lines) == 1, start


@every_paper_recipe
def test_comments_name_the_batch_the_rate_and_the_start_of_the_recipe(path):
    recipe, text = read_recipe(path), comments(path)
    batch, accumulate = recipe.trainer.batch_size, recipe.trainer.accumulate
    reference, rate = recipe.optimizer.reference_batch, recipe.optimizer.learning_rate
    devices = int(re.search(r"--trainer\.devices (\d+) --trainer\.accumulate", text)[1])
    assert f"Batch: {reference} clips a step, {batch} at a time on one GPU; on {devices} GPUs the same step" in text
    assert f"--trainer.devices {devices} --trainer.accumulate {accumulate // devices}." in text
    assert devices <= 8
    assert accumulate % devices == 0
    assert f"the rate is scaled from {rate:g} at {reference}." in text
    assert ("Starts on Kinetics-400" in text) == (recipe.model.init is not None)
    assert ("Three splits" in text) == (dataset_of(path) in ("ucf101", "hmdb51"))


@every_paper_recipe
def test_what_starts_on_kinetics_starts_from_the_weights_of_a_recipe(path):
    recipe = read_recipe(path)
    if recipe.model.init is None:
        return
    folder, name = recipe.model.init.rsplit("/", 1)
    assert name == "last.safetensors"
    source = FOLDER / f"{folder.removeprefix('runs/')}.yaml"
    origin = read_recipe(source)
    assert origin.out == folder
    assert origin.model.backbone == recipe.model.backbone
    assert origin.model.temporal == recipe.model.temporal
    assert origin.model.options == recipe.model.options
    assert f"run recipes/{name_of(source)}.yaml first" in comments(path)


def test_all_numbers_of_the_paper_have_a_recipe_that_cites_them_as_they_are():
    cited, fused, ablations = {}, {}, {}
    for path in PAPER_RECIPES:
        recipe = read_recipe(path)
        for number in printed_numbers(path):
            table = re.search(r"STH, table (\d)(?:, (?!validation)(.+))?", number.source)
            if table is None:
                continue
            accuracies = float(number.top1), None if number.top5 is None else float(number.top5)
            row = (int(table[1]), dataset_of(path), temporal_of(recipe)[0], recipe.clip.num_frames)
            if table[2]:
                ablations[int(table[1]), table[2]] = accuracies
            elif number.kind == "fused":
                other = read_recipe(path.parent / number.other)
                frames = recipe.clip.num_frames + other.clip.num_frames
                fused[(*row[:3], frames)] = accuracies
            else:
                assert row not in cited
                cited[row] = accuracies
    assert cited == ACCURACIES
    assert fused == FUSED
    assert ablations == ABLATIONS


def test_each_network_of_the_papers_ablations_has_a_recipe():
    known = []
    for path in ABLATION_FOLDER.glob("*.yaml"):
        recipe = read_recipe(path)
        known.append((recipe.model.temporal, plain_options(recipe.model.options)))
    for table in TABLES:
        if table.number in (6, 7):
            for row in table.rows:
                for network in row.ours:
                    assert (network.temporal, plain_options(network.options)) in known, row.name


def plain_options(options):
    """Options of `sth` without those that say what is the default anyway."""
    default = {"fraction": 0.25, "arrangement": "hybrid", "fusion": "attention", "dilation": "fixed"}
    return {name: value for name, value in options.items() if default.get(name) != value}


@pytest.mark.parametrize("path", sorted(ABLATION_FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_ablation_differs_from_the_network_it_takes_apart_in_the_layer_alone(path):
    base = read_recipe(FOLDER / "something_v1" / "resnet50_sth_8f.yaml")
    differs = differing(read_recipe(path), base)
    assert differs <= {"model.temporal", "model.options", "out"}
    assert differs > {"out"} or path.stem == "resnet50_sth_8f_dilated"


LONGER = {"out", "clip.num_frames", "trainer.batch_size", "trainer.accumulate", "model.init"}


@pytest.mark.parametrize("path", [path for path in PAPER_RECIPES if "_16f" in path.stem], ids=name_of)
def test_sixteen_frames_differ_from_eight_in_nothing_else(path):
    shorter = path.with_name(path.name.replace("_16f", "_8f"))
    flow = {"data.root", "data.format", "clip.modality", "clip.stack", "optimizer.first_conv_rate"}
    may = LONGER | ({"optimizer.reference_batch"} if "stm" in path.stem else set())
    if not shorter.is_file() and "flow" in path.stem:
        shorter, may = path.with_name(shorter.name.replace("_flow", "")), may | flow
    if not shorter.is_file():
        assert not list(path.parent.glob(f"{path.stem.partition('_16f')[0]}_8f*"))
        return
    assert differing(read_recipe(path), read_recipe(shorter)) <= may


def test_the_page_of_recipes_has_the_numbers_of_their_comments():
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert load_script("recipes").fill(page) == page, "run python docs/recipes.py"
    for path in PAPER_RECIPES:
        assert f"](../recipes/{name_of(path)}.yaml) |" in page


def test_a_number_that_is_not_as_it_must_be_is_refused():
    with pytest.raises(ValueError, match=r"a number must stand as .*got 'paper: 46\.8 top-1; 1 clip; ours'"):
        load_script("recipes").parse("paper: 46.8 top-1; 1 clip; ours")


def test_commands_in_comments_are_of_the_command_line_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [line for path in PAPER_RECIPES for line in commands(path, "evaluate")]
    by_flags = {tuple(re.findall(r"--\S+", line)): line for line in lines}
    assert len(by_flags) == 3  # with and without views, and with a fold
    for line in by_flags.values():
        assert main([*line.split()[1:]]) != 0
        assert ".safetensors" in capsys.readouterr().err


def test_a_recipe_goes_through_the_command_line_with_the_flags_of_its_comments(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = FOLDER / "ucf101" / "resnet50_sth_16f.yaml"
    flags = ["--data.root", "absent", "--data.fold", "2", "--trainer.devices", "16", "--trainer.accumulate", "1"]
    assert main(["train", "--config", str(path), *flags, "--out", "runs/fold2"]) != 0
    assert "absent" in capsys.readouterr().err


PARAMETERS = {
    "something_v1/resnet50_none_8f": 23_864_558,
    "something_v1/resnet50_tsm_8f": 23_864_558,
    "something_v1/resnet50_sth_8f": 23_235_822,
    "something_v1/resnet50_sth_16f": 23_235_822,
    "something_v1/ablations/resnet50_sth_8f_fraction_1_8": 22_921_454,
    "something_v1/ablations/resnet50_sth_8f_fraction_1_4": 21_978_350,
    "something_v1/ablations/resnet50_sth_8f_fraction_1_2": 20_092_142,
    "something_v1/ablations/resnet50_sth_8f_merge": 21_978_350,
    "something_v1/ablations/resnet50_conv2plus1d_sequential_8f": 27_636_974,
    "something_v1/ablations/resnet50_conv2plus1d_parallel_8f": 27_636_974,
    "something_v1/resnet50_stm_8f": 24_035_194,
    "something_v1/resnet50_tam_8f": 25_127_246,
    "something_v1/resnet50_tam_16f": 25_134_670,
    "jester/resnet50_sth_8f": 22_934_619,
    "kinetics400/resnet50_sth_16f": 23_698_896,
    "kinetics400/resnet50_stsm_8f": 24_327_632,
    "kinetics400/resnet50_stm_16f": 24_498_268,
    "ucf101/resnet50_sth_16f": 23_086_245,
    "hmdb51/resnet50_sth_16f": 22_983_795,
}
"""As counted by hand from the papers' descriptions."""


def make_network(recipe, *, num_classes):
    return create_model(
        recipe.model.backbone,
        temporal=recipe.model.temporal,
        num_frames=recipe.clip.num_frames,
        num_classes=num_classes,
        modality=recipe.clip.modality,
        stack=recipe.clip.stack,
        dropout=recipe.model.dropout,
        causal=recipe.model.causal,
        head=recipe.model.head,
        **recipe.model.options,
    )


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_the_parameters_of_its_paper(name):
    with torch.device("meta"):
        model = make_network(read_recipe(FOLDER / f"{name}.yaml"), num_classes=NUM_CLASSES[name.partition("/")[0]])
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("path", [path for path in RECIPES if path not in PAPER_RECIPES], ids=name_of)
def test_a_recipe_on_made_up_data_builds_a_network_that_takes_its_clips(path):
    recipe = read_recipe(path)
    model, size = make_network(recipe, num_classes=8), recipe.clip.crop
    with torch.inference_mode():
        logits = model.eval()(torch.zeros(1, recipe.clip.num_frames, 3, size, size))
    assert logits.shape == (1, 8)


@pytest.mark.parametrize("temporal", ["none", "tsm", "sth"])
def test_the_recipes_of_the_built_in_motions_are_those_of_the_demo(temporal):
    recipe = read_recipe(FOLDER / "motion" / f"test_resnet_{temporal}_8f.yaml")
    demo = DemoConfig().recipe(temporal)
    assert replace(recipe, out=demo.out, data=replace(recipe.data, root=demo.data.root)) == demo
