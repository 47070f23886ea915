"""Curves elsewhere: each logger gets recipe, fingerprint and every step once, also where a run was broken off."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from dataclasses import replace

import lightning as L
import pytest
import yaml
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kinema.cli import main
from kinema.engine.recipe import ClipRecipe, DataRecipe, ModelRecipe, Recipe, TrainerRecipe
from kinema.engine.training.resuming.checkpoints import Checkpoints
from kinema.engine.training.task import VideoTask
from kinema.engine.training.train import train
from kinema.engine.training.watching import loggers as loggers_module
from kinema.engine.training.watching.logged_once import LoggedSteps, StepsFile
from kinema.engine.training.watching.loggers import check_loggers, make_loggers
from kinema.models.weights import read_metadata
from stub_trackers import installed, read_tracked


@pytest.fixture
def tracked(tmp_path):
    with installed(tmp_path / "stubs") as file:
        yield file


def recipe_of(root, out, *loggers, epochs=2):
    return Recipe(
        out=str(out),
        data=DataRecipe(root=str(root), num_workers=0),
        clip=ClipRecipe(num_frames=2, resize=32, crop=32),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False),
        trainer=TrainerRecipe(epochs=epochs, batch_size=8, precision="32-true", loggers=list(loggers)),
    )


def quiet():
    return Console(file=io.StringIO(), width=200)


def break_off_once(monkeypatch, *, epoch):
    """Lets a run end when an epoch is over and logged, and its checkpoint is not yet written."""
    write = Checkpoints.on_train_epoch_end
    broken = []

    def break_off(self, trainer: L.Trainer, pl_module):
        if trainer.current_epoch == epoch and not broken:
            broken.append(epoch)
            raise ConnectionError("broken off")
        write(self, trainer, pl_module)

    monkeypatch.setattr(Checkpoints, "on_train_epoch_end", break_off)


def train_in_two_parts(recipe, monkeypatch):
    break_off_once(monkeypatch, epoch=1)
    with pytest.raises(ConnectionError):
        train(recipe, console=quiet())
    return train(recipe, resume=True, console=quiet())


def scalars(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(point.step, point.value) for point in events.Scalars(name)] for name in events.Tags()["scalars"]}


def steps_of(file):
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return Counter((name, int(row["step"])) for row in rows for name, value in row.items() if name != "step" and value)


def test_tensorboard_has_each_step_once_after_a_resume(motion_root, tmp_path, monkeypatch):
    train_in_two_parts(recipe_of(motion_root, tmp_path / "run", "tensorboard", epochs=3), monkeypatch)
    curves = scalars(tmp_path / "run" / "logs")
    assert [step for step, _ in curves["train_loss_step"]] == [3, 6, 9]
    assert [step for step, _ in curves["data_seconds"]] == [3, 6, 9]
    assert len(curves["val_top1"]) == len({step for step, _ in curves["val_top1"]}) == 3
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [value for _, value in curves["val_loss"]] == pytest.approx([float(row["val_loss"]) for row in rows])


def test_the_csv_file_has_each_step_once_after_a_resume(motion_root, tmp_path, monkeypatch):
    train_in_two_parts(recipe_of(motion_root, tmp_path / "run", "csv", epochs=3), monkeypatch)
    found = steps_of(tmp_path / "run" / "logs" / "steps.csv")
    assert {times for (name, _), times in found.items() if name != "epoch"} == {1}  # which stands beside every curve
    for name in ("train_loss_step", "data_seconds", "val_top1"):
        assert len([step for curve, step in found if curve == name]) == 3


def test_recipe_and_fingerprint_are_logged_without_local_paths(motion_root, tmp_path):
    result = train(recipe_of(motion_root, tmp_path / "run", "tensorboard", "csv", epochs=1), console=quiet())
    logs = tmp_path / "run" / "logs"
    kept = yaml.safe_load((logs / "hparams.yaml").read_text())
    assert kept["recipe"]["trainer"]["loggers"] == ["tensorboard", "csv"]
    assert kept["recipe"]["data"]["root"] == motion_root.name
    assert kept["fingerprint"] == json.loads(read_metadata(result.last)["fingerprint"])
    assert str(tmp_path) not in (logs / "hparams.yaml").read_text()
    events = EventAccumulator(str(logs))
    events.Reload()
    text = events.Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()
    assert kept["fingerprint"]["data"] in text


def test_no_logger_leaves_no_logs(motion_root, tmp_path):
    train(recipe_of(motion_root, tmp_path / "run", epochs=1), console=quiet())
    assert not (tmp_path / "run" / "logs").exists()
    assert (tmp_path / "run" / "metrics.csv").is_file()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_service_gets_one_run_with_each_step_once_after_a_resume(motion_root, tmp_path, monkeypatch, tracked, name):
    recipe = recipe_of(motion_root, tmp_path / "run", name, epochs=3)

    train_in_two_parts(recipe, monkeypatch)

    told = read_tracked(tracked)
    (run,) = {id for what, id, _ in told if what in ("log", "config")}
    assert json.loads((tmp_path / "run" / "logs" / f"{name}.json").read_text())["id"] == run
    points = Counter(
        (curve, values["trainer/global_step"])
        for what, _, values in told
        if what == "log"
        for curve in values
        if curve not in ("trainer/global_step", "epoch")
    )
    assert set(points.values()) == {1}
    assert {curve for curve, _ in points} >= {"train_loss_step", "train_loss", "val_top1", "data_seconds"}
    assert [step for curve, step in sorted(points) if curve == "train_loss_step"] == [3, 6, 9]
    config = json.dumps([values for what, _, values in told if what == "config"])
    assert "learning_rate" in config
    assert read_metadata(tmp_path / "run" / "last.safetensors")["fingerprint"]
    assert str(motion_root) not in config


def test_wandb_is_told_project_name_and_id(motion_root, tmp_path, monkeypatch, tracked):
    monkeypatch.setenv("WANDB_PROJECT", "cameras")
    for name in ("one", "two"):  # in one process: the second must not go on with the first one's run
        train(recipe_of(motion_root, tmp_path / name, "wandb", epochs=1), console=quiet())
    begun = [(id, values) for what, id, values in read_tracked(tracked) if what == "init"]
    assert [(values["name"], values["project"], values["resume"]) for _, values in begun] == [
        ("one", "cameras", "allow"),
        ("two", "cameras", "allow"),
    ]
    assert len({id for id, _ in begun}) == 2


def test_mlflow_keeps_its_database_in_the_runs_folder_unless_told_otherwise(
    motion_root, tmp_path, monkeypatch, tracked
):
    recipe = recipe_of(motion_root, tmp_path / "run", "mlflow", epochs=1)
    train(recipe, console=quiet())
    logs = tmp_path / "run" / "logs"
    assert ["experiment", None, ["kinema", f"sqlite:///{logs}/mlflow.db", f"file://{logs}/mlflow"]] in read_tracked(
        tracked
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    train(replace(recipe, out=str(tmp_path / "other")), console=quiet())
    assert ["experiment", None, ["kinema", "http://127.0.0.1:1", None]] in read_tracked(tracked)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_one_sentence_before_anything_begins(motion_root, tmp_path, capsys, name):
    assert name not in sys.modules
    flags = ["--data.root", str(motion_root), "--out", str(tmp_path / "run"), "--trainer.loggers", f"[csv,{name}]"]
    assert main(["train", *flags]) == 2
    told = capsys.readouterr()
    assert told.err == (
        f"kinema: trainer.loggers must be installed, got {name}, which is not there: pip install 'kinema[{name}]'\n"
    )
    assert told.out == ""
    assert not (tmp_path / "run").exists()


def test_a_logger_is_named_once():
    with pytest.raises(ValueError, match=r"trainer\.loggers must name each logger once, got \['csv', 'csv'\]"):
        check_loggers(["csv", "csv"])


def test_only_the_main_process_logs(motion_root, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers_module, "is_main", lambda: False)
    assert make_loggers(recipe_of(motion_root, tmp_path, "tensorboard", "csv"), {}, checkpoint=None) == []
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    file = tmp_path / "logs" / "steps.csv"
    file.parent.mkdir()
    file.write_text("loss,lr,step\n3.0,0.1,1\n2.0,,2\n1.0,0.1,3\n0.5,0.")
    logger = StepsFile(tmp_path / "logs", after=2)
    logger.log_metrics({"loss": 0.25}, 3)
    assert file.read_text().split() == ["loss,lr,step", "3.0,0.1,1", "2.0,,2", "0.25,,3"]


def test_what_a_service_was_given_survives_the_process(tmp_path):
    steps = LoggedSteps(tmp_path / "wandb.json")
    steps.begin("ab12")
    assert steps.new({"loss": 1.0, "lr": 0.1}, 5) == {"loss": 1.0, "lr": 0.1}
    again = LoggedSteps(tmp_path / "wandb.json")
    assert again.id == "ab12"
    assert again.new({"loss": 1.0, "top1": 0.5}, 5) == {"top1": 0.5}
    assert again.new({"loss": 0.5}, 6) == {"loss": 0.5}


def test_a_step_of_several_batches_is_logged_once_with_a_loss_of_one_batch(motion_root, tmp_path, monkeypatch):
    recipe = recipe_of(motion_root, tmp_path / "run", "tensorboard")
    recipe = replace(recipe, trainer=replace(recipe.trainer, batch_size=4, accumulate=3, checkpoint_steps=1))
    monkeypatch.setattr(loggers_module.StepCurves, "__init__", every_step)
    seen = stop_at(monkeypatch, epoch=1, batch=3)
    with pytest.raises(ConnectionError):
        train(recipe, console=quiet())
    train(recipe, resume=True, console=quiet())
    curve = scalars(tmp_path / "run" / "logs")["train_loss_step"]
    assert [step for step, _ in curve] == [1, 2, 3, 4]
    assert [value for _, value in curve] == pytest.approx([seen[key] for key in [(0, 2), (0, 5), (1, 2), (1, 5)]])


def every_step(self, *, every, loss):
    self.every, self.loss, self.last = 1, loss, -1


def stop_at(monkeypatch, *, epoch, batch):
    """Notes the loss of every batch, and breaks a run off once before one."""
    seen, step, broken = {}, VideoTask.training_step, []

    def look(self, clips, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch) and not broken:
            broken.append(batch)
            raise ConnectionError("broken off")
        weighted = step(self, clips, batch_idx)
        seen[self.current_epoch, batch_idx] = weighted.item()  # 6 batches of 4 clips: each weighs the same
        return weighted

    monkeypatch.setattr(VideoTask, "training_step", look)
    return seen


def test_a_run_that_ended_before_its_first_checkpoint_leaves_no_points(motion_root, tmp_path, monkeypatch):
    recipe = recipe_of(motion_root, tmp_path / "run", "tensorboard")
    break_off_once(monkeypatch, epoch=0)
    with pytest.raises(ConnectionError):
        train(recipe, console=quiet())
    train(recipe, resume=True, console=quiet())
    curves = scalars(tmp_path / "run" / "logs")
    assert [step for step, _ in curves["train_loss_step"]] == [3, 6]
    assert len(curves["val_top1"]) == 2
