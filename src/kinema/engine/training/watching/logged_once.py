"""Loggers that a resumed run goes on with: each curve has each step once."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from kinema.data.atomic import write_atomically


class LoggedSteps:
    """Which steps of which curves a service has been given, kept in a file of the run beside the service's id of it.

    A service cannot take a point back. A resumed run gives the same values again, from its checkpoint on: those that
    were given before are left out.
    """

    def __init__(self, file: Path) -> None:
        """Reads what was given before, if there is anything.

        Args:
            file: Where it is kept.
        """
        self.file = file
        self.id: str | None = None
        self.steps: dict[str, int] = {}
        if file.is_file():
            kept = json.loads(file.read_text(encoding="utf-8"))
            self.id, self.steps = kept["id"], kept["steps"]

    def begin(self, id: str) -> None:
        """Keeps the id that the service knows the run by."""
        if id != self.id:
            self.id = id
            self._write()

    def new(self, metrics: Mapping[str, float], step: int) -> dict[str, float]:
        """Returns what was not yet given, and notes that it is given now."""
        fresh = {name: value for name, value in metrics.items() if step > self.steps.get(name, -1)}
        if fresh:
            self.steps |= dict.fromkeys(fresh, step)
            self._write()
        return fresh

    def _write(self) -> None:
        write_atomically(self.file, json.dumps({"id": self.id, "steps": self.steps}).encode())


class WandbOnce(WandbLogger):
    """Weights & Biases, with each step once."""

    def __init__(self, steps: LoggedSteps, **options: Any) -> None:  # noqa: ANN401
        """Takes the options of Lightning's logger beside what was logged before."""
        super().__init__(**options)
        self.logged = steps

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs what is new."""
        fresh = self.logged.new(metrics, step or 0)
        if fresh.keys() - {"epoch"}:
            super().log_metrics(fresh, step)


class MLFlowOnce(MLFlowLogger):
    """MLflow, with each step once."""

    def __init__(self, steps: LoggedSteps, **options: Any) -> None:  # noqa: ANN401
        """Takes the options of Lightning's logger beside what was logged before."""
        super().__init__(run_id=steps.id, **options)
        self.logged = steps

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs what is new."""
        assert self.run_id is not None
        self.logged.begin(self.run_id)
        fresh = self.logged.new(metrics, step or 0)
        if fresh.keys() - {"epoch"}:
            super().log_metrics(fresh, step)


class StepsFile(CSVLogger):
    """A CSV file with a line for each logged step; a resumed run goes on in it."""

    def __init__(self, folder: Path, *, after: int | None) -> None:
        """Remembers where to write.

        Args:
            folder: Where the file is.
            after: Step of the checkpoint that a run goes on from; later lines are logged again. None: a run begins.
        """
        super().__init__(save_dir=folder.parent, name=folder.name, version="", flush_logs_every_n_steps=1)
        self._experiment = _Appending(self.log_dir, after=after)


class _Appending(ExperimentWriter):
    NAME_METRICS_FILE = "steps.csv"

    def __init__(self, log_dir: str, *, after: int | None) -> None:
        super().__init__(log_dir)
        file = Path(self.metrics_file_path)
        if after is None or not file.is_file():
            file.unlink(missing_ok=True)
            return
        with file.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            self.metrics_keys = list(reader.fieldnames or ())
            kept = [row for row in reader if _whole(row) and int(row["step"]) <= after]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=self.metrics_keys)
        writer.writeheader()
        writer.writerows(kept)
        write_atomically(file, text.getvalue().encode())

    def _check_log_dir_exists(self) -> None:
        """Leaves the file as it is, where Lightning's would remove it."""


def _whole(row: dict[str, Any]) -> bool:
    """Tells whether a line was written to its end: a kill may have left half of one."""
    return None not in row and None not in row.values() and str(row.get("step", "")).isdigit()
