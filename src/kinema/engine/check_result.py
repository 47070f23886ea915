"""What a check of a dataset found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kinema.data.check.findings import KINDS, Finding
from kinema.data.check.probe import Decode
from kinema.data.quarantine import quarantine_text


@dataclass(kw_only=True)
class Check:
    """What a check found."""

    root: str
    """What was checked."""
    format: str = ""
    """Format of the annotations; empty where they could not be read."""
    annotations: tuple[str, ...] = ()
    """The annotation files."""
    notes: tuple[str, ...] = ()
    """What the reader of the annotations says."""
    num_rows: int = 0
    """Rows: videos, or parts of them."""
    num_files: int = 0
    """Different videos."""
    num_read: int = 0
    """Videos that were opened."""
    num_known: int = 0
    """Videos that were unchanged since an earlier check; what is left is missing."""
    num_bytes: int = 0
    """Bytes of all videos that are there."""
    decode: Decode = "all"
    """How much of them was decoded."""
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How many `rows`, and how many of each of the `classes`, by split; `none` where the data gives none."""
    frames: dict[str, float] = field(default_factory=dict)
    """Least, median and most frames of a readable video."""
    frame_rates: dict[str, float] = field(default_factory=dict)
    """Least, median and most frames per second, of those that state them."""
    frame_sizes: dict[str, int] = field(default_factory=dict)
    """How many videos have which size, the most frequent first; none where nothing was decoded."""
    lists: list[Check] = field(default_factory=list)
    """Of several lists of which a dataset has one: what was found of each by itself, what is said here of all."""
    findings: list[Finding] = field(default_factory=list)
    """What was found, in the order of `KINDS`."""
    trouble: str = ""
    """Why the cache could not be used, if so."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def num_faults(self) -> int:
        """How many things are at fault."""
        return sum(finding.count for finding in self.findings if finding.severity == "fault")

    def num_of(self, kind: str) -> int:
        """How many of a kind were found."""
        return sum(finding.count for finding in self.findings if finding.kind == kind)

    def quarantine(self) -> str:
        """Returns the list of the rows that training should leave out."""
        return quarantine_text(
            {"kind": finding.kind, **item.to_dict()}
            for finding in self.findings
            if KINDS[finding.kind].left_out
            for item in finding.items
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-able values; `docs/data.md` describes them."""
        return {
            "version": 1,
            "root": self.root,
            "format": self.format or None,
            "annotations": list(self.annotations),
            "notes": list(self.notes),
            "rows": self.num_rows,
            "videos": self.num_files,
            "videos_read": self.num_read,
            "videos_unchanged": self.num_known,
            "bytes": self.num_bytes,
            "decode": self.decode,
            "splits": self.splits,
            "frames": self.frames,
            "frame_rates": self.frame_rates,
            "frame_sizes": self.frame_sizes,
            "lists": [
                {
                    "name": one.annotations[0],
                    "format": one.format or None,
                    "notes": list(one.notes),
                    "rows": one.num_rows,
                    "videos": one.num_files,
                    "missing": one.num_of("missing"),
                    "faults": one.num_faults,
                    "splits": one.splits,
                }
                for one in self.lists
            ],
            "faults": self.num_faults,
            "findings": [
                {
                    "kind": finding.kind,
                    "severity": finding.severity,
                    "count": finding.count,
                    "what": KINDS[finding.kind].what,
                    "advice": KINDS[finding.kind].advice,
                    "items": [item.to_dict() for item in finding.items],
                }
                for finding in self.findings
            ],
            "seconds": round(self.seconds, 3),
        }
