"""How several processes begin and end: one launcher, one sentence, and none left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kinema.engine.processes.joining import LAUNCHER, as_launched
from kinema.engine.processes.launch import needs_launch
from kinema.engine.recipe import DataRecipe, Recipe, TrainerRecipe
from kinema.engine.training.resuming.stopping import how_to_go_on
from kinema.engine.training.train import train
from several_ranks import environment_of

SECONDS = 240
COMMAND = [
    *(sys.executable, "-m", "kinema", "train", "--data.num_workers", "0", "--trainer.accelerator", "cpu"),
    *("--model.backbone", "test_convnext", "--model.temporal", "tsm", "--model.pretrained", "false"),
    *("--clip.num_frames", "3", "--clip.resize", "32", "--clip.crop", "32", "--trainer.batch_size", "4"),
]


def recipe_with(**trainer):
    return Recipe(data=DataRecipe(root="videos"), trainer=TrainerRecipe(accelerator="cpu", **trainer))


@pytest.fixture
def launched(monkeypatch):
    """Sets the environment of the second of four processes on two machines."""
    for name, value in environment_of(1, 4, num_nodes=2).items():
        monkeypatch.setenv(name, value)


def test_one_process_needs_no_launcher_and_two_do():
    assert not needs_launch(recipe_with())
    assert not needs_launch(recipe_with(devices="auto"))  # no GPU is asked for
    assert needs_launch(recipe_with(devices=2))
    with pytest.raises(ValueError, match=r"trainer.num_nodes must be 1 where torchrun has not started kinema, got 2"):
        needs_launch(recipe_with(num_nodes=2))


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize("devices", [1, 2, "auto"])
def test_torchrun_says_how_many_processes_there_are(devices):
    recipe = recipe_with(devices=devices, num_nodes=2)
    assert not needs_launch(recipe)
    assert as_launched(recipe).trainer.devices == 2


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        ({}, "trainer.num_nodes must be as many machines as torchrun has, 2, got 1"),
        ({"num_nodes": 3}, "trainer.num_nodes must be as many machines as torchrun has, 2, got 3"),
        (
            {"num_nodes": 2, "batch_norm": "sync"},
            "trainer.batch_norm must not be sync",
        ),
        ({"num_nodes": 2, "devices": 4}, "trainer.devices must be as many processes as torchrun has on a machine, 2"),
    ],
)
def test_a_recipe_that_torchrun_contradicts_is_refused(trainer, sentence):
    with pytest.raises(ValueError, match=sentence):
        as_launched(recipe_with(**trainer))


@pytest.mark.usefixtures("launched")
def test_a_run_goes_on_in_the_way_in_which_it_was_started(monkeypatch):
    assert how_to_go_on("my run") == "start torchrun again, with --resume --out 'my run'"
    monkeypatch.setenv(LAUNCHER, "result.pt")  # kinema has started the processes by itself
    assert how_to_go_on("run") == "go on with: kinema train --resume --out run"
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    monkeypatch.delenv(LAUNCHER)
    assert how_to_go_on("run") == "go on with: kinema train --resume --out run"


def environment(**more):
    folders = [str(Path(__file__).parents[3] / "src"), os.environ.get("PYTHONPATH", "")]
    lo = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders)), "OMP_NUM_THREADS": "1", **lo, **more}


def run(command, **more):
    return subprocess.run(
        list(map(str, command)), env=environment(**more), capture_output=True, text=True, timeout=SECONDS, check=False
    )


def torchrun(num_processes):
    """The beginning of a command that torchrun runs, on loopback alone."""
    local = ("--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", num_processes)
    return [sys.executable, "-m", "torch.distributed.run", *local, "-m"]


@pytest.mark.slow
def test_the_command_trains_and_resumes_in_two_processes_and_torchrun_scores_in_two(motion_root, tmp_path):
    out, begin = tmp_path / "run", ["--data.root", motion_root, "--trainer.epochs", "1", "--trainer.devices", "2"]
    done = run([*COMMAND, *begin, "--out", out])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/1") == done.stdout.count("held-out top-1") == 1
    assert done.stderr == ""
    assert "devices: 2" in (out / "recipe.yaml").read_text()
    again = run([*COMMAND, *begin, "--out", out])
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.startswith(f"kinema: out must be a folder without a run, got {out}")
    assert again.stderr.count("\n") == 1
    resumed = run([sys.executable, "-m", "kinema", "train", "--resume", "--out", out])
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming the run" in resumed.stdout
    score = ["kinema", "evaluate", out / "last.safetensors", "--data.root", motion_root, "--batch_size", "3"]
    alone = run([sys.executable, "-m", *score, "--json", tmp_path / "one.json"])
    both = run([*torchrun(2), *score, "--json", tmp_path / "two.json"])
    assert both.returncode == 0, both.stderr
    assert both.stdout == alone.stdout
    assert json.loads((tmp_path / "two.json").read_text()) == json.loads((tmp_path / "one.json").read_text())


@pytest.mark.slow
def test_the_library_returns_what_several_processes_left(motion_root, tmp_path, monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    values = dict(zip(COMMAND[4::2], COMMAND[5::2], strict=True))
    recipe = recipe_with(epochs=1, devices=2, batch_size=int(values["--trainer.batch_size"]))
    recipe = replace(
        recipe,
        out=str(tmp_path / "run"),
        data=replace(recipe.data, root=str(motion_root), num_workers=0),
        clip=replace(recipe.clip, num_frames=3, resize=32, crop=32),
        model=replace(recipe.model, backbone="test_convnext", temporal="tsm", pretrained=False),
    )
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    result = train(recipe)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert result.last == tmp_path / "run" / "last.safetensors"
    assert result.recipe.trainer.devices == 2
    assert result.held_out.num_clips == 8
    torch.testing.assert_close(result.held_out.probabilities.sum(dim=1), torch.ones(8))
    with pytest.raises(ValueError, match="out must be a folder without a run"):
        train(recipe)


@pytest.fixture
def long_run(motion_root, tmp_path):
    """A run of two processes, in its first epochs; with the ids of its processes and its folder."""
    out = tmp_path / "run"
    command = [*COMMAND, "--data.root", motion_root, "--trainer.epochs", "5000", "--trainer.devices", "2", "--out", out]
    parent = subprocess.Popen(
        list(map(str, command)), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: (out / "metrics.csv").exists() or parent.poll() is not None)
        assert parent.poll() is None, parent.communicate()
        yield parent, children_of(parent.pid), out
    finally:
        parent.kill()
        parent.communicate(timeout=60)


def wait_for(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def children_of(parent):
    """Ids of the processes that a process has started, in the order of their ranks."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    with_rank = [(Path(f"/proc/{child}/environ").read_bytes(), int(child)) for child in children]
    return [child for rank in (0, 1) for text, child in with_rank if f"\0RANK={rank}\0".encode() in text]


def is_there(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


@needs_proc
@pytest.mark.slow
def test_the_death_of_one_process_ends_all_with_one_sentence(long_run):
    parent, children, _ = long_run
    os.kill(children[1], signal.SIGKILL)
    _, said = parent.communicate(timeout=SECONDS)
    assert parent.returncode == 1
    assert said.startswith("kinema: rank 1 must not end before the run, got signal SIGKILL; ")
    assert not any(map(is_there, children))


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_the_one_that_started_it(long_run, ending):
    parent, children, out = long_run
    assert len(children) == 2
    parent.send_signal(ending)
    _, said = parent.communicate(timeout=SECONDS)
    wait_for(lambda: not any(map(is_there, children)))
    assert parent.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[ending]
    if ending != signal.SIGKILL:
        assert (out / "checkpoints" / "last.ckpt").is_file()
    if ending == signal.SIGINT:
        assert said.count("kinema: stopping at the end of this step") <= 1
        assert said.splitlines()[-1] == f"kinema: interrupted; go on with: kinema train --resume --out {out}"
