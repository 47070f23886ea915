"""How Lightning's loop runs in the processes that there are; it starts none itself."""

from __future__ import annotations

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from kinema.engine.recipe import TrainerRecipe
from kinema.engine.training.processes import TIMEOUT
from kinema.engine.training.ranks import is_launched, num_ranks
from kinema.engine.training.sharded import lies_in_parts


def make_environment() -> ClusterEnvironment:
    """Returns where Lightning learns of the other processes: from torchrun or, whatever else runs here, of none."""
    return TorchElasticEnvironment() if is_launched() else LightningEnvironment()


def make_strategy(trainer: TrainerRecipe) -> Strategy | str:
    """Returns how the processes train together; they are connected by now."""
    if num_ranks() == 1:
        return "auto"
    if lies_in_parts(trainer):
        return ModelParallelStrategy(
            data_parallel_size=num_ranks(), tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=TIMEOUT
        )
    return DDPStrategy(timeout=TIMEOUT)
