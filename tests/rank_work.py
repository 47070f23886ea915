"""What tests let several processes do; importable by them."""

from __future__ import annotations

import io

import torch
from rich.console import Console

from kinema.data.annotations import Sample
from kinema.engine.evaluate import Scores
from kinema.engine.evaluate_weights import evaluate_weights
from kinema.engine.processes import ranks
from kinema.engine.processes.joining import together
from kinema.engine.training.resuming.checkpoints import Checkpoints
from kinema.engine.training.train import train


def train_quietly(recipe, resume=False):
    """Returns the result of a run and what it said."""
    console = Console(file=io.StringIO(), width=200)
    result = train(recipe, resume=resume, console=console)
    return result, console.file.getvalue()


def talk():
    """Returns what all have told, what the first has told, and a sum."""
    with together("cpu"):
        own = f"rank {ranks.rank()}"
        return ranks.gather(own), ranks.from_main(own), ranks.add_up([ranks.rank(), 10])


def check_other_weights():
    """Compares weights of which each process has its own."""
    model = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(model.weight, ranks.rank())
    with together("cpu"):
        ranks.check_same_weights(model)


def score_each_alone(names):
    """Returns the evaluation of videos of which each process has scored its own."""
    samples = [Sample(path=name, name=name, class_name="ab"[index % 2]) for index, name in enumerate(names)]
    with together("cpu"):
        scores = Scores(samples, class_names=("a", "b"), protocol="test")
        for index in range(ranks.rank(), len(samples), ranks.num_ranks()):
            if names[index] == "broken":
                scores.errors[index] = "broken: no video"
            else:
                scores.rows[index] = torch.tensor([index / 10, 1 - index / 10])
        scores.gather()
        return scores.result().to_dict()


def train_one_epoch(recipe):
    """Trains until the checkpoint of the first epoch is written, and is then cut off."""
    save = Checkpoints.on_train_epoch_end

    def save_and_stop(self, trainer, pl_module):
        save(self, trainer, pl_module)
        raise RuntimeError("cut off")

    Checkpoints.on_train_epoch_end = save_and_stop
    train_quietly(recipe)


def score_weights(weights, recipe):
    """Returns all scores of a weights file, and what was said."""
    console = Console(file=io.StringIO(), width=200)
    return evaluate_weights(weights, recipe, console=console).to_dict(), console.file.getvalue()
