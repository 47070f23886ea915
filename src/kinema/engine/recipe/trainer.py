"""How long a run is, and on what it computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kinema.wording import check

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "64-true"]
Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Logger = Literal["tensorboard", "csv", "wandb", "mlflow"]


@dataclass(frozen=True, kw_only=True)
class TrainerRecipe:
    """How long, and on what."""

    epochs: int | None = None
    """Times that every training video is seen; null: as many as `min_steps` asks for, 10 at least."""
    min_steps: int | None = None
    """Optimization steps that a run has at least where `epochs` is null: little data is seen more often. Null: 300 from
    learned weights, 900 from random ones."""
    batch_size: int | Literal["auto"] = 8
    """Clips of one step of the loader; `auto`: as many as fit into memory."""
    accumulate: int = 1
    """Batches whose gradients are added up before the weights move."""
    clip_norm: float | None = 5.0
    """Largest norm of the gradient; null: no limit."""
    precision: Precision | Literal["auto"] = "auto"
    """Arithmetic of training; `auto`: bfloat16 where the device computes in it, else 32 bits. Evaluation always runs in
    the weights' own precision."""
    accelerator: Accelerator = "auto"
    """Device: `auto` takes a GPU where there is one."""
    devices: int | Literal["auto"] = 1
    """Processes that train together on this machine, each on a device of its own with `batch_size` clips; `auto`: one
    for each GPU."""
    num_nodes: int = 1
    """Machines that train together (docs/distributed.md)."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes train together: `ddp`, each with the whole network, or `fsdp`, each with a part of it, for
    networks that no device holds; `auto` is `ddp`."""
    batch_norm: Literal["train", "partial", "frozen", "sync"] = "train"
    """Batch norm in training: `train`, by the statistics of each process's batch; `partial`, only the backbone's first
    does so, its others keep what they have learned (TSN's partial BN); `frozen`, all of the backbone's keep it; `sync`,
    by the statistics of the batches of all processes. Those that temporal layers add are always trained with them."""
    ema: float | None = None
    """Decay a step of the moving average of the weights, which is then what is scored and saved; 0.9999 is usual for
    long runs. Null: no average."""
    patience: int | None = None
    """Epochs without a better held-out score after which training stops; the learning rate's schedule stays that of
    `epochs`. Null: it runs to its end."""
    checkpoint_steps: int | None = 1000
    """Optimization steps from one checkpoint to the next inside an epoch, beside the one at its end; null: only that
    one."""
    loggers: list[Logger] = field(default_factory=lambda: ["tensorboard"])
    """Where curves go beside metrics.csv: `tensorboard`, `csv` (every logged step), `wandb`, `mlflow`, or several; an
    empty list: nowhere."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        size = self.batch_size
        check(size == "auto" or size >= 1, "trainer.batch_size", "be at least 1, or auto", size, "8 is the default")
        for name in ("min_steps", "accumulate", "num_nodes", "patience", "checkpoint_steps"):
            number = getattr(self, name)
            check(
                number is None or number >= 1,
                f"trainer.{name}",
                "be at least 1",
                number,
                "leave it out for the default",
            )
        devices, ema = self.devices, self.ema
        check(
            devices == "auto" or devices >= 1, "trainer.devices", "be at least 1, or auto", devices, "1 is the default"
        )
        sharded = self.strategy == "fsdp" and ema is not None
        check(not sharded, "trainer.ema", "be null with fsdp, where no process has the whole network", ema, "take ddp")
        check(ema is None or 0 < ema < 1, "trainer.ema", "lie in (0, 1)", ema, "0.9999 is usual, null turns it off")
        epochs, norm = self.epochs, self.clip_norm
        check(epochs is None or epochs >= 1, "trainer.epochs", "be at least 1", epochs, "null picks by the data's size")
        check(norm is None or norm > 0, "trainer.clip_norm", "be positive", norm, "null takes the limit away")
