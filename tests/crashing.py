"""Work for a pool of processes, some of which kills, stops or fails the process that does it."""

from __future__ import annotations

import os
import resource
import signal
import time
from typing import TYPE_CHECKING

from kinema.data.check.probe import Decode, Probe, probe

if TYPE_CHECKING:
    from collections.abc import Callable


def work(task: str, beat: Callable[[], None]) -> str:
    """Does what the task's first word says."""
    match task.split()[0]:
        case "segfault":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.kill(os.getpid(), signal.SIGSEGV)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave":
            os._exit(3)
        case "hang":
            time.sleep(600)
        case "slow":
            for _ in range(30):
                time.sleep(0.1)
                beat()
        case "fail":
            raise KeyError(task)
    return task.upper()


def probe_or_crash(task: tuple[int, str, Decode], beat: Callable[[], None]) -> Probe:
    """Looks at a file, unless its name says that it crashes the decoder."""
    if task[1].endswith("crash.mp4"):
        return work("segfault", beat)
    return probe(task[1], task[2], beat)
