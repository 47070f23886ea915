"""What is frozen stays as it is, bit for bit, and what is not learns."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from kinema.engine.recipe import ClipRecipe, DataRecipe, ModelRecipe, OptimizerRecipe, Recipe, TrainerRecipe
from kinema.engine.training.optimizing.batch_norm import backbone_norms, batch_norms
from kinema.engine.training.optimizing.freezing import StayFrozen, describe_frozen, freeze
from kinema.engine.training.optimizing.optimizer import make_optimizer
from kinema.engine.training.optimizing.param_groups import parameter_groups
from kinema.engine.training.task import VideoTask
from kinema.engine.training.train import train
from kinema.models.classifier import create_model
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.models.weights import load_model, save_model
from networks import randomize_

ADDS_NOTHING = {"none", "tsm", "stsm", "i3d"}
LAYERS = [name for name in TEMPORAL_LAYERS if name != "none"]


def recipe_for(*, trainable="all", batch_norm="train", **optimizer):
    return Recipe(
        data=DataRecipe(root="."),
        optimizer=OptimizerRecipe(trainable=trainable, **optimizer),
        trainer=TrainerRecipe(batch_norm=batch_norm, accelerator="cpu"),
    )


def make(temporal="none", backbone="test_resnet", **options):
    return randomize_(create_model(backbone, num_classes=3, num_frames=4, temporal=temporal, **options))


def step(model, *, steps=1):
    """Trains as the loop does; every weight that is trained moves."""
    recipe = OptimizerRecipe(name="sgd", learning_rate=0.01, weight_decay=0.1)
    optimizer = make_optimizer(model, recipe, groups=parameter_groups(model, recipe), learning_rate=0.01)
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(2, 4, 3, 32, 32)), torch.tensor([0, 2])).backward()
        optimizer.step()


def changed(model, before):
    return {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}


def copied(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_a_linear_probe_changes_the_head_alone(temporal):
    model = make(temporal)
    freeze(model, recipe_for(trainable="head"))
    before = copied(model)
    step(model)
    assert changed(model, before) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("temporal", [name for name in LAYERS if name not in ADDS_NOTHING])
def test_temporal_layers_learn_on_a_backbone_that_stays_as_it_is(temporal):
    model, flat = make(temporal), create_model("test_resnet", num_classes=3, num_frames=4)
    freeze(model, recipe_for(trainable="temporal"))
    before = copied(model)
    step(model)
    moved = changed(model, before)
    assert {"head.weight", "head.bias"} < moved
    if temporal not in ("sth", "tea"):  # which have names of their own for what they keep or make
        kept = {key for key in before if key.replace(".net", "").replace(".norm.", ".") in flat.state_dict()}
        assert not moved & kept - {"head.weight", "head.bias"}
    parameters = dict(model.named_parameters())
    trained = {name for name, parameter in parameters.items() if parameter.requires_grad}
    assert all((parameters[name].grad is not None) == (name in trained) for name in parameters)
    assert {name for name in trained if parameters[name].ndim > 1} <= moved & parameters.keys() <= trained
    norms = {id(norm) for norm in backbone_norms(model)}
    assert len(norms) == len(batch_norms(flat))
    for path, module in model.named_modules():
        if module in batch_norms(model):
            assert (f"{path}.running_mean" in moved) == (id(module) not in norms), path


def test_a_frozen_backbone_gives_temporal_layers_the_gradients_that_a_trained_one_gives():
    for temporal in ("sth", "stam", "tam"):
        whole, part = make(temporal), make(temporal)
        for norm in backbone_norms(whole):
            norm.eval()
        freeze(part, recipe_for(trainable="temporal"))
        clips = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        for model in (whole, part):
            model.to(memory_format=torch.channels_last)
            nn.functional.cross_entropy(model(clips), torch.tensor([0, 2])).backward()
        gradients = {name: one.grad for name, one in part.named_parameters() if one.grad is not None}
        assert len(gradients) > 10
        for name, parameter in whole.named_parameters():
            if name in gradients:
                torch.testing.assert_close(gradients[name], parameter.grad, msg=name)


@pytest.mark.parametrize("temporal", ["tsm", "tam", "tadaconv"])
@pytest.mark.parametrize("mode", ["train", "partial", "frozen"])
def test_batch_norms_of_the_backbone_learn_as_they_are_told(temporal, mode):
    model = make(temporal)
    freeze(model, recipe_for(batch_norm=mode))
    before = copied(model)
    step(model)
    own = backbone_norms(model)
    free = {"train": own, "partial": own[:1], "frozen": []}[mode]
    moved = changed(model, before)
    for path, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            learns = module in free or module not in own
            for part in ("running_mean", "running_var", "num_batches_tracked", "weight", "bias"):
                assert (f"{path}.{part}" in moved) == learns, (path, part)
    assert {"backbone.conv1.0.weight", "head.weight"} <= moved
    assert len(own) == 15


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_the_batch_norms_of_the_backbone_are_those_of_the_2d_network(temporal):
    model, flat = make(temporal), create_model("test_resnet", num_classes=3, num_frames=4)
    assert len(backbone_norms(model)) == len(batch_norms(flat)) == 15
    assert backbone_norms(model)[0].num_features == batch_norms(flat)[0].num_features


def test_the_first_batch_norm_is_that_of_the_frames_and_not_of_their_differences():
    model = make(backbone="resnet18", short_term=True)
    freeze(model, recipe_for(batch_norm="partial"))
    assert model.backbone.conv1.net.bn1.training
    assert model.backbone.conv1.differences.bn1.training  # added, and so trained
    assert not model.backbone.layer1[0].bn1.training


def test_the_batch_norms_of_a_whole_video_network_are_its_own():
    model = create_model("r3d_18", num_classes=3, num_frames=4)
    freeze(model, recipe_for(batch_norm="partial"))
    assert [norm.training for norm in batch_norms(model)] == [True] + [False] * 19


@pytest.mark.parametrize(
    ("backbone", "temporal"),
    [
        *(("test_resnet", temporal) for temporal in TEMPORAL_LAYERS),
        *(("test_efficientnet", temporal) for temporal in ("none", "sth", "tam", "stam", "gsf")),  # norms that activate
    ],
)
def test_batch_norms_of_all_processes_have_the_same_names_and_act_alone_as_before(backbone, temporal, tmp_path):
    plain = make(temporal, backbone)
    together = copy.deepcopy(plain)
    freeze(together, recipe_for(batch_norm="sync"))
    norms = batch_norms(together)
    assert len(norms) == len(batch_norms(plain))
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    for model in (plain, together):
        step(model)
    assert list(together.state_dict()) == list(plain.state_dict())
    assert not changed(together, copied(plain))
    save_model(tmp_path / "weights.safetensors", together)
    loaded = load_model(tmp_path / "weights.safetensors")
    assert not changed(loaded, copied(together))
    clips = torch.randn(1, 4, 3, 32, 32)
    assert torch.equal(loaded(clips), together.eval()(clips))


@pytest.mark.parametrize(
    ("recipe", "model", "sentence"),
    [
        (
            {"trainable": "temporal"},
            {},
            r"optimizer\.trainable must be all or head with none, which adds no parameters to the backbone, got 'temp",
        ),
        (
            {"trainable": "temporal"},
            {"temporal": "tsm"},
            r"optimizer\.trainable must be all or head with tsm, which adds no parameters to the backbone, got 'tempor",
        ),
        (
            {"trainable": "head", "batch_norm": "partial"},
            {},
            r"trainer\.batch_norm must be left out where optimizer\.trainable is 'head', got 'partial'; the backbone's",
        ),
        (
            {"trainable": "temporal", "batch_norm": "partial"},
            {"temporal": "tam"},
            r"trainer\.batch_norm must be left out where optimizer\.trainable is 'temporal', got 'partial'; ",
        ),
        (
            {"batch_norm": "frozen"},
            {"backbone": "test_convnext"},
            r"batch_norm must be left out where a network has no .* got 'frozen' for none on test_convnext; drop it",
        ),
        (
            {"batch_norm": "sync"},
            {"backbone": "test_convnext"},
            r"batch_norm must be left out where a network has no .* got 'sync' for none on test_convnext; drop it",
        ),
        (
            {"trainable": "temporal", "batch_norm": "sync"},
            {"temporal": "sth"},
            r"batch_norm must be left out where a network has no .* got 'sync' for sth on test_resnet; drop it",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(recipe, model, sentence):
    with pytest.raises(ValueError, match=sentence):
        freeze(make(**model), recipe_for(**recipe))


def test_a_model_that_is_put_to_training_again_is_put_back():
    model = make("tam")
    freeze(model, recipe_for(batch_norm="frozen"))
    modes = [module.training for module in model.modules()]
    stay = StayFrozen(model)
    for hook in (stay.on_train_start, stay.on_train_epoch_start):
        model.train()
        hook(None, None)
        assert [module.training for module in model.modules()] == modes
    assert modes.count(False) == 15


def test_a_person_reads_what_is_frozen():
    model = make("tam")
    assert describe_frozen(model) is None
    freeze(model, recipe_for(trainable="head"))
    assert describe_frozen(model) == "frozen: 387,936 of 388,227 parameters; 23 of 23 batch norms keep their statistics"


# --- whole runs ---


def run(root: Path, out: Path, **parts):
    console = Console(file=io.StringIO(), width=200)
    recipe = Recipe(
        out=str(out),
        data=DataRecipe(root=str(root), num_workers=0),
        clip=ClipRecipe(num_frames=2, resize=32, crop=32),
        model=parts.pop("model", ModelRecipe(backbone="test_resnet", temporal="tam", pretrained=False)),
        optimizer=parts.pop("optimizer", OptimizerRecipe()),
        trainer=TrainerRecipe(epochs=2, batch_size=8, precision="32-true", **parts.pop("trainer", {})),
    )
    result = train(recipe, console=console, **parts)
    return load_model(result.last), console.file.getvalue()


@pytest.mark.parametrize("mode", ["partial", "frozen"])
def test_frozen_statistics_survive_the_epochs_and_validations_of_a_run(motion_root, tmp_path, mode):
    start = create_model("test_resnet", num_classes=8, num_frames=2, temporal="tam")
    save_model(tmp_path / "start.safetensors", randomize_(start))
    init = ModelRecipe(backbone="test_resnet", temporal="tam", init=str(tmp_path / "start.safetensors"))
    model, printed = run(motion_root, tmp_path / "run", model=init, trainer={"batch_norm": mode})
    own, before = backbone_norms(model), dict(zip(model.state_dict(), start.state_dict().values(), strict=True))
    assert f"{15 - (mode == 'partial')} of 23 batch norms keep their statistics" in printed
    moved = changed(model, before)
    free = own[:1] if mode == "partial" else []
    for path, module in model.named_modules():
        if module in batch_norms(model):
            learns = module in free or module not in own
            assert (f"{path}.running_mean" in moved) == (f"{path}.weight" in moved) == learns, path


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_linear_probe_on_weights_of_other_classes(motion_root, tmp_path, ema):
    start = randomize_(create_model("test_resnet", num_classes=5, num_frames=2, temporal="tam"))
    save_model(tmp_path / "start.safetensors", start)
    init = ModelRecipe(backbone="test_resnet", temporal="tam", init=str(tmp_path / "start.safetensors"))
    probe = OptimizerRecipe(trainable="head", head_rate=5, bias_rate=2, learning_rate=0.01)
    model, printed = run(motion_root, tmp_path / "run", model=init, optimizer=probe, trainer={"ema": ema})
    before = start.state_dict()
    assert "  x 5, decay 0.05: 768 parameters (head weights)\n  x 10, no decay: 8 parameters (head biases)" in printed
    assert "frozen: 387,760 of 388,536 parameters; 23 of 23 batch norms keep their statistics" in printed
    assert model.head.out_features == 8
    assert model.head.bias.abs().min() > 0  # a fresh one is 0
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[f"backbone.{key}"]), key


def test_a_resumed_run_has_the_same_groups_and_the_same_frozen_parts(motion_root, tmp_path, monkeypatch):
    whole = {
        "optimizer": OptimizerRecipe(name="sgd", learning_rate=0.01, head_rate=5, bias_rate=2, layer_decay=0.5),
        "trainer": {"batch_norm": "partial", "checkpoint_steps": 1},
    }
    expected, _ = run(motion_root, tmp_path / "whole", **whole)
    step = VideoTask.training_step

    def interrupted(task, batch, batch_idx):
        if (task.current_epoch, batch_idx) == (1, 1):  # in the middle of the second epoch
            raise KeyboardInterrupt
        return step(task, batch, batch_idx)

    monkeypatch.setattr(VideoTask, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(motion_root, tmp_path / "cut", **whole)
    monkeypatch.undo()
    resumed, printed = run(motion_root, tmp_path / "cut", resume=True, **whole)
    assert "from its last checkpoint" in printed
    assert not changed(resumed, copied(expected))
