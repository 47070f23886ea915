"""How long a run will take is said once, after two epochs, by the second."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kinema.engine.training.watching import expected_time as module
from kinema.engine.training.watching.expected_time import ExpectedTime


@pytest.mark.parametrize(
    ("max_epochs", "seconds", "said"),
    [
        (62, 3.5, ["time: about 4 min for the other 60 epochs (3.5 s an epoch)"]),
        (902, 30, ["time: about 7 h 30 min for the other 900 epochs (30 s an epoch)"]),
        (22, 3, ["time: about 1 min for the other 20 epochs (3 s an epoch)"]),
        (21, 3, []),
        (2, 1000, []),
    ],
)
def test_the_second_epoch_tells_what_the_others_take(monkeypatch, max_epochs, seconds, said):
    lines, now = [], 1000.0
    watch = ExpectedTime(say=lines.append)
    for epoch in range(min(max_epochs, 5)):
        monkeypatch.setattr(module.time, "monotonic", lambda now=now: now)
        watch.on_train_epoch_start(SimpleNamespace(max_epochs=max_epochs, current_epoch=epoch), None)
        assert not lines or epoch >= 2
        now += seconds if epoch else 10 * seconds
    assert lines == said


def test_a_run_that_goes_on_counts_its_own_epochs(monkeypatch):
    lines = []
    watch = ExpectedTime(say=lines.append)
    for epoch in range(7, 11):
        monkeypatch.setattr(module.time, "monotonic", lambda now=float(10 * epoch): now)
        watch.on_train_epoch_start(SimpleNamespace(max_epochs=15, current_epoch=epoch), None)
    assert lines == ["time: about 1 min for the other 6 epochs (10 s an epoch)"]
