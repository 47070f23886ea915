"""Packages `wandb` and `mlflow` that take what Lightning's loggers give and write it down, for tests without them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WANDB = """
import json, os
from pathlib import Path
from wandb.wandb_run import Run
run = None

def init(**options):
    global run
    assert run is None, "the last run was not finished"
    Path(options["dir"]).is_dir() or exit("no folder")
    run = Run(Path(os.environ["STUB_TRACKED"]), options)
    return run
"""
WANDB_RUN = """
import json
import wandb

class Run:
    def __init__(self, file, options):
        self.file, self.id, self.config = file, options["id"], self
        self.write("init", options)
    def write(self, what, values):
        with self.file.open("a") as file:
            file.write(json.dumps([what, self.id, values], default=str) + "\\n")
    def define_metric(self, *names, **options):
        pass
    def update(self, values, **options):
        self.write("config", values)
    def log(self, values):
        self.write("log", values)
    def finish(self):
        wandb.run = None
"""
MLFLOW_TRACKING = """
import json, os
from pathlib import Path
from types import SimpleNamespace as Some

class MlflowClient:
    def __init__(self, uri):
        self.uri, self.file = uri, Path(os.environ["STUB_TRACKED"])
    def write(self, what, run, values):
        with self.file.open("a") as file:
            file.write(json.dumps([what, run, values], default=str) + "\\n")
    def get_experiment_by_name(self, name):
        return None
    def create_experiment(self, name, artifact_location):
        self.write("experiment", None, [name, self.uri, artifact_location])
        return "7"
    def create_run(self, experiment_id, tags):
        self.write("init", "a1", tags)
        return Some(info=Some(run_id="a1", experiment_id=experiment_id))
    def get_run(self, run_id):
        assert run_id == "a1"
        return Some(info=Some(run_id=run_id, experiment_id="7"))
    def log_batch(self, run_id, params=(), metrics=()):
        if params:
            self.write("config", run_id, {param.key: param.value for param in params})
        for metric in metrics:
            self.write("log", run_id, {metric.key: metric.value, "trainer/global_step": metric.step})
    def set_terminated(self, run_id, status):
        self.write("end", run_id, status)
"""
MLFLOW_ENTITIES = """
from types import SimpleNamespace
Param = Metric = SimpleNamespace
"""
FILES = {
    "wandb/__init__.py": WANDB,
    "wandb/wandb_run.py": WANDB_RUN,
    "wandb/sdk/__init__.py": "",
    "wandb/sdk/lib.py": "class RunDisabled: pass\n",
    "wandb-0.20.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: wandb\nVersion: 0.20.0\n",
    "mlflow/__init__.py": "def set_tracking_uri(uri): pass\n",
    "mlflow/tracking/__init__.py": MLFLOW_TRACKING,
    "mlflow/tracking/context/__init__.py": "",
    "mlflow/tracking/context/registry.py": "def resolve_tags(tags): return tags\n",
    "mlflow/entities.py": MLFLOW_ENTITIES,
    "mlflow/utils/__init__.py": "",
    "mlflow/utils/mlflow_tags.py": "MLFLOW_RUN_NAME = 'mlflow.runName'\n",
    "mlflow-3.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mlflow\nVersion: 3.0.0\n",
}


@contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """Puts the packages on the path for a while; gives the file that they write to."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    tracked = folder / "tracked.jsonl"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(folder))
        for name in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("STUB_TRACKED", str(tracked))
        yield tracked
    for name in [name for name in sys.modules if name.partition(".")[0] in ("wandb", "mlflow")]:
        del sys.modules[name]


def read_tracked(file: Path) -> list[list]:
    """Returns what was written: what it is, id of the run, values."""
    return [json.loads(line) for line in file.read_text().splitlines()]
