"""Checkpoints of training codes, for the tests that read files nobody vouches for."""

from __future__ import annotations

import argparse
import collections
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kinema.models.files.read import read_checkpoint

HALVES = torch.randn(3, 4)
TENSORS: dict[str, Tensor] = {
    "plain": torch.randn(3, 4),
    "transposed": torch.randn(2, 3).t(),
    "part": HALVES[1:, 2:],
    "same storage": HALVES[0],
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 3),
    "half": torch.randn(5).half(),
    "bfloat16": torch.randn(5).bfloat16(),
    "bool": torch.tensor([True, False]),
    "parameter": nn.Parameter(torch.randn(2, 2)),
}
SAVES: dict[str, dict[str, object]] = {
    "zip": {},
    "legacy": {"_use_new_zipfile_serialization": False},
    "protocol 4": {"pickle_protocol": 4},
    "legacy, protocol 4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
}


class History:
    """Stands for a class of a training code, as mmengine's HistoryBuffer."""

    def __init__(self) -> None:
        self.values, self.mean, self.kinds = np.arange(4), np.float32(2.0), {"min": History.least}

    def least(self) -> float:
        return float(self.values.min())


def sentence_about(path: Path) -> str | None:
    """What is said about a file that cannot be read, None of one that can; checks that it is one sentence."""
    try:
        read_checkpoint(path)
    except ValueError as error:
        said = str(error)
    else:
        return None
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said


def foreign_content() -> dict[str, object]:
    return {
        "state_dict": collections.OrderedDict(TENSORS),
        "message_hub": {"history": History(), "deque": collections.deque([1.0])},
        "args": argparse.Namespace(lr=0.1, root=Path("data")),
        "counts": collections.defaultdict(list, a=[np.float64(1.0)]),
        "epoch": 3,
    }
