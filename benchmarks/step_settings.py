"""What `train_step.py` measures, handed to its worker as JSON; no torch here, so that the parent stays small."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


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


def read_network(network: str) -> tuple[str, dict[str, Any]]:
    """Reads the name of a temporal layer and its options: `sth:fusion=sum,dilation=2`; what is no JSON is a word."""
    temporal, _, rest = network.partition(":")
    options: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        option, _, value = pair.partition("=")
        try:
            options[option] = json.loads(value)
        except json.JSONDecodeError:
            options[option] = value
    return temporal, options
