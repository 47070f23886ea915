"""Commands about networks: where layers can stand in one, what it costs, and what papers say it costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.engine.arguments import CommandParser


def sites(backbone: str, *, as_json: bool) -> int:
    """Lists where temporal layers can stand in a 2D network, or the convs to choose from if its blocks are unknown."""
    from kinema.report.sites import describe_sites

    described = describe_sites(backbone)
    print(json.dumps(described.to_dict()) if as_json else described)
    return 0


def profile(
    backbone: str,
    *,
    temporal: str | Sequence[str],
    num_frames: int,
    num_classes: int,
    size: int | None,
    causal: bool,
    head: str,
    options: dict[str, Any],
    by_layer: bool,
    as_json: bool,
) -> int:
    """Counts what a network costs: parameters, multiply-adds, and the activations that training keeps."""
    import torch

    from kinema.engine.recipe import check_layer_options
    from kinema.models.classifier import create_model
    from kinema.models.cost import cost
    from kinema.report.profile import costs_as_dict, costs_in_words

    check_layer_options(options, name="options")
    with torch.device("meta"):
        model = create_model(
            backbone,
            temporal=temporal,
            num_frames=num_frames,
            num_classes=num_classes,
            causal=causal,
            head=head,
            **options,
        )
    counted = cost(model, size=size)
    if as_json:
        print(json.dumps(costs_as_dict(counted, by_layer=by_layer)))
    else:
        print(costs_in_words(counted, by_layer=by_layer))
    return 0


def tables(*, as_json: bool) -> int:
    """Prints the costs in the STH paper's tables beside our own, and where the paper contradicts itself."""
    from kinema.compare.tables import print_tables, tables_as_dicts

    print(json.dumps(tables_as_dicts()) if as_json else print_tables())
    return 0


def sites_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `sites`."""
    parser.add_positional("backbone", help="A 2D network by its timm name.")
    parser.add_flag("--json", help="Print one line of JSON.")


def profile_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `profile`."""
    parser.add_argument("--backbone", type=str, default="resnet50", help="A timm name, or a video network.")
    parser.add_argument("--temporal", type=list[str] | str, default="sth", help="Temporal layer, or a list of several.")
    parser.add_argument("--num_frames", type=int, default=8, help="Frames T of a clip.")
    parser.add_argument("--num_classes", type=int, default=174, help="Classes K.")
    parser.add_argument("--size", type=int | None, default=None, help="Side of a frame, in pixels; null: the weights'.")
    parser.add_argument("--head", type=str, default="linear", help="Behind the backbone: `linear` or `trn`.")
    parser.add_argument("--options", type=dict[str, Any], default={}, help="Of the layer, as --options.fraction 0.25.")
    parser.add_flag("--causal", help="Let layers look only at the past.")
    parser.add_flag("--by_layer", help="Also give the share of each layer.")
    parser.add_flag("--json", help="Print one line of JSON.")


def tables_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `tables`."""
    parser.add_flag("--json", help="Print one line of JSON.")


def run_sites(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Runs `sites`."""
    return sites(values["backbone"], as_json=values["json"])


def run_profile(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Runs `profile`."""
    return profile(values.pop("backbone"), as_json=values.pop("json"), **values)


def run_tables(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Runs `tables`."""
    return tables(as_json=values["json"])
