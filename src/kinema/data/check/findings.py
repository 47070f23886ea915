"""What may be wrong with a dataset: the kinds of findings, what each means, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["fault", "remark"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    severity: Severity
    """A fault makes training or its numbers wrong; a remark may be meant so."""
    what: str
    """What was found, as it follows a count."""
    advice: str
    """What to do."""
    brief: str = ""
    """A fault in two words, as one of it is called."""
    left_out: bool = False
    """Whether a quarantine leaves the rows out."""


KINDS: dict[str, Kind] = {
    "annotations": Kind(
        "fault",
        "annotation that cannot be read",
        "mend it; nothing can be trained before that, and rows were not read",
        brief="unreadable annotation",
    ),
    "bad_line": Kind(
        "fault",
        "lines of the annotations that cannot be read",
        "mend each: training stops at the first of them",
        brief="bad line",
    ),
    "several_lists": Kind(
        "remark",
        "lists of which a dataset has one; each was checked by itself",
        "name the one to train on with --data.annotations FILE",
    ),
    "missing": Kind(
        "fault", "rows whose video is not there", "copy or download the videos", left_out=True, brief="missing video"
    ),
    "unreadable": Kind(
        "fault",
        "rows whose video cannot be read",
        "replace or re-encode the videos",
        left_out=True,
        brief="unreadable video",
    ),
    "outside": Kind(
        "fault", "rows whose part lies outside its video", "mend start and end", left_out=True, brief="misplaced part"
    ),
    "beyond": Kind(
        "remark", "rows whose part ends after its video", "fine by a little: the frames that are there are taken"
    ),
    "leak": Kind(
        "fault",
        "training rows whose video is held out too",
        "keep each video on one side: held-out scores flatter otherwise",
        left_out=True,
        brief="leak",
    ),
    "torn_group": Kind(
        "fault",
        "groups that are in training and held out",
        "move each group to one side: held-out scores flatter otherwise",
        brief="torn group",
    ),
    "contradiction": Kind(
        "fault", "videos that stand under several classes", "decide which class is right", brief="contradictory video"
    ),
    "duplicate": Kind(
        "remark",
        "videos that are there more than once",
        "remove the copies, or give them one group so that a split keeps them together",
    ),
    "short": Kind("remark", "rows with fewer frames than a clip", "fine if meant: frames are repeated evenly"),
    "absent_class": Kind("remark", "classes without rows", "add videos, or take the classes off the list"),
    "off_by_one": Kind(
        "fault",
        "list whose labels count from 1",
        "subtract 1 from each label; if there is a class 0 without videos, name the classes in a class list",
        brief="off-by-one list",
    ),
    "one_class": Kind(
        "fault",
        "data of fewer than two classes",
        "add videos of another class: nothing can be learnt",
        brief="lone class",
    ),
    "imbalance": Kind(
        "remark",
        "classes of very different size",
        "watch the mean class accuracy, not top-1; or add videos of the small",
    ),
    "one_video": Kind(
        "remark", "classes of one video", "add videos: a split cannot have such a class both in training and held out"
    ),
    "frame_rate": Kind(
        "remark", "videos with another frame rate than the rest", "fine if speed means nothing; else re-encode them"
    ),
    "variable_rate": Kind(
        "remark",
        "videos whose frames are not evenly spaced in time",
        "fine where frames are counted; where seconds matter, re-encode at a constant rate",
    ),
    "frame_size": Kind(
        "remark", "videos with another frame size than the rest", "fine in general; look at one whether it was meant"
    ),
    "changing_size": Kind(
        "remark", "videos whose frame size changes midway", "frames are scaled to the stated size; look at them"
    ),
    "turned": Kind(
        "remark",
        "videos that a tag turns or mirrors",
        "fine: they are read upright; other programs may pass the tag over, so look at one",
    ),
    "unlisted": Kind("remark", "videos in the folder that no row names", "add rows for them, or leave it so"),
    "other_file": Kind(
        "remark", "files whose names are not those of videos", "rename them if they are videos; else leave them"
    ),
    "unlabelled": Kind(
        "remark", "folder of videos without classes", "files were checked alone; to train, put them in class folders"
    ),
}
"""The kinds, in the order in which they are told; `docs/data.md` describes each."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One row, video, group or class of a finding."""

    name: str
    """Its name, as the data has it."""
    reason: str = ""
    """What is the matter with it."""
    split: str | None = None
    """Split of the row, where only this one is meant."""
    line: int | None = None
    """Line of the file that the name is."""
    of: str | None = None
    """The list that it is of, where there are several."""

    def to_dict(self) -> dict[str, Any]:
        """Returns it for JSON, without what it does not say."""
        parts = {"name": self.name, "reason": self.reason, "split": self.split, "line": self.line, "of": self.of}
        return {name: value for name, value in parts.items() if value}


@dataclass(kw_only=True)
class Finding:
    """All of one kind that was found."""

    kind: str
    """Its name in `KINDS`."""
    items: list[Item] = field(default_factory=list)
    """What is concerned; may be fewer than the count where one item stands for many."""
    count: int = 0
    """How many."""

    @property
    def severity(self) -> Severity:
        """Fault or remark."""
        return KINDS[self.kind].severity


def found(kind: str, items: list[Item], *, count: int | None = None) -> list[Finding]:
    """Returns the finding, if there is something to tell."""
    return [Finding(kind=kind, items=items, count=len(items) if count is None else count)] if items else []
