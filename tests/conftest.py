"""Fixtures that more than one room of the tests uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from counting import write_counting_video

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps tests out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINEMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real clips beside the repository; the test is skipped, loudly, where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        message = f"no folder of real clips at {path}; this test did not run"
        if os.environ.get("KINEMA_REQUIRE") == "shared":
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def counting_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An H.264 file of 40 frames, 64x64, whose frame i carries i in its brightness (`counting.numbers_in`)."""
    return write_counting_video(tmp_path_factory.mktemp("counting") / "counting.mp4", gop_size=12)
