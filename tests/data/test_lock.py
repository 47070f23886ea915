"""A lock keeps others out, and a machine without the means for it does without."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kinema.data.lock import lock_file

WITHOUT = "import sys; sys.modules['fcntl'] = None; import kinema.data.flow.extract, kinema.data.prepare.work_log; "
WITHOUT += "import kinema.engine.training.frame_cache"


def test_a_second_lock_is_refused_until_the_first_is_let_go(tmp_path):
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        lock_file(first, refusal="out must wait")
        with pytest.raises(ValueError, match="out must wait"):
            lock_file(second, refusal="out must wait")
        first.close()
        lock_file(second, refusal="out must wait")


def test_without_locks_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        lock_file(first, refusal="out must wait")
        lock_file(second, refusal="out must wait")
        monkeypatch.undo()
        lock_file(first, refusal="out must wait")  # nothing was locked, for now it can be
        with pytest.raises(ValueError, match="out must wait"):
            lock_file(second, refusal="out must wait")


def test_what_locks_is_imported_on_a_machine_without_locks():
    assert subprocess.run([sys.executable, "-c", WITHOUT], check=False).returncode == 0
