"""What the training loop takes beyond a bare one: the same batches, network, optimizer and precision, in turns.

Batches lie ready in memory, so that nothing but the loops differs. One epoch of the loop of `kinema train` is followed
by one of a bare PyTorch loop, and so on, in one process.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from record import write_result
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, default_collate

from kinema.data.motion.dataset import MotionConfig, make_motion_dataset
from kinema.data.samplers import EpochBatches, EpochSampler
from kinema.engine.device import choose_device
from kinema.engine.machine import num_cores
from kinema.engine.recipe import ClipRecipe, DataRecipe, ModelRecipe, Recipe, TrainerRecipe
from kinema.engine.recipe.trainer import Precision
from kinema.engine.training import fit as fit_module
from kinema.engine.training.data import read_data
from kinema.engine.training.network import make_model
from kinema.engine.training.optimizing.optimizer import make_optimizer
from kinema.engine.training.optimizing.param_groups import parameter_groups
from kinema.engine.training.resuming.progress import RankStates
from kinema.engine.training.resuming.stopping import Stop
from kinema.engine.training.unreadable import CollateReadable
from kinema.models.classifier import VideoClassifier

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What is measured."""

    backbone: str = "resnet18"
    temporal: str = "tsm"
    size: int = 112
    num_frames: int = 8
    batch_size: int = 4
    steps: int = 8
    epochs: int = 12
    precision: Precision = "32-true"
    device: str = "cpu"
    threads: int = 1
    bar: bool = False


class ReadyClips(Dataset[dict[str, Tensor]]):
    """As many different clips as a few batches have, decoded once."""

    def __init__(self, settings: LoopSettings, samples: Sequence[Any]) -> None:
        """Draws them."""
        self.samples = samples
        shape = (settings.num_frames, 3, settings.size, settings.size)
        self.clips = torch.randn(2 * settings.batch_size, *shape)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, ...]) -> dict[str, Any]:
        index = key[1]
        return {"clip": self.clips[index % len(self.clips)], "label": index % 8, "index": index}


def ready_loader(settings: LoopSettings, samples: Sequence[Any]) -> DataLoader[Any]:
    """Returns a loader like that of training, without workers and files."""
    return DataLoader(
        ReadyClips(settings, samples),
        batch_sampler=EpochBatches(EpochSampler(len(samples), seed=0), batch_size=settings.batch_size),
        collate_fn=CollateReadable(default_collate),
        pin_memory=settings.device == "cuda",
        generator=torch.Generator(),
    )


class BareLoop:
    """Forward, loss, backward, clipping, step: what no loop can leave out."""

    def __init__(self, model: VideoClassifier, loader: DataLoader[Any], recipe: Recipe) -> None:
        """Takes a network of its own."""
        self.device = choose_device(recipe.trainer.accelerator)
        self.model = model.to(device=self.device).to(memory_format=torch.channels_last).train()
        self.loader, self.recipe = loader, recipe
        groups = parameter_groups(model, recipe.optimizer)
        rate = recipe.optimizer.learning_rate
        self.optimizer = make_optimizer(self.model, recipe.optimizer, groups=groups, learning_rate=rate)
        self.scheduler = LambdaLR(self.optimizer, lambda step: 1 / (1 + step))

    def epoch(self) -> None:
        """Runs through the loader once."""
        autocast = self.recipe.trainer.precision == "bf16-mixed"
        for batch in self.loader:
            clips = batch["clip"].to(self.device, non_blocking=True)
            labels = batch["label"].to(self.device, non_blocking=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast, cache_enabled=not autocast):
                loss = F.cross_entropy(self.model(clips).float(), labels)
            self.optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(self.model.parameters(), self.recipe.trainer.clip_norm or 5.0)
            self.optimizer.step()
            self.scheduler.step()


class InTurns(RankStates):
    """Times an epoch of our loop, and then one of the bare loop."""

    bare: BareLoop
    seconds: dict[str, dict[str, list[float]]]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clocks, before anything else of the epoch."""
        super().on_train_epoch_start(trainer, pl_module)
        self.began = read_clocks()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops them, before anything that is done once an epoch; then it is the other's turn."""
        self._note("ours", self.began)
        began = read_clocks()
        self.bare.epoch()
        self._note("bare", began)

    def _note(self, who: str, began: dict[str, float]) -> None:
        for name, now in read_clocks().items():
            self.seconds[who][name].append((now - began[name]) / len(self.bare.loader))


def read_clocks() -> dict[str, float]:
    """Reads all clocks, once the device has nothing left to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {name: clock() for name, clock in CLOCKS.items()}


def measure(settings: LoopSettings, folder: Path) -> dict[str, Any]:
    """Returns milliseconds of a step of both loops, by each clock, and what ours takes beyond the bare one.

    Args:
        settings: What is measured.
        folder: An empty folder.
    """
    torch.set_num_threads(settings.threads)
    count = settings.steps * settings.batch_size
    clips = MotionConfig(num_train=count, num_val=8, frame_size=32, min_length=9, max_length=11)
    make_motion_dataset(folder / "data", clips, quiet=True)
    recipe = Recipe(
        out=str(folder / "run"),
        data=DataRecipe(root=str(folder / "data"), num_workers=0),
        clip=ClipRecipe(num_frames=settings.num_frames, resize=settings.size, crop=settings.size),
        model=ModelRecipe(backbone=settings.backbone, temporal=settings.temporal, pretrained=False),
        trainer=TrainerRecipe(
            epochs=settings.epochs + 1,
            batch_size=settings.batch_size,
            precision=settings.precision,
            accelerator="cuda" if settings.device == "cuda" else "cpu",
        ),
    )
    console = Console(file=io.StringIO(), force_terminal=settings.bar, width=120)
    data = replace(read_data(recipe), val=[])
    model, recipe = make_model(recipe, data, fresh=True, console=console)
    InTurns.bare = BareLoop(copy.deepcopy(model), ready_loader(settings, data.train), recipe)
    InTurns.seconds = {who: {name: [] for name in CLOCKS} for who in ("ours", "bare")}
    swapped = {"RankStates": InTurns, "training_loader": lambda *_, **__: ready_loader(settings, data.train)}
    kept = {name: getattr(fit_module, name) for name in swapped}
    try:
        for name, value in swapped.items():
            setattr(fit_module, name, value)
        fit_module.fit(recipe, data, model, checkpoint=None, stop=Stop(), console=console)
    finally:
        for name, value in kept.items():
            setattr(fit_module, name, value)
    return {name: compare(InTurns.seconds["ours"][name][1:], InTurns.seconds["bare"][name][1:]) for name in CLOCKS}


def compare(ours: Sequence[float], bare: Sequence[float]) -> dict[str, float]:
    """Returns medians in milliseconds and the ratio, epoch by epoch, with its quartiles."""
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {
        "ours_ms": 1e3 * statistics.median(ours),
        "bare_ms": 1e3 * statistics.median(bare),
        "beyond_ms": 1e3 * statistics.median(one - other for one, other in zip(ours, bare, strict=True)),
        "ratio": median,
        "ratio_low": low,
        "ratio_high": high,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--name", help="name of the results file; by default made from device, backbone and size")
    for name, value in asdict(LoopSettings(threads=num_cores())).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(flag, action="store_true", help="with a progress bar")
        else:
            parser.add_argument(flag, type=type(value), default=value, help=f"{name.replace('_', ' ')}")
    arguments = vars(parser.parse_args())
    name = arguments.pop("name")
    settings = LoopSettings(**arguments)
    with tempfile.TemporaryDirectory() as folder:
        clocks = measure(settings, Path(folder))
    gpu = torch.cuda.get_device_name() if settings.device == "cuda" else None
    name = name or f"loop_overhead_{settings.device}_{settings.backbone}_{settings.size}{'_bar' * settings.bar}"
    path = write_result(name, kind="loop_overhead", settings=asdict(settings), gpu=gpu, clocks=clocks)
    print(json.dumps(clocks, indent=2))
    print(f"written to {path}; `python benchmarks/table.py` puts it into the tables")


if __name__ == "__main__":
    main()
