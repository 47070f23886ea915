"""A task that kills or stops its process is named, and the others are done."""

from __future__ import annotations

import multiprocessing

import pytest

import crashing
from kinema.data.check.pool import Lost, do_all


def outcome(tasks, **options):
    options = {"num_workers": 2, "silence_seconds": 60.0} | options
    return dict(do_all(crashing.work, tasks, **options))


def test_tasks_that_kill_their_process_are_named_and_the_others_done():
    tasks = ["a", "segfault", "b", "kill", "leave", "fail", "c", "d"]
    done = outcome(tasks)
    assert {task: done[task] for task in "abcd"} == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert done.keys() == set(tasks)
    for task, how in (("segfault", "SIGSEGV"), ("kill", "SIGKILL"), ("leave", "exit status 3"), ("fail", "KeyError")):
        assert isinstance(done[task], Lost)
        assert how in done[task].reason
    assert multiprocessing.active_children() == []


def test_a_task_that_gives_no_sign_is_given_up_and_a_slow_one_that_does_is_not():
    done = outcome(["hang", "slow", "a"], silence_seconds=1.5)
    assert "no further for 1.5 seconds" in done["hang"].reason
    assert (done["slow"], done["a"]) == ("SLOW", "A")
    assert multiprocessing.active_children() == []


def test_tasks_are_taken_one_by_one_and_a_pool_that_is_left_ends_its_processes():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield f"{number}"

    results = do_all(crashing.work, tasks(), num_workers=2, silence_seconds=60.0)
    next(results)
    assert len(taken) <= 4
    results.close()
    assert multiprocessing.active_children() == []


def test_without_processes_the_work_is_done_here():
    assert outcome(["a", "fail", "b"], num_workers=0)["b"] == "B"
    assert isinstance(outcome(["fail"], num_workers=0)["fail"], Lost)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_no_tasks_are_no_work(num_workers):
    assert outcome([], num_workers=num_workers) == {}
