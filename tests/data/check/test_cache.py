"""The cache of what files gave: it forgets what changed, and never stands in the way."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.data.check import cache as module
from kinema.data.check.cache import NAME, Cache
from kinema.data.user_cache import cache_folder


@pytest.fixture
def opened(tmp_path):
    """Opens the cache in the test's folder, as often as asked."""
    caches = []

    def open_cache():
        caches.append(Cache(tmp_path))
        return caches[-1]

    yield open_cache
    for cache in caches:
        cache.close()


def test_an_answer_is_of_one_version_of_a_file_and_one_question(opened):
    cache = opened()
    name = os.fsdecode(b"a\xff\n'b")
    cache.put(name, "all", "1:2", "yes")
    cache.close()
    again = opened()
    assert again.get(name, "all", "1:2") == "yes"
    assert again.get(name, "all", "1:3") is None
    assert again.get(name, "ends", "1:2") is None
    assert again.get("b", "all", "1:2") is None


def test_what_another_reader_found_is_forgotten(opened, monkeypatch):
    cache = opened()
    cache.put("a", "all", "1:2", "yes")
    cache.close()
    monkeypatch.setattr(module, "_VERSION", "another")
    assert opened().get("a", "all", "1:2") is None


def test_two_runs_use_it_at_once(opened, monkeypatch):
    monkeypatch.setattr(module, "_WRITE_SECONDS", -1.0)
    one, other = opened(), opened()
    for number in range(20):
        one.put(f"a{number}", "all", "1", "one")
        other.put(f"b{number}", "all", "1", "other")
        assert (other.get(f"a{number}", "all", "1"), one.get(f"b{number}", "all", "1")) == ("one", "other")
    assert (one.trouble, other.trouble) == ("", "")


def test_a_process_killed_while_it_writes_leaves_a_sound_cache(opened, tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from kinema.data.check import cache\n"
        "cache._WRITE_SECONDS = -1.0\n"
        "known = cache.Cache(Path(sys.argv[1]))\n"
        "for number in range(10_000):\n"
        "    known.put(f'{number}', 'all', '1', 'yes')\n"
        "    if number == 50: print('here', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.kill()
    process.communicate()
    cache = opened()
    assert all(cache.get(f"{number}", "all", "1") == "yes" for number in range(50))
    assert cache.trouble == ""


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(4000)])
def test_a_broken_cache_is_said_and_gone_without(opened, tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    cache = opened()
    cache.put("a", "all", "1", "yes")
    assert cache.get("a", "all", "1") is None
    cache.close()
    assert cache.trouble.startswith(f"the cache {tmp_path / NAME} cannot be used (")
    assert "\n" not in cache.trouble
    assert (tmp_path / NAME).read_bytes() == content


def test_a_table_of_another_shape_is_said_and_gone_without(opened, tmp_path):
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute("create table files (a)")
    connection.close()
    cache = opened()
    assert cache.get("a", "all", "1") is None
    assert "cannot be used" in cache.trouble


def test_the_folder_is_the_users_or_the_one_named_or_none(monkeypatch, tmp_path):
    monkeypatch.delenv("KINEMA_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "kinema"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("~/.cache/kinema").expanduser()
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    for off in ("", "off", "OFF"):
        monkeypatch.setenv("KINEMA_CACHE", off)
        assert cache_folder() is None


def test_without_a_folder_nothing_is_known():
    cache = Cache(None)
    cache.put("a", "all", "1", "yes")
    assert (cache.get("a", "all", "1"), cache.trouble) == (None, "")
    cache.close()
