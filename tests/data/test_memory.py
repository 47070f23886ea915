"""How much memory a process may take, of the machine and of the groups that it is in."""

from __future__ import annotations

import pytest

from kinema.data import memory
from kinema.data.memory import available_memory

V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 5000 kB to give; its groups are made by the tests."""
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "GROUP", tmp_path / "cgroup")
    return tmp_path


def write_group(folder, names, *, limit, used, inactive=0):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (f"{limit}\n", f"{used}\n"), strict=False):
        (folder / name).write_text(value)
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {inactive}\n")


def test_without_groups_it_is_what_the_machine_has(machine):
    assert available_memory() == 5000 * 1024


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        (("max", 0), ("max", 0), 5000 * 1024),
        ((3000, 1000), ("max", 0), 2100),
        (("max", 0), (3000, 1000), 2100),
        ((4000, 1000), (3000, 1500), 1600),
        ((1000, 4000), ("max", 0), 0),
    ],
)
def test_the_least_limit_on_the_way_up_counts(machine, inner, outer, expected):
    (machine / "own").write_text("0::/user.slice/job.scope\n")
    folder = machine / "cgroup" / "user.slice"
    write_group(folder / "job.scope", V2, limit=inner[0], used=inner[1], inactive=100)
    write_group(folder, V2, limit=outer[0], used=outer[1], inactive=100)
    assert available_memory() == expected


def test_a_container_sees_its_own_limit_at_the_root(machine):
    (machine / "own").write_text("0::/\n")
    write_group(machine / "cgroup", V2, limit=3000, used=1000)
    assert available_memory() == 2000
    (machine / "own").unlink()
    assert available_memory() == 2000


def test_the_older_groups_count_too(machine):
    (machine / "own").write_text("5:cpu,cpuacct:/x\n4:memory:/slurm/job\n1:name=systemd:/y\n")
    root = machine / "cgroup" / "memory"
    write_group(root, V1, limit=9223372036854771712, used=10)
    write_group(root / "slurm" / "job", V1, limit=3000, used=1000, inactive=500)
    assert available_memory() == 2500
    write_group(root / "slurm", V1, limit=2000, used=1000)
    assert available_memory() == 1000
