"""Every recipe of a paper trains: data in the dataset's own shape, network, optimizer, and one step of them together.

Smaller than in the recipe are the frames' size and the batch alone; weights are random.
"""

from __future__ import annotations

import io
import re
from dataclasses import replace

import lightning as L
import pytest
import torch
from rich.console import Console

from dataset_trees import WRITERS
from kinema.engine.training.data import read_data, training_loader, validation_loader
from kinema.engine.training.network import make_model
from kinema.engine.training.quiet import quiet_lightning
from kinema.engine.training.task import VideoTask
from recipe_files import FOLDER, PAPER_RECIPES, name_of, read_recipe

CLASSES = {
    "something_v1": 174,
    "something_v2": 174,
    "jester": 27,
    "kinetics400": 400,
    "ucf101": 101,
    "hmdb51": 51,
    "flow": 3,
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Writes the tree of a dataset when it is first asked for."""
    folder, written = tmp_path_factory.mktemp("trees"), set()

    def tree(kind):
        if kind not in written:
            WRITERS[kind](folder / kind)
            written.add(kind)
        return folder / kind

    return tree


def kind_of(path, recipe):
    return "flow" if recipe.clip.modality == "flow" else path.relative_to(FOLDER).parts[0]


def small(recipe, root, out):
    """The recipe with smaller frames and batches, on random weights."""
    return replace(
        recipe,
        out=str(out),
        data=replace(recipe.data, root=str(root), num_workers=0),
        clip=replace(recipe.clip, resize=36, crop=32),
        model=replace(recipe.model, pretrained=False, init=None),
        trainer=replace(recipe.trainer, batch_size=1, accumulate=1, precision="32-true"),
    )


def take_a_step(recipe, data, model):
    """Trains for one step, by Lightning, the task and the loaders of a run."""
    task = VideoTask(
        model,
        train_loader=training_loader(recipe, data, spec=model.spec),
        val_loader=validation_loader(recipe, data, spec=model.spec),
        recipe=recipe,
        num_epochs=recipe.trainer.epochs,
        steps_per_epoch=len(data.train),
        data_hash=data.hash,
        unreadable=data.unreadable,
    )
    with quiet_lightning():
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=1,
            limit_val_batches=0,
            gradient_clip_val=recipe.trainer.clip_norm,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(task)
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("path", PAPER_RECIPES, ids=name_of)
def test_a_recipe_takes_a_step_on_data_in_the_shape_of_its_dataset(path, trees, tmp_path):
    written = read_recipe(path)
    kind = kind_of(path, written)
    recipe = small(written, trees(kind), tmp_path / "run")
    data = read_data(recipe)
    assert len(data.class_names) == CLASSES[kind]
    assert data.train
    assert data.val
    data.unreadable.look_for_missing()
    model, _ = make_model(recipe, data, fresh=True, console=Console(file=io.StringIO()))
    model.to(memory_format=torch.channels_last)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters() if "head" in name}
    trainer = take_a_step(recipe, data, model)
    assert trainer.global_step == 1
    assert torch.isfinite(trainer.callback_metrics["train_loss"])
    after = dict(model.named_parameters())
    assert before
    assert all(not torch.equal(after[name], value) for name, value in before.items())
    assert all(torch.isfinite(parameter).all() for parameter in after.values())


@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51"])
@pytest.mark.parametrize("fold", [1, 2, 3])
def test_the_fold_of_a_recipe_is_the_split_of_its_data(dataset, fold, trees):
    recipe = read_recipe(FOLDER / dataset / "resnet50_sth_16f.yaml")
    recipe = replace(recipe, data=replace(recipe.data, root=str(trees(dataset)), fold=fold))
    data = read_data(recipe)
    assert {int(re.search(r"(\d+)(_c01)?$", sample.path.stem)[1]) for sample in data.val} == {fold}
    assert len(data.val) == 3
    assert len(data.train) == 6


@pytest.mark.parametrize(("dataset", "mirror"), [("something_v1", 0.5), ("something_v2", 0.5), ("jester", 0.5)])
def test_where_sides_matter_a_flip_exchanges_labels(dataset, mirror, trees):
    recipe = read_recipe(FOLDER / dataset / "resnet50_sth_8f.yaml")
    data = read_data(replace(recipe, data=replace(recipe.data, root=str(trees(dataset)))))
    assert recipe.augment.mirror == mirror
    assert (data.mirrors.label(0), data.mirrors.label(1)) == (1, 0)
