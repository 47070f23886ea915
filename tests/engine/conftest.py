"""A dataset of a few tiny videos, for runs that last a second."""

from __future__ import annotations

import pytest

from kinema.data.motion.dataset import MotionConfig, make_motion_dataset


@pytest.fixture(scope="session")
def motion_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("motion") / "data"
    config = MotionConfig(num_train=24, num_val=8, frame_size=32, min_length=9, max_length=11)
    make_motion_dataset(root, config, quiet=True)
    return root
