"""Tiny trees in the shape of the published datasets: all their classes, a few videos of a few frames."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from counting import counting_frame, write_counting_video
from kinema.data.flow.pictures import write_field

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NUM_FRAMES = 12
WIDTH, HEIGHT = 56, 40

SIDES = ("Pulling something from left to right", "Pulling something from right to left")
SOMETHING = (*SIDES, *(f"Doing something of kind {number}" for number in range(172)))
JESTER = ("Swiping Left", "Swiping Right", *(f"Gesture {number}" for number in range(25)))
KINETICS = tuple(f"doing sport {number:03d}" for number in range(400))
UCF101 = tuple(f"Action{number:03d}" for number in range(101))
HMDB51 = tuple(f"act_{number:02d}" for number in range(51))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a text file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_frames(folder: Path, *, pattern: str = "{:05d}.jpg") -> None:
    """Writes a folder of frames."""
    folder.mkdir(parents=True)
    for number in range(1, NUM_FRAMES + 1):
        frame = counting_frame(number, width=WIDTH, height=HEIGHT)
        Image.fromarray(frame).save(folder / pattern.format(number))


def write_videos(paths: list[Path], *, codec: str) -> None:
    """Writes one video under several names."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_counting_video(paths[0], codec=codec, num_frames=NUM_FRAMES, width=WIDTH, height=HEIGHT)
    for path in paths[1:]:
        os.link(paths[0], path)


def write_something_v1(root: Path) -> None:
    """Lists of id;class, folders of frames."""
    start = root / "something-something-v1-"
    write_lines(start.with_name(f"{start.name}labels.csv"), SOMETHING)
    write_lines(start.with_name(f"{start.name}train.csv"), [f"1;{SIDES[0]}", f"2;{SIDES[1]}", f"3;{SOMETHING[5]}"])
    write_lines(start.with_name(f"{start.name}validation.csv"), [f"4;{SIDES[0]}"])
    for number in range(1, 5):
        write_frames(root / "20bn-something-something-v1" / str(number))


def write_something_v2(root: Path) -> None:
    """Lists in JSON, videos in webm."""
    root.mkdir(parents=True)
    templates = [name.replace("something", "[something]") for name in SOMETHING]
    lists = {
        "train": [{"id": str(number), "template": templates[number % 3]} for number in (1, 2, 3)],
        "validation": [{"id": "4", "template": templates[0]}],
        "labels": {name: str(number) for number, name in enumerate(SOMETHING)},
    }
    for name, content in lists.items():
        (root / f"something-something-v2-{name}.json").write_text(json.dumps(content), encoding="utf-8")
    write_videos(
        [root / "20bn-something-something-v2" / f"{number}.webm" for number in (1, 2, 3, 4)], codec="libvpx-vp9"
    )


def write_jester(root: Path) -> None:
    """Lists of id;class, folders of frames."""
    write_lines(root / "jester-v1-labels.csv", JESTER)
    write_lines(root / "jester-v1-train.csv", [f"1;{JESTER[0]}", f"2;{JESTER[1]}", f"3;{JESTER[9]}"])
    write_lines(root / "jester-v1-validation.csv", [f"4;{JESTER[0]}"])
    for number in range(1, 5):
        write_frames(root / "20bn-jester-v1" / str(number))


def write_kinetics400(root: Path) -> None:
    """A CSV for each split, videos in folders of classes; a training video of each class."""
    head = "label,youtube_id,time_start,time_end,split"
    train = {name: f"video{number:06d}" for number, name in enumerate(KINETICS)}
    write_lines(root / "train.csv", [head, *(f"{name},{youtube},0,10,train" for name, youtube in train.items())])
    write_lines(root / "val.csv", [head, f"{KINETICS[0]},held_out_01,0,10,val"])
    videos = [root / "train" / name / f"{youtube}_000000_000010.mp4" for name, youtube in train.items()]
    write_videos([*videos, root / "val" / KINETICS[0] / "held_out_01_000000_000010.mp4"], codec="libx264")


def write_ucf101(root: Path) -> None:
    """The three splits, videos in folders of classes."""
    lists, used = root / "ucfTrainTestlist", UCF101[:3]
    write_lines(lists / "classInd.txt", [f"{number} {name}" for number, name in enumerate(UCF101, start=1)])
    names = [f"{name}/v_{name}_g{group:02d}_c01.avi" for name in used for group in (1, 2, 3)]
    for fold in (1, 2, 3):
        held_out = f"_g{fold:02d}_"
        train = [f"{name} {1 + UCF101.index(name.partition('/')[0])}" for name in names if held_out not in name]
        write_lines(lists / f"trainlist{fold:02d}.txt", train)
        write_lines(lists / f"testlist{fold:02d}.txt", [name for name in names if held_out in name])
    write_videos([root / "UCF-101" / name for name in names], codec="mpeg4")


def write_hmdb51(root: Path) -> None:
    """The three splits, a list for each class; videos in folders of classes."""
    used = HMDB51[:3]
    for name in HMDB51:
        for fold in (1, 2, 3):
            parts = [(number, 2 if number == fold else 1) for number in (1, 2, 3)] if name in used else [(1, 0)]
            lines = [f"clip_{name}_{number}.avi {part} " for number, part in parts]
            write_lines(root / "testTrainMulti_7030_splits" / f"{name}_test_split{fold}.txt", lines)
    names = [f"{name}/clip_{name}_{number}.avi" for name in HMDB51 for number in (1, 2, 3)]
    write_videos([root / name for name in names], codec="mpeg4")


def write_flow(root: Path) -> None:
    """Folders of flow as `kinema data flow` writes them, with a CSV."""
    rows = [("1", SIDES[0], "train"), ("2", SIDES[1], "train"), ("3", "walking", "train"), ("4", SIDES[0], "val")]
    write_lines(root / "annotations.csv", ["path,label,split", *(",".join(row) for row in rows)])
    codes = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, HEIGHT, WIDTH, 2), np.uint8)
    for name, _, _ in rows:
        (root / name).mkdir()
        for number in range(1, NUM_FRAMES + 1):
            write_field(root / name, codes[number - 1], number=number, layout="tsn", name=name)


WRITERS = {
    "something_v1": write_something_v1,
    "something_v2": write_something_v2,
    "jester": write_jester,
    "kinetics400": write_kinetics400,
    "ucf101": write_ucf101,
    "hmdb51": write_hmdb51,
    "flow": write_flow,
}
