"""The card of a model: what the network is, what it takes, what it scored and under which protocol, how it was trained.

All of it is read from the weights file, and results from what a run or an evaluation has written; nothing is assumed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kinema.models.classifier import ModelConfig, VideoClassifier
from kinema.models.cost import cost
from kinema.models.hub import SCHEME
from kinema.models.video_networks import VIDEO_NETWORKS
from kinema.models.weights import load_model, read_metadata
from kinema.report.results import Result, as_percent
from kinema.spec import DENSE_FRAMES, ClipSpec

MARK = "<!-- written by kinema push -->"
"""A line that says: this card may be written anew."""
SHOWN_CLASSES = 20
"""More class names than this are folded away."""
PATHS = (("out",), ("data", "root"), ("data", "annotations"), ("model", "init"), ("model", "pretrained"))
"""What in a recipe is a place on somebody's disk."""
PICTURES = {"rgb": "RGB frames", "flow": "optical flow, x and y", "rgbdiff": "differences of RGB frames"}
"""What a network of each modality sees."""


def model_card(file: Path, *, name: str, results: Sequence[Result], license: str | None = None) -> str:
    """Writes the card of a weights file.

    Args:
        file: What `save_model` wrote.
        name: What a reader is to load, such as `hf://owner/name`.
        results: What the weights have scored; none is said to be not measured.
        license: The licence's identifier; left out where none is given.

    Returns:
        Markdown with YAML front matter, without local paths.

    Raises:
        ValueError: If the file holds no model of ours.
    """
    model, metadata = load_model(file), read_metadata(file)
    config, spec = model.config, model.spec
    front = {"library_name": "kinema", "pipeline_tag": "video-classification", "tags": _tags(config)}
    if license is not None:
        front = {"license": license, **front}
    layers = [" + ".join(config.temporal)] if config.temporal != ("none",) else []
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("card.md.j2").render(
        front_matter=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        mark=MARK,
        title=name.rpartition("/")[2] if name.startswith(SCHEME) else " on ".join([*layers, config.backbone]),
        sentence=_sentence(config),
        network=_network(model),
        spec=_spec(spec),
        classes=_classes(spec.class_names, config.num_classes),
        has_classes=bool(spec.class_names),
        results=_results(results, config.num_classes),
        name=name,
        recipe=_recipe(metadata),
        fingerprint=_fingerprint(metadata),
        origin=_origin(metadata),
    )


def _tags(config: ModelConfig) -> list[str]:
    layers = [layer for layer in config.temporal if layer != "none"]
    return list(dict.fromkeys(["action-recognition", "video", *layers, config.backbone.partition(".")[0]]))


def _sentence(config: ModelConfig) -> str:
    layers = " and ".join(_code(layer) for layer in config.temporal if layer != "none")
    kind = "the whole video network" if config.backbone in VIDEO_NETWORKS else "the 2D network"
    inside = f"{layers} in {kind}" if layers else kind
    return f"{inside} {_code(config.backbone)}, which sees {config.num_frames} frames of a video at once."


def _network(model: VideoClassifier) -> str:
    config, counted = model.config, cost(model)
    source = "torchvision" if config.backbone in VIDEO_NETWORKS else "timm"
    layers = [layer for layer in config.temporal if layer != "none"]
    rows = [
        ("backbone", f"{_code(config.backbone)}, by its name in {source}"),
        ("temporal layers", ", ".join(map(_code, layers)) or "none"),
        ("head", _code(config.head)),
        (
            "options",
            _code(json.dumps(config.options, ensure_ascii=False)) if config.options else "the layers' defaults",
        ),
        ("causal", "yes: no frame sees a later one" if config.causal else "no"),
        ("frames T of a clip", f"{config.num_frames}"),
        ("channels of a frame", f"{config.frame_channels}"),
        ("classes K", f"{config.num_classes}"),
        ("parameters", f"{counted.parameters / 1e6:.2f} M"),
        (
            "multiply-adds",
            f"{counted.macs / 1e9:.2f} G for a clip of {counted.num_frames} frames of {_square(counted.size)} pixels",
        ),
    ]
    return _table(("", ""), rows)


def _spec(spec: ClipSpec) -> str:
    def numbers(values: tuple[float, ...]) -> str:
        return ", ".join(f"{value:g}" for value in values)

    rows = [
        ("frames", f"{spec.num_frames}, {_sampling(spec)}"),
        ("pictures", PICTURES[spec.modality]),
        ("neighbours", f"{spec.stack} of them stacked in place of each" if spec.stack > 1 else "none: each alone"),
        ("scaling", f"short side to {spec.resize} pixels, {spec.interpolation}, antialiased"),
        ("crop", f"{_square(spec.crop)} pixels"),
        ("mean", f"{numbers(spec.mean)} of values in [0, 1]"),
        ("standard deviation", numbers(spec.std)),
        ("clips trained on", f"{spec.span_seconds:.2f} s long in the median" if spec.span_seconds else "not recorded"),
        (
            "frames of a clip",
            f"{spec.spacing_seconds:.3f} s apart in training" if spec.spacing_seconds else "not recorded",
        ),
    ]
    return _table(("", ""), rows)


def _sampling(spec: ClipSpec) -> str:
    if spec.sampling == "segments":
        return "one from each of as many equal parts of the video"
    if spec.sampling == "dense":
        return f"one in {DENSE_FRAMES // spec.num_frames} of a window of {DENSE_FRAMES} frames"
    distance = f"{spec.stride} frames" if spec.stride else f"{spec.stride_seconds:g} s"
    return f"{distance} from one to the next"


def _classes(names: Sequence[str], count: int) -> str:
    if not names:
        return f"{count}; their names are not recorded."
    width = len(str(count - 1))
    lines = "\n".join(f"{number:{width}}  {_printable(name)}" for number, name in enumerate(names))
    block = _fenced(lines, "text")
    if count <= SHOWN_CLASSES:
        return block
    return f"<details>\n<summary>{count} classes</summary>\n\n{block}\n\n</details>"


def _results(results: Sequence[Result], num_classes: int) -> str:
    if not results:
        return "Not measured."
    header = ("protocol", "videos", "top-1", "95 % interval", f"top-{min(5, num_classes)}", "mean class accuracy")
    rows = [
        (
            result.protocol,
            f"{result.num_videos}" if result.num_videos else "not recorded",
            as_percent(result.top1),
            " to ".join(map(as_percent, result.interval)) if result.interval else "not recorded",
            as_percent(result.top5),
            as_percent(result.mean_class),
        )
        for result in results
    ]
    notes = [f"- {result.protocol}: {note}" for result in results for note in result.notes]
    return "\n".join([_table(header, rows), *(["", *notes] if notes else [])])


def _recipe(metadata: Mapping[str, str]) -> str:
    recipe = _read_json(metadata, "recipe")
    if not recipe:
        return "Not recorded."
    for *above, last in PATHS:
        place = recipe
        for key in above:
            place = place.get(key) or {}
        if isinstance(value := place.get(last), str) and not value.startswith(SCHEME):
            place[last] = re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    block = _fenced(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).rstrip("\n"), "yaml")
    return f"Paths are cut to their last part.\n\n{block}"


def _fingerprint(metadata: Mapping[str, str]) -> str:
    values = _read_json(metadata, "fingerprint")
    if not values:
        return "Not recorded."
    rows = [(key, "not recorded" if value is None else _code(f"{value}")) for key, value in values.items()]
    return _table(("", ""), rows)


def _origin(metadata: Mapping[str, str]) -> str:
    """Says which file of another project the weights were converted from; empty for weights of our own."""
    values = _read_json(metadata, "origin")
    shown = ("file", "sha256", "layout")
    rows = [(name, _code(f"{values[name]}")) for name in shown if name in values]
    notes = [f"- {_cell(str(note))}" for note in values.get("notes", ())]
    return "\n".join([_table(("", ""), rows), *(["", *notes] if notes else [])]) if rows else ""


def _read_json(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """Reads an object from a weights file's strings; an empty one where there is none.

    Raises:
        ValueError: If the string is something else.
    """
    text = metadata.get(name, "{}")
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"the {name} in a weights file must be a JSON object, got {text[:40]!r}; save the model anew")
    return values


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Keeps a text in its cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    """Marks a word as code, whatever backticks are in it."""
    ticks = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{ticks}{text}{ticks}"


def _fenced(text: str, language: str) -> str:
    ticks = "`" * max(3, max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _square(side: int) -> str:
    return f"{side} × {side}"  # noqa: RUF001 (the sign of the protocols' names)


def _printable(text: str) -> str:
    """Keeps a name in its line."""
    return text if text.isprintable() else json.dumps(text)
