"""Which of several processes of one run this is, as torchrun tells it, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


def is_launched() -> bool:
    """Says whether torchrun, or kinema by its launcher, has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Returns the number of this process, from 0 on over all machines; 0 where it is alone."""
    return int(os.environ["RANK"]) if is_launched() else 0


def num_ranks() -> int:
    """Returns how many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if is_launched() else 1


def local_rank() -> int:
    """Returns the number of this process on its machine."""
    return int(os.environ["LOCAL_RANK"]) if is_launched() else 0


def num_local_ranks() -> int:
    """Returns how many processes of the run are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if is_launched() else 1


def is_main() -> bool:
    """Says whether this process is the one that writes files and speaks to a person."""
    return rank() == 0


def own_seed(seed: int) -> int:
    """Returns the seed of this process, for what each draws by itself, as dropout does; the first has the run's."""
    return seed if is_main() else int(np.random.SeedSequence((seed, rank())).generate_state(1)[0])


def gather(value: T) -> list[T]:
    """Returns what all processes say, in their order; all must ask."""
    if num_ranks() == 1:
        return [value]
    values: list[T | None] = [None] * num_ranks()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def from_main(value: T) -> T:
    """Returns what the first process says; all must ask."""
    if num_ranks() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def add_up(counts: Sequence[int]) -> list[int]:
    """Returns the sums of counts over all processes; all must ask. It costs no wait for a GPU."""
    if num_ranks() == 1:
        return list(counts)
    sums = torch.tensor(counts, dtype=torch.int64)
    dist.all_reduce(sums)
    return sums.tolist()


def own_state(states: Sequence[T]) -> T:
    """Returns this process's part of what `gather` gave.

    Raises:
        ValueError: If as many processes did not train together then.
    """
    if len(states) != num_ranks():
        raise ValueError(
            f"trainer.devices must give as many processes as the run began with, {len(states)}, to resume it, got "
            f"{num_ranks()}; start as many"
        )
    return states[rank()]


def share_buffers(model: nn.Module) -> None:
    """Gives all processes the buffers of the first: each has its own statistics of batch norm after a step."""
    if num_ranks() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def check_same_weights(model: nn.Module) -> None:
    """Refuses to begin with weights that differ.

    Raises:
        ValueError: If they do.
    """
    if num_ranks() == 1:
        return
    digest = sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    own = digest.hexdigest()
    if different := [number for number, other in enumerate(gather(own)) if other != own]:
        raise ValueError(
            f"weights must be the same in all processes when a run begins, got others in rank {different[0]} than in "
            f"rank {rank()}; give all the same files and the same version of kinema"
        )
