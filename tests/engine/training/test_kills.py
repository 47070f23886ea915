"""Runs that are killed at random moments and resumed: their weights are those of a run that was never stopped.

KINEMA_KILLS in the environment says how often; the default is few.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from kinema.engine.recipe.files import recipe_to_yaml
from resuming import assert_same_run, hard_recipe

NUM_KILLS = int(os.environ.get("KINEMA_KILLS", "3"))


@pytest.fixture
def recipe(motion_root, tmp_path):
    fields = {"epochs": 4 * NUM_KILLS, "ema": 0.9, "checkpoint_steps": 2, "precision": "bf16-mixed"}
    return hard_recipe(motion_root, tmp_path / "whole", workers=2, **fields)


def start(*arguments):
    command = [sys.executable, "-m", "kinema", "train", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **output)


def finish(process):
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def wait_until(condition, process, *, seconds=300.0):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and not condition():
        assert process.poll() is None, "the run was over before it was killed often enough"
        time.sleep(0.0005)


def written_at(path):
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(recipe, tmp_path, processes):
    if processes > 1:  # each with half of the batch
        trainer = replace(recipe.trainer, devices=processes, batch_size=2, accelerator="cpu")
        recipe = replace(recipe, trainer=trainer, data=replace(recipe.data, num_workers=1))
    whole, out = tmp_path / "whole", tmp_path / "killed"
    (tmp_path / "whole.yaml").write_text(recipe_to_yaml(recipe))
    (tmp_path / "killed.yaml").write_text(recipe_to_yaml(replace(recipe, out=str(out))))
    checkpoint, partial = out / "checkpoints" / "last.ckpt", out / "checkpoints" / ".last.ckpt.partial"
    began = time.monotonic()
    process = start("--config", tmp_path / "whole.yaml")
    wait_until((whole / "checkpoints" / "last.ckpt").exists, process)
    startup = time.monotonic() - began
    finish(process)
    training = time.monotonic() - began - startup

    rng = random.Random(NUM_KILLS)
    steps = []
    for number in range(NUM_KILLS):
        resume = (
            ("--resume", "--out", out) if (out / "recipe.yaml").exists() else ("--config", tmp_path / "killed.yaml")
        )
        before = written_at(checkpoint)
        process = start(*resume)
        if number % 4 == 3:  # before it has come to anything
            time.sleep(rng.uniform(0, startup))
        else:
            wait_until(lambda before=before: written_at(checkpoint) > before, process)
            time.sleep(rng.uniform(0, 0.5 * training / NUM_KILLS))
        if number % 2:  # while a checkpoint is half written
            wait_until(partial.exists, process, seconds=2)
        assert process.poll() is None, "the run was over before it was killed often enough"
        kill(process)
        steps.append(step_of(checkpoint))
    finish(start("--resume", "--out", out))

    num_steps = 3 * recipe.trainer.epochs
    print(f"{NUM_KILLS} kills, after which the checkpoint was of step {steps} of {num_steps}")
    assert steps == sorted(steps)
    assert len(set(steps)) > NUM_KILLS // 2
    assert_same_run(out, whole)


def step_of(checkpoint):
    """The step of the checkpoint, which loads whenever the run was killed; 0 where there is none yet."""
    return torch.load(checkpoint, weights_only=True)["global_step"] if checkpoint.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_to_all_processes_of_a_run_ends_it_between_two_steps(recipe, tmp_path, signum, status, word):
    out = tmp_path / "run"
    long = replace(recipe, out=str(out), trainer=replace(recipe.trainer, epochs=10_000, checkpoint_steps=None))
    (tmp_path / "run.yaml").write_text(recipe_to_yaml(long))
    process = start("--config", tmp_path / "run.yaml")
    checkpoint = out / "checkpoints" / "last.ckpt"
    wait_until(checkpoint.exists, process)
    time.sleep(random.Random(status).uniform(0, 1))
    os.killpg(process.pid, signum)
    _, said = process.communicate(timeout=120)
    assert process.returncode == status
    assert said.strip().splitlines()[-1] == f"kinema: {word}; go on with: kinema train --resume --out {out}"
    assert "Traceback" not in said
    step = step_of(checkpoint)
    process = start("--resume", "--out", out)
    wait_until(lambda: step_of(checkpoint) > step, process)
    kill(process)
