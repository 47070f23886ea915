"""What `train_step.py` measures, handed to its worker as JSON; no torch here, so that the parent stays small."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """One measurement: which networks, on what input, where, how often."""

    backbone: str
    networks: tuple[str, ...]
    size: int
    num_frames: int
    batch_size: int
    num_classes: int
    repeats: int
    threads: int
    device: str

    def to_json(self) -> str:
        """Returns the settings as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> StepSettings:
        """Reads what `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "networks": tuple(values["networks"])})
