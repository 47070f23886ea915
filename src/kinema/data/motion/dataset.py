"""The built-in dataset: eight motions in four time-reversed pairs, as real video files that are made on the spot.

A motion is drawn without knowing which of its pair it will be; played as drawn it is one class, played in reverse the
other. So what the frames of a clip show, in whatever order, says nothing about its direction, and a model that is blind
to order is right at most half of the time. Two facts keep it so on disk. The files are all-intra H.264 at constant QP:
a reversed clip decodes to the very same frames, whereas frames predicted from their neighbours would carry the
direction of coding in their artefacts. And all lengths are odd: the centres of T equal segments of a clip are then, for
every T, the same frames as those of its reversal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from kinema.data.motion.files import clips_fingerprint, encode_clip
from kinema.data.motion.footage import (
    Footage,
    draw_footage_scene,
    find_footage,
    load_stored,
    split_footage,
    store_footage,
)
from kinema.data.motion.scenes import AXES, draw_scene

CLASS_NAMES = (
    "moving left",
    "moving right",
    "moving up",
    "moving down",
    "approaching",
    "receding",
    "turning clockwise",
    "turning counter-clockwise",
)
"""Class 2k is the motion along axis k as drawn, class 2k + 1 its reversal; named after what the content seems to do."""

PARTNER = {name: CLASS_NAMES[label ^ 1] for label, name in enumerate(CLASS_NAMES)}
"""Each class and what it becomes when played in reverse."""

VERSION = 1
"""Counts up when the same configuration gives other clips."""

SPLITS = ("train", "val")
DESCRIPTION = "motion.json"


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """What the built-in dataset is made of; the same values give the same clips.

    Raises:
        ValueError: If a value is out of its range.
    """

    num_train: int = 1024
    """Training clips; a multiple of 8, for as many of each class."""
    num_val: int = 256
    """Validation clips; a multiple of 8: half are the other half, reversed."""
    frame_size: int = 64
    """Height and width of the frames in pixels; even, at least 16."""
    min_length: int = 17
    """Fewest frames of a clip; odd, as all lengths are."""
    max_length: int = 25
    """Most frames of a clip; odd."""
    fps: int = 12
    """Frames per second that the files declare."""
    seed: int = 0
    """Another seed gives other clips and, with footage, another split of it."""
    contrast: float = 1.0
    """1: the object is brighter than what surrounds it; 0: it is as bright as anything. Of drawn clips."""
    clutter: int = 2
    """Still objects behind the moving one. Of drawn clips."""
    noise: float = 0.01
    """Standard deviation of the noise in each frame, of values in [0, 1]."""
    speed: float = 1.0
    """Factor on how far things move, grow or turn in a clip."""
    footage: str | None = None
    """Folder of videos over which a window moves, instead of drawn clips; validation uses videos of its own."""
    group_pattern: str | None = None
    """Regular expression for `footage`: videos for whose names its group (or the whole match) is the same stay on one
    side of the split. Alternatives with names, `(?P<hall>...)|(?P<yard>...)`, are one group each."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("num_train", "num_val"):
            value = getattr(self, name)
            if value < 8 or value % 8:
                raise ValueError(
                    f"{name} must be a positive multiple of 8, got {value}; take {max(8, round(value / 8) * 8)}"
                )
        if self.frame_size < 16 or self.frame_size % 2:
            raise ValueError(
                f"frame_size must be even and at least 16, got {self.frame_size}; "
                f"take {max(16, self.frame_size + self.frame_size % 2)}"
            )
        for name in ("min_length", "max_length"):
            value = getattr(self, name)
            if value < 3 or value % 2 == 0:
                raise ValueError(
                    f"{name} must be odd and at least 3, got {value}; take {max(3, value + 1)} (an odd length is "
                    "sampled at the same frames in both directions)"
                )
        if self.min_length > self.max_length:
            raise ValueError(
                f"min_length must be at most max_length, got {self.min_length} and {self.max_length}; swap them"
            )
        limits = {"fps": (1, 240), "contrast": (0, 1), "clutter": (0, 50), "noise": (0, 0.5), "speed": (0.1, 2)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                default = type(self).__dataclass_fields__[name].default
                raise ValueError(f"{name} must lie between {low} and {high}, got {value}; {default} is the default")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}; any other whole number will do")
        if self.group_pattern is not None and self.footage is None:
            raise ValueError(
                f"group_pattern must be given with footage only, got {self.group_pattern!r} without; add --footage DIR"
            )
        try:
            re.compile(self.group_pattern or "")
        except re.error as error:
            raise ValueError(
                f"group_pattern must be a regular expression, got {self.group_pattern!r} ({error}); "
                "put a backslash before a character that stands for itself"
            ) from error


@dataclass(frozen=True)
class _Scene:
    """One drawing, and the files it becomes: (path relative to the dataset, whether reversed)."""

    split: str
    index: int
    axis: str
    files: tuple[tuple[str, bool], ...]


def make_motion_dataset(out: Path, config: MotionConfig, *, quiet: bool = False) -> None:
    """Writes `out/{train,val}/<class>/*.mp4` and `out/motion.json`; leaves it as it is if it is already this dataset.

    The dataset is made in a folder beside `out` and moved into place when it is complete.

    Args:
        out: Folder to make.
        config: What to make.
        quiet: Whether to show no progress bar.

    Raises:
        ValueError: If `out` holds something else, or the footage cannot be used.
    """
    footage = find_footage(Path(config.footage)) if config.footage is not None else []
    identity = {
        "version": VERSION,
        "config": asdict(config),
        "footage": {item.name: item.digest for item in footage},
    }
    if out.exists() and _holds(out, identity):
        return
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        _write(partial, config, footage, identity, quiet=quiet)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _holds(out: Path, identity: dict[str, Any]) -> bool:
    """Whether a folder holds exactly this dataset; False if it is empty."""
    if out.resolve() == Path.cwd():
        raise ValueError(f"out must be a folder beside or inside the current one, got {out}; name a new one")
    if not out.is_dir():
        raise ValueError(f"out must be a folder, got the file {out}; name another")
    if not any(out.iterdir()):
        return False
    description = out / DESCRIPTION
    if not description.is_file():
        raise ValueError(f"out must be a new or empty folder, got {out} with other files in it; name another")
    stored = json.loads(description.read_text(encoding="utf-8"))
    different = [key for key in identity if stored.get(key) != identity[key]]
    if different == ["config"]:
        old, new = stored["config"], identity["config"]
        different = [key for key in new if old.get(key) != new[key]]
    if different:
        raise ValueError(
            f"out must be a new folder or hold the same dataset, got {out} with another {', '.join(different)}; "
            "name another folder or delete this one"
        )
    if stored["fingerprint"] != clips_fingerprint(out):
        raise ValueError(
            f"out must be a new folder or hold the same dataset, got {out} with files changed or missing; "
            "delete it to have it made again"
        )
    return True


def _write(
    folder: Path, config: MotionConfig, footage: list[Footage], identity: dict[str, Any], *, quiet: bool
) -> None:
    for split in SPLITS:
        for name in CLASS_NAMES:
            (folder / split / name).mkdir(parents=True)
    store = folder / "footage"
    sides: dict[str, list[Footage]] = {split: [] for split in SPLITS}
    if config.footage is not None:
        store.mkdir()
        readable = store_footage(
            Path(config.footage),
            footage,
            store,
            frame_size=config.frame_size,
            fps=config.fps,
            max_length=config.max_length,
        )
        sides["train"], sides["val"] = split_footage(readable, group_pattern=config.group_pattern, seed=config.seed)

    def write(scene: _Scene) -> None:
        frames = _draw(scene, config, sides[scene.split], store)
        for name, reverse in scene.files:
            encode_clip(frames[::-1] if reverse else frames, folder / name, fps=config.fps)

    scenes = [*_train_scenes(config.num_train), *_val_scenes(config.num_val)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        done = pool.map(write, scenes)
        for _ in track(done, description="Making motion clips", total=len(scenes), disable=quiet):
            pass
    shutil.rmtree(store, ignore_errors=True)
    used = {f"{split}_footage": sorted(item.name for item in sides[split]) for split in SPLITS}
    description = {**identity, **used, "fingerprint": clips_fingerprint(folder)}
    text = json.dumps(description, indent=2, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def _train_scenes(num_clips: int) -> Iterator[_Scene]:
    for index in range(num_clips):
        label = index % len(CLASS_NAMES)
        name = f"train/{CLASS_NAMES[label]}/clip_{index:05d}.mp4"
        yield _Scene("train", index, AXES[label // 2], ((name, label % 2 == 1),))


def _val_scenes(num_clips: int) -> Iterator[_Scene]:
    """Each scene stands there in both directions; which of them is called forward does not depend on the class."""
    for index in range(num_clips // 2):
        axis = index % len(AXES)
        flip = index // len(AXES) % 2
        files = tuple(
            (f"val/{CLASS_NAMES[2 * axis + reverse]}/pair_{index:04d}_{name}.mp4", bool(reverse))
            for name, reverse in (("forward", flip), ("reversed", 1 - flip))
        )
        yield _Scene("val", index, AXES[axis], files)


def _draw(scene: _Scene, config: MotionConfig, footage: list[Footage], store: Path) -> np.ndarray:
    """Draws frames [T, H, W, 3] from (seed, split, index) alone."""
    rng = np.random.default_rng([config.seed, SPLITS.index(scene.split), scene.index])
    length = int(rng.choice(np.arange(config.min_length, config.max_length + 1, 2)))
    if config.footage is None:
        return draw_scene(
            scene.axis,
            length,
            frame_size=config.frame_size,
            contrast=config.contrast,
            clutter=config.clutter,
            noise=config.noise,
            speed=config.speed,
            rng=rng,
        )
    clips_per_video = len(CLASS_NAMES) if scene.split == "train" else len(AXES)
    item = footage[scene.index // clips_per_video % len(footage)]
    return draw_footage_scene(
        load_stored(store, item),
        scene.axis,
        length,
        frame_size=config.frame_size,
        noise=config.noise,
        speed=config.speed,
        rng=rng,
    )
