"""Weights that lie in parts on several processes (FSDP), and the whole network that is scored and saved.

Zhao et al. 2023, "PyTorch FSDP: experiences on scaling fully sharded data parallel", arXiv 2304.11277; here in torch's
second form, `fully_shard`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from kinema.engine.recipe import TrainerRecipe
from kinema.engine.training.ranks import num_ranks
from kinema.models.classifier import VideoClassifier
from kinema.models.sites import find_blocks


def lies_in_parts(trainer: TrainerRecipe) -> bool:
    """Says whether each process has a part of the weights."""
    return trainer.strategy == "fsdp" and num_ranks() > 1


def shard(model: VideoClassifier, mesh: DeviceMesh) -> None:
    """Divides the weights of each block of the backbone over the processes, then what is left of the network.

    A network of no known block is divided as one.
    """
    model.to(memory_format=torch.contiguous_format)  # others cannot be divided
    for block in find_blocks(model):
        fully_shard(model.get_submodule(block.path), mesh=mesh)
    fully_shard(model, mesh=mesh)


def copy_whole(sharded: nn.Module, whole: nn.Module) -> None:
    """Gives a whole network the weights that lie in parts; all processes must do so."""
    state = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
    whole.load_state_dict(state)
