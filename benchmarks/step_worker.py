"""Measures steps in a fresh process, prints a line of JSON: `step_worker.py time|memory SETTINGS [NETWORK STEP]`."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from record import summary
from step_settings import StepSettings, read_network
from torch import Tensor, nn

import kinema
from kinema.models.classifier import VideoClassifier

STEPS = ("train_step", "forward")
WARM_UP = 2


def make_network(network: str, settings: StepSettings) -> VideoClassifier:
    """Builds one network from random weights, channels last as in training."""
    torch.manual_seed(0)
    temporal, options = read_network(network)
    model = kinema.create_model(
        settings.backbone,
        temporal=temporal,
        num_frames=settings.num_frames,
        num_classes=settings.num_classes,
        **options,
    )
    return model.to(settings.device).to(memory_format=torch.channels_last)


def make_batch(settings: StepSettings) -> tuple[Tensor, Tensor]:
    """Draws clips [N, T, C, H, W] and labels [N]."""
    torch.manual_seed(1)
    clip = torch.randn(settings.batch_size, settings.num_frames, 3, settings.size, settings.size)
    label = torch.randint(settings.num_classes, (settings.batch_size,))
    return clip.to(settings.device), label.to(settings.device)


def make_step(step: str, model: nn.Module, clip: Tensor, label: Tensor) -> Callable[[], None]:
    """Returns one training step (forward, backward, SGD with momentum) or one forward in evaluation, as a function."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def train_step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(clip), label).backward()
        optimizer.step()

    @torch.inference_mode()
    def forward() -> None:
        model.eval()
        model(clip)

    return {"train_step": train_step, "forward": forward}[step]


def wait(device: str) -> None:
    """Waits until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def measure_time(settings: StepSettings) -> dict[str, Any]:
    """Times all networks in turn, round after round, so that what disturbs the machine disturbs them alike."""
    clip, label = make_batch(settings)
    models = {network: make_network(network, settings) for network in settings.networks}
    seconds: dict[str, dict[str, list[float]]] = {}
    for step in STEPS:
        runs = {network: make_step(step, model, clip, label) for network, model in models.items()}
        seconds[step] = {network: [] for network in runs}
        for repeat in range(-WARM_UP, settings.repeats):
            for network in sorted(runs, key=list(runs).index, reverse=repeat % 2 == 1):
                wait(settings.device)
                start = time.perf_counter()
                runs[network]()
                wait(settings.device)
                if repeat >= 0:
                    seconds[step][network].append(time.perf_counter() - start)
    costs = {network: kinema.cost(model, size=settings.size) for network, model in models.items()}
    saved = {network: saved_bytes(model, clip, label) for network, model in models.items()}
    first = settings.networks[0]
    return {
        network: {
            "parameters": costs[network].parameters,
            "macs": costs[network].macs,
            "saved": {"bytes": saved[network], "ratio": saved[network] / saved[first]},
            **{step: with_ratio(seconds[step][network], seconds[step][first]) for step in STEPS},
        }
        for network in settings.networks
    }


def saved_bytes(model: nn.Module, clip: Tensor, label: Tensor) -> int:
    """Counts what one forward in training keeps for the backward pass, each memory once, parameters not at all."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in parameters:
            kept[place] = tensor  # held, so that no other tensor gets the same place
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        nn.functional.cross_entropy(model(clip), label)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def with_ratio(seconds: list[float], reference: list[float]) -> dict[str, float]:
    """Adds the ratio of the minima, and the median of the ratios of each round."""
    rounds = [own / other for own, other in zip(seconds, reference, strict=True)]
    return {
        **summary(seconds),
        "ratio_of_min": min(seconds) / min(reference),
        "median_ratio": statistics.median(rounds),
    }


def measure_memory(settings: StepSettings, network: str, step: str) -> dict[str, int]:
    """Runs one network a few times; on a CPU, what the libraries take before it exists is told apart."""
    load_libraries(settings, step)
    before = peak_of_process()
    clip, label = make_batch(settings)
    run = make_step(step, make_network(network, settings), clip, label)
    for _ in range(3):
        run()
    if settings.device == "cuda":
        return {"peak_bytes": torch.cuda.max_memory_allocated()}
    after = peak_of_process()
    return {"peak_bytes": after - before, "peak_bytes_with_imports": after}


def load_libraries(settings: StepSettings, step: str) -> None:
    """Lets the smallest network take one small step, so that all that is imported on the way is there."""
    small = replace(settings, backbone="test_resnet", size=32, num_frames=1, batch_size=2)
    make_step(step, make_network("none", small), *make_batch(small))()


def peak_of_process() -> int:
    """Returns the largest resident size so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    what, settings = sys.argv[1], StepSettings.from_json(sys.argv[2])
    torch.set_num_threads(settings.threads)
    result = measure_time(settings) if what == "time" else measure_memory(settings, *sys.argv[3:])
    gpu = torch.cuda.get_device_name() if settings.device == "cuda" else None
    print(json.dumps({"gpu": gpu, "result": result}))


if __name__ == "__main__":
    main()
