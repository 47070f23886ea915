"""Makes one piece of every video of a dataset that is not made yet: what extraction and packing into files share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event

from kinema.data.prepare.jobs import Jobs
from kinema.data.prepare.report import Report
from kinema.data.prepare.targets import Target
from kinema.data.prepare.work_log import WorkLog, is_done
from kinema.data.video.opening import VideoError


def make_each(
    targets: Sequence[Target],
    log: WorkLog,
    work: Callable[[Target, Event], list[int]],
    *,
    what: str,
    num_workers: int,
    quiet: bool,
) -> Report:
    """Runs a piece of work for each video that the log does not know as done.

    Args:
        targets: The videos, and what becomes of them.
        log: Notes what is done.
        work: Makes the piece of a video; returns the stamp of what it was made from.
        what: What is done, beside the bar.
        num_workers: Videos at the same time.
        quiet: Whether to show no bar.

    Returns:
        What was done, and what cannot be read.

    Raises:
        OSError: If the disk is full or cannot be written to.
    """
    todo = [target for target in targets if not is_done(log, target.name, target.source)]
    report = Report(num_videos=len(targets), num_kept=len(targets) - len(todo))
    for target, result in Jobs(work, num_workers=num_workers).run(todo, what=what, quiet=quiet):
        if isinstance(result, VideoError):
            report.failures[target.name] = str(result)
        else:
            log.add(target.name, source=result)
            report.num_new += 1
    return report
