"""What became of a dataset that was prepared."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """Counts, and what a person must know."""

    num_videos: int
    """Videos of the dataset."""
    num_new: int = 0
    """Those done in this run."""
    num_kept: int = 0
    """Those that an earlier run had done."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why videos cannot be read, by name."""
    notes: list[str] = field(default_factory=list)
    """Further sentences."""

    def summary(self) -> str:
        """Returns the counts in one line."""
        failed = f", {len(self.failures)} cannot be read" if self.failures else ""
        return f"{self.num_videos} videos: {self.num_new} done, {self.num_kept} done before{failed}"
