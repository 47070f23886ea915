"""What is chosen where nothing is said, by the data and the machine; and what never is."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from kinema.cli import main, make_parser
from kinema.engine.recipe import AugmentRecipe, ClipRecipe, DataRecipe, ModelRecipe, Recipe, TrainerRecipe
from kinema.engine.training.choosing import choose as module
from kinema.engine.training.choosing.choose import DataFacts, MachineFacts, StartFacts, choose
from kinema.engine.training.run_folder import stored_recipe
from kinema.engine.training.train import train
from kinema.models.classifier import create_model
from kinema.models.weights import save_model

GIB = 2**30
CPU = MachineFacts(device="cpu", device_memory=0, memory_for_frames=10**9)
FEW = DataFacts(class_counts=(12, 12), multi_label=False, num_bytes=None)


def changed(one, other, prefix=""):
    """Returns the fields of two recipes that differ, with their new values."""
    found = {}
    for name, value in vars(other).items():
        before = getattr(one, name)
        if hasattr(value, "__dataclass_fields__"):
            found |= changed(before, value, prefix=f"{prefix}{name}.")
        elif before != value:
            found[f"{prefix}{name}"] = value
    return found


R50 = {"model.backbone": "resnet50.tv_in1k", "clip.resize": 256, "clip.crop": 224}


@pytest.mark.parametrize(
    ("device", "gib", "num_train", "chosen", "said"),
    [
        ("cpu", 0, 24, {}, "resnet18.tv_in1k on 8 frames of 112 x 112, batches of 8, for device cpu and 24 training"),
        ("mps", 0, 900, {}, "resnet18.tv_in1k on 8 frames of 112 x 112, batches of 8, for device mps and 900"),
        ("cuda", 8, 900, {}, "resnet18.tv_in1k on 8 frames of 112 x 112, batches of 8, for a GPU of 8 GiB and 900"),
        ("cuda", 11, 900, R50, "resnet50.tv_in1k on 8 frames of 224 x 224, batches of 8, for a GPU of 11 GiB and 900"),
        ("cuda", 24, 900, {**R50, "trainer.batch_size": 16}, "batches of 16, for a GPU of 24 GiB and 900"),
        ("cuda", 80, 900, {**R50, "trainer.batch_size": 32}, "batches of 32, for a GPU of 80 GiB and 900"),
        ("cuda", 80, 100, {**R50, "trainer.batch_size": 16}, "batches of 16, for a GPU of 80 GiB and 100"),
        ("cuda", 80, 24, R50, "batches of 8, for a GPU of 80 GiB and 24"),
    ],
)
def test_the_network_is_chosen_by_the_device_and_the_batch_by_the_data_too(device, gib, num_train, chosen, said):
    machine = replace(CPU, device=device, device_memory=gib * GIB)
    data = replace(FEW, class_counts=(num_train // 2, num_train - num_train // 2))
    recipe, lines = choose(Recipe(), given=(), data=data, machine=machine)
    assert changed(Recipe(), recipe) == chosen
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize("name", ["model.backbone", "clip.crop", "clip.resize", "clip.num_frames", "clip.modality"])
def test_who_says_something_of_the_size_says_all_of_it(name):
    machine = replace(CPU, device="cuda", device_memory=80 * GIB)
    recipe, lines = choose(Recipe(), given={name}, data=FEW, machine=machine)
    assert recipe == Recipe()
    assert lines == [
        f"not chosen: backbone, size and batch, for {name} is given; they are resnet18.tv_in1k on 8 frames of "
        "112 x 112, batches of 8"
    ]
    everything = {"model.backbone", "clip.num_frames", "clip.resize", "clip.crop", "trainer.batch_size"}
    assert choose(Recipe(), given=everything, data=FEW, machine=machine) == (Recipe(), [])


@pytest.mark.parametrize(("pretrained", "stays"), [("resnet18.pth", True), (True, False), ("auto", False)])
def test_a_file_of_pretrained_weights_decides_the_backbone(pretrained, stays):
    machine = replace(CPU, device="cuda", device_memory=80 * GIB)
    recipe = Recipe(model=ModelRecipe(pretrained=pretrained))
    found, lines = choose(recipe, given={"model.pretrained"}, data=FEW, machine=machine)
    assert (found == recipe) is stays
    assert lines[0].startswith("not chosen: backbone, size and batch, for model.pretrained is given") is stays


def test_several_processes_share_the_steps_of_an_epoch(monkeypatch):
    machine, data = replace(CPU, device="cuda", device_memory=80 * GIB), replace(FEW, class_counts=(128, 128))
    assert choose(Recipe(), given=(), data=data, machine=machine)[0].trainer.batch_size == 32
    monkeypatch.setattr(module, "num_ranks", lambda: 4)
    assert choose(Recipe(), given=(), data=data, machine=machine)[0].trainer.batch_size == 16


def test_why_frames_are_not_kept_is_said():
    data, none = replace(FEW, num_bytes=9), replace(CPU, memory_for_frames=0, frames_bound="/dev/shm is no folder")
    recipe, lines = choose(Recipe(), given=(), data=data, machine=none)
    assert recipe.data.cache == "none"
    assert lines[-1].startswith("not chosen: data.cache, for /dev/shm is no folder; on a disk with room for them")


def test_a_given_batch_stays():
    machine, recipe = replace(CPU, device="cuda", device_memory=80 * GIB), Recipe(trainer=TrainerRecipe(batch_size=3))
    found, lines = choose(recipe, given={"trainer.batch_size"}, data=FEW, machine=machine)
    assert changed(recipe, found) == R50
    assert "batches" not in lines[0]


@pytest.mark.parametrize(
    ("counts", "multi_label", "given", "balance"),
    [
        ((30, 10), False, (), "none"),
        ((31, 10), False, (), "sampling"),
        ((31, 10, 0), False, (), "sampling"),
        ((30, 12, 0), False, (), "none"),
        ((90, 1), True, (), "none"),
        ((90, 1), False, ("data.balance",), "none"),
        ((90, 1), False, ("augment.repeats",), "none"),
    ],
)
def test_unequal_classes_are_balanced(counts, multi_label, given, balance):
    data = replace(FEW, class_counts=counts, multi_label=multi_label)
    recipe, lines = choose(Recipe(), given={"model.backbone", *given}, data=data, machine=CPU)
    assert changed(Recipe(), recipe) == ({"data.balance": balance} if balance != "none" else {})
    lines = [line for line in lines if "backbone" not in line]
    assert len(lines) == (balance != "none")
    assert not lines or "3.1 times as many videos (31) as the smallest (10)" in lines[0]


@pytest.mark.parametrize(
    ("num_bytes", "given", "cache", "said"),
    [
        (10**9, (), "ram", "chosen: data.cache ram, for the decoded frames take about 1 GB, and 1 GB may be taken"),
        (
            10**9 + 1,
            (),
            "none",
            "not chosen: data.cache, for the decoded frames would take about 1 GB of 1 GB (",
        ),
        (5, ("data.cache",), "none", None),
        (None, (), "none", None),
    ],
)
def test_frames_are_kept_where_memory_holds_them(num_bytes, given, cache, said):
    data = replace(FEW, num_bytes=num_bytes)
    recipe, lines = choose(Recipe(), given={"model.backbone", *given}, data=data, machine=CPU)
    assert changed(Recipe(), recipe) == ({"data.cache": cache} if cache != "none" else {})
    lines = [line for line in lines if "backbone" not in line]
    assert [line.startswith(said) for line in lines] == [True] * (said is not None)


def weights_of(**options):
    model = create_model("test_resnet", temporal=["tsm", "nonlocal"], num_frames=4, num_classes=2, **options)
    return replace(model.spec, resize=40, crop=32, sampling="stride", stride=2), model


def test_the_network_of_the_weights_to_start_from_is_taken():
    spec, model = weights_of(causal=False)
    start = StartFacts(config=model.config, spec=spec)
    recipe, lines = choose(Recipe(), given={"model.init"}, data=FEW, machine=CPU, start=start)
    assert changed(Recipe(), recipe) == {
        "model.backbone": "test_resnet",
        "model.temporal": ["tsm", "nonlocal"],
        "clip.num_frames": 4,
        "clip.resize": 40,
        "clip.crop": 32,
        "clip.sampling": "stride",
        "clip.stride": 2,
    }
    assert lines == ["chosen: tsm+nonlocal on test_resnet, 4 frames of 32 x 32, as in the weights of model.init"]
    given = {"model.init", "model.temporal", "clip.crop", "clip.sampling", "clip.num_frames"}
    partly, _ = choose(Recipe(), given=given, data=FEW, machine=CPU, start=start)
    assert changed(Recipe(), partly) == {"model.backbone": "test_resnet"}


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ([], set()),
        (["--data.root", "x", "--trainer.batch_size=3", "--resume"], {"data.root", "trainer.batch_size", "resume"}),
        (
            ["--trainer.loggers+", "csv", "--model.options.fraction", "0.5"],
            {"trainer.loggers", "model.options.fraction"},
        ),
    ],
)
def test_what_was_given_is_known_by_name(argv, names):
    assert make_parser("train").given(argv) == names


def small_arguments(root, out, *more):
    settings = {"trainer.epochs": 1, "data.num_workers": 0, "trainer.accelerator": "cpu", "model.pretrained": "false"}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return ["train", "--data.root", str(root), "--out", str(out), *words, *more]


def test_the_command_chooses_says_so_and_keeps_it_for_a_resume(motion_root, tmp_path, capsys):
    spec, model = weights_of()
    model.spec = spec
    save_model(tmp_path / "start.safetensors", model)
    out = tmp_path / "run"
    arguments = [word for word in small_arguments(motion_root, out) if word not in ("--model.pretrained", "false")]
    assert main([*arguments, "--model.init", str(tmp_path / "start.safetensors")]) == 0
    printed = capsys.readouterr().out
    assert "chosen: tsm+nonlocal on test_resnet, 4 frames of 32 x 32, as in the weights of model.init" in printed
    assert "chosen: data.cache ram, for the decoded frames take about 0.00" in printed
    stored = stored_recipe(out)
    assert (stored.model.backbone, stored.data.cache, stored.clip.crop) == ("test_resnet", "ram", 32)
    assert main(["train", "--resume", "--out", str(out)]) == 0
    assert "chosen:" not in capsys.readouterr().out


def test_a_recipe_is_taken_as_it_is(motion_root, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("model: {backbone: test_resnet, temporal: tsm}\nclip: {resize: 32, crop: 32}\n")
    arguments = small_arguments(motion_root, tmp_path / "run", "--config", str(tmp_path / "a.yaml"))
    assert main([*arguments, "--clip.num_frames", "2"]) == 0
    assert "chosen:" not in capsys.readouterr().out
    assert stored_recipe(tmp_path / "run").data.cache == "none"


def test_python_chooses_only_where_it_is_asked_to(motion_root, tmp_path, monkeypatch):
    recipe = Recipe(
        out=str(tmp_path / "run"),
        data=DataRecipe(root=str(motion_root), num_workers=0),
        clip=ClipRecipe(num_frames=2, resize=32, crop=32),
        augment=AugmentRecipe(mirror=0),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False),
        trainer=TrainerRecipe(epochs=1, accelerator="cpu"),
    )
    given = {"model.backbone", "clip.crop"}
    asked = train(recipe, given=given, console=Console(file=io.StringIO()))
    assert asked.recipe.data.cache == "ram"
    monkeypatch.setattr(module, "choose", lambda *_, **__: pytest.fail("nothing was to be chosen"))
    plain = train(recipe, overwrite=True, console=Console(file=io.StringIO()))
    assert plain.recipe.data.cache == "none"
    assert torch.isfinite(torch.tensor(plain.held_out.loss))
