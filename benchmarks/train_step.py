"""One training step and one forward of each network: time and memory, as ratios to TSN in the same run.

Times come from one process in which the networks take turns; peak memory from a fresh process for each network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from record import write_result
from step_settings import StepSettings

from kinema.engine.machine import num_cores

STEPS = ("train_step", "forward")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--name", help="name of the results file; by default made from device, backbone and frames")
    parser.add_argument("--backbone", default="resnet18", help="timm's name")
    parser.add_argument(
        "--networks",
        nargs="+",
        default=["none", "tsm", "sth"],
        help="the first one is the reference; options as in sth:fusion=sum,way=plain",
    )
    parser.add_argument("--size", type=int, default=112, help="height and width of a frame")
    parser.add_argument("--num-frames", type=int, default=8, help="frames of a clip")
    parser.add_argument("--batch-size", type=int, default=4, help="clips of a batch")
    parser.add_argument("--num-classes", type=int, default=174, help="classes")
    parser.add_argument("--repeats", type=int, default=15, help="rounds, after two to warm up")
    parser.add_argument("--threads", type=int, default=num_cores(), help="threads on a CPU")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run")
    arguments = vars(parser.parse_args())
    name = arguments.pop("name")
    settings = StepSettings(**{**arguments, "networks": tuple(arguments["networks"])})
    networks, gpu = measure(settings)
    name = name or f"train_step_{settings.device}_{settings.backbone}_{settings.num_frames}f"
    path = write_result(name, kind="train_step", settings=json.loads(settings.to_json()), gpu=gpu, networks=networks)
    for network, numbers in networks.items():
        ratios = [*(f"{step} x{numbers[step]['median_ratio']:.2f}" for step in STEPS)]
        print(f"{network:24s}", *ratios, f"saved x{numbers['saved']['ratio']:.2f}", sep="  ")
    print(f"written to {path}; `python benchmarks/table.py` puts it into the tables")


def measure(settings: StepSettings) -> tuple[dict[str, Any], str | None]:
    """Measures time and memory of each network, and says on which GPU."""
    times = work("time", settings)
    networks: dict[str, Any] = times["result"]
    for step in STEPS:
        for network in settings.networks:
            memory = work("memory", settings, network, step)["result"]
            reference = networks[settings.networks[0]][step].get("memory", memory)
            memory["ratio"] = memory["peak_bytes"] / reference["peak_bytes"]
            networks[network][step]["memory"] = memory
    return networks, times["gpu"]


def work(what: str, settings: StepSettings, *more: str) -> dict[str, Any]:
    """Runs the worker in a fresh process."""
    worker = Path(__file__).with_name("step_worker.py")
    command = [sys.executable, str(worker), what, settings.to_json(), *more]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
