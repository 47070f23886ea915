"""Keeps Lightning's voice down, and turns the ways in which it ends a run back into what went wrong."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from kinema.data.video.opening import VideoError


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keeps back what Lightning says of devices and workers: the choices are made here, and said where they matter."""
    loggers = [logging.getLogger(f"lightning.{part}.utilities.rank_zero") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    hook = threading.excepthook
    threading.excepthook = partial(_unless_raised_again, hook)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*does not have many workers")
            warnings.filterwarnings("ignore", message=r".*`training_step` returned `None`")  # no readable video in it
            warnings.filterwarnings("ignore", message=r".*your dataloader is not resumable")  # VideoTask sees to it
            warnings.filterwarnings("ignore", message=r".*in eval mode at the start of training")  # what is frozen
            warnings.filterwarnings(
                "ignore", message=r".*use `self.log\(.*sync_dist=True"
            )  # all processes say the same
            warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)
            yield
    finally:
        threading.excepthook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _unless_raised_again(hook: Callable[[threading.ExceptHookArgs], object], thrown: threading.ExceptHookArgs) -> None:
    """Keeps back that TensorBoard's thread cannot write: the run learns of it when it draws its next point."""
    if not (type(thrown.thread).__name__ == "_AsyncWriterThread" and isinstance(thrown.exc_value, OSError)):
        hook(thrown)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns the ways in which Lightning and its workers end a run back into what went wrong.

    Raises:
        KeyboardInterrupt: In place of Lightning's exit on one; it also leaves the signal ignored.
        VideoError: In one line, without the traceback of the worker that met it.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise type(error.__context__)() from error
        raise
    except VideoError as error:
        line = str(error).strip().splitlines()[-1]
        raise VideoError(line.partition("VideoError: ")[2] or line) from error
