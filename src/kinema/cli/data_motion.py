"""The command that makes the built-in dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.data.motion.dataset import MotionConfig
    from kinema.engine.arguments import CommandParser


def data_motion(out: str, config: MotionConfig) -> int:
    """Makes the built-in dataset: eight motions, as real video files, drawn or from footage."""
    from kinema.data.motion.dataset import make_motion_dataset

    make_motion_dataset(Path(out), config)
    print(f"{out}: {config.num_train} training and {config.num_val} validation clips")
    return 0


def motion_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `kinema data motion`."""
    parser.add_argument("--out", type=str, required=True, help="Folder to make.")
    parser.add_dataclass("kinema.data.motion.dataset", "MotionConfig")


def run_motion(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Calls `data_motion` with the values parsed."""
    from kinema.data.motion.dataset import MotionConfig
    from kinema.engine.recipe.files import build

    return data_motion(values.pop("out"), build(MotionConfig, values))
