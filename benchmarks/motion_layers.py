"""How well a network with each temporal layer learns the built-in motions: one recipe, one seed, as it falls.

The recipe is that of `kinema demo`; nothing was chosen by these numbers. A network blind to order cannot pass 50 %.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from record import write_result
from rich.console import Console
from step_settings import read_network

from kinema.data.annotations import read_samples
from kinema.data.motion.dataset import make_motion_dataset
from kinema.data.views import grid_views, reversed_view
from kinema.demo.config import DemoConfig
from kinema.engine.evaluate import evaluate
from kinema.engine.training.train import train
from kinema.models.cost import cost
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.models.weights import load_model

NETWORKS = [*TEMPORAL_LAYERS, "sth:fusion=sum", "sth:arrangement=merge", "stm:motion=false"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--name", default="motion_layers", help="name of the results file")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="temporal layers, as in sth:fusion=sum")
    parser.add_argument("--out", default="runs/motion_layers", help="folder for the dataset and the runs")
    parser.add_argument("--seed", type=int, default=3, help="of dataset, weights, order")
    parser.add_argument("--num-train", type=int, default=DemoConfig.num_train, help="training clips")
    parser.add_argument("--num-val", type=int, default=DemoConfig.num_val, help="held-out clips")
    parser.add_argument("--epochs", type=int, default=DemoConfig.epochs, help="times that each training clip is seen")
    arguments = vars(parser.parse_args())
    name, networks = arguments.pop("name"), arguments.pop("networks")
    config = DemoConfig(**arguments)
    make_motion_dataset(Path(config.out) / "data", config.motion())
    numbers = {network: measure(network, config) for network in networks}
    settings = {key: value for key, value in asdict(config).items() if key != "out"}
    path = write_result(name, kind="motion_layers", settings=settings, gpu=None, networks=numbers)
    print(f"written to {path}; `python benchmarks/table.py` puts it into the tables")


def measure(network: str, config: DemoConfig) -> dict[str, Any]:
    """Trains one network and scores its last weights, with frames as filmed and in reverse."""
    temporal, options = read_network(network)
    recipe = config.recipe(network.replace(":", "_"))
    recipe = replace(recipe, model=replace(recipe.model, temporal=temporal, options=options))
    result = train(recipe, overwrite=True, console=Console(quiet=True))
    model = load_model(result.last)
    held_out = [sample for sample in read_samples(Path(recipe.data.root)) if sample.split == "val"]
    backwards = [reversed_view(grid_views(model.spec)[0])]
    reverse = evaluate(model, held_out, views=backwards, protocol="in reverse", batch_size=config.batch_size)
    assert result.held_out is not None
    costs, top1 = cost(model), result.held_out.top1
    print(f"{network:24s}  {top1:6.1%}  in reverse {reverse.top1:6.1%}", flush=True)
    return {
        "parameters": costs.parameters,
        "macs": costs.macs,
        "top1": top1,
        "top1_interval": list(result.held_out.interval),
        "top1_in_reverse": reverse.top1,
        "training_top1": result.training.top1,
    }


if __name__ == "__main__":
    main()
