"""Weights on disk: one safetensors file that holds everything needed to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from kinema.data.atomic import write_atomically as write_atomically
from kinema.models.classifier import ModelConfig, VideoClassifier, make_model
from kinema.models.hub import find_weights
from kinema.models.origins import match
from kinema.spec import ClipSpec
from kinema.wording import listed

HEAD = "head."
"""Prefix of the head's tensors."""


def save_model(path: str | Path, model: VideoClassifier, *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a model, whole or not at all: beside its target first, then renamed into place.

    Args:
        path: The file to write, by habit `*.safetensors`.
        model: The model.
        metadata: More strings to keep in the file, such as the recipe and the fingerprint, as JSON.

    Raises:
        ValueError: If metadata uses a key that the file needs itself.
    """
    own = {"spec": model.spec.to_json(), "config": model.config.to_json()}
    taken = sorted(own.keys() & (metadata or {}).keys())
    if taken:
        raise ValueError(f"metadata must leave the keys spec and config alone, got {taken}; rename them")
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_atomically(Path(path), save(tensors, metadata={**(metadata or {}), **own}))


def load_model(path: str | Path) -> VideoClassifier:
    """Builds the model that a file holds, be it on the hub.

    Args:
        path: What `save_model` wrote; a folder with a `model.safetensors`; or `hf://owner/name` on the hub, by choice
            with `@revision`.

    Returns:
        The model, in evaluation mode, with its `spec`.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the hub cannot be reached.
        ValueError: If it is none of ours, or was written by a version that differs.
    """
    file = find_weights(path)
    metadata, tensors = _read_metadata_of_model(file), _read_tensors(file)
    try:
        config, spec = ModelConfig.from_json(metadata["config"]), ClipSpec.from_json(metadata["spec"])
        model = make_model(config, spec=spec)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _check_keys(path, tensors, model.state_dict())
    own = {key: value.clone() for key, value in tensors.items()}  # what was read may still lie in the file
    model.load_state_dict(own, assign=True)  # in the precision of the file
    return model.eval()


def read_metadata(path: str | Path) -> dict[str, str]:
    """Reads the strings that a file holds beside its tensors: spec, config, and what was given when saving.

    Args:
        path: A safetensors file, or another name of one that `load_model` takes.

    Returns:
        The strings by key; none where the file has none.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the hub cannot be reached.
        ValueError: If it is no safetensors file.
    """
    file = find_weights(path)
    _check_file(file)
    try:
        with safe_open(file, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except SafetensorError as error:
        raise _not_ours(path, error) from error


def read_spec(path: str | Path) -> ClipSpec:
    """Reads how a video becomes a clip for the model that a file holds.

    Args:
        path: What `load_model` takes.

    Returns:
        The spec, class names included.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the hub cannot be reached.
        ValueError: If it is none of ours.
    """
    return ClipSpec.from_json(_read_metadata_of_model(path)["spec"])


def initialize_from(model: VideoClassifier, path: str | Path) -> list[str]:
    """Starts a model from a file of weights: all that fits by what it is; the head only for equal classes.

    A tensor of the 2D network is taken under whatever name it has in the two networks, for temporal layers keep what
    stands at their sites. What a layer makes of the 2D weights that it replaces, it makes of the file's. A layer's own
    tensors are taken from the same layer at the same place; those that depend on T start anew for another T. Where the
    model takes other pictures than the file's, which takes RGB, its first conv is adapted.

    Args:
        model: The model, changed in place.
        path: What `load_model` takes, with the same backbone; other temporal layers, T or class list are fine.

    Returns:
        Lines to print: what was taken, what starts anew, and what of the file stays unused.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the hub cannot be reached.
        ValueError: If it is none of ours, no tensor of the backbone fits, or one has another shape.
    """
    file = find_weights(path)
    metadata, tensors = _read_metadata_of_model(file), _read_tensors(file)
    own = model.state_dict()
    try:
        config, names = ModelConfig.from_json(metadata["config"]), ClipSpec.from_json(metadata["spec"]).class_names
        shapes = {key: value.shape for key, value in own.items()}
        heads = [{key: one[key].shape for key in one if key.startswith(HEAD)} for one in (own, tensors)]
        same_head = config.head == model.config.head and heads[0] == heads[1]  # one of relations depends on T
        same_head &= bool(names) and names == model.spec.class_names
        weights = {key: value for key, value in tensors.items() if same_head or not key.startswith(HEAD)}
        start = match(model.config, config, shapes=shapes, weights=weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if all(key.startswith(HEAD) for key in start.copied):
        raise ValueError(
            f"{path}: the weights must be of a backbone like {model.config.backbone}, got those of {config.backbone}, "
            "of which no tensor fits; take the same backbone"
        )
    taken = {**tensors, **start.adapted}
    copied = {key: taken[source] for key, source in start.copied.items()}
    model.load_state_dict({**copied, **start.made}, strict=False)
    unused = [key for key in tensors if key in start.unused or key not in weights]
    first = f"initialized from {path}: {len(copied)} of {len(own)} tensors taken"
    settings = _other_settings(model.config, config)
    return [first, *settings, *replace(start, unused=tuple(unused)).lines(config.num_frames)]


def _other_settings(config: ModelConfig, other: ModelConfig) -> list[str]:
    """Says how layers that two networks share are set in another way, which no tensor tells."""
    ours, theirs = ({**one.options, "causal": one.causal} for one in (config, other))
    if not {*config.temporal} & {*other.temporal} - {"none"} or ours == theirs:
        return []
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    words = [f"{name} {ours.get(name, 'default')}, not {theirs.get(name, 'default')}" for name in names]
    return [f"  layers are set in another way: {listed(words)}"]


def _read_metadata_of_model(path: str | Path) -> dict[str, str]:
    metadata = read_metadata(path)
    missing = sorted({"spec", "config"} - metadata.keys())
    if missing:
        raise ValueError(
            f"{path}: the file must hold a kinema model, got none of its {' and '.join(missing)}; "
            "weights of other programs must first go through kinema import"
        )
    return metadata


def _read_tensors(path: str | Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _not_ours(path, error) from error


def _check_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file; give the path of a .safetensors file")


def _not_ours(path: str | Path, error: SafetensorError) -> ValueError:
    return ValueError(
        f"{path}: the file must be safetensors, got something else or half of it ({error}); save it anew, or if it is "
        "another project's checkpoint, turn it into one with kinema import"
    )


def _check_keys(path: str | Path, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    problems = [f"{key} is missing" for key in own if key not in tensors]
    problems += [f"{key} is not of this model" for key in tensors if key not in own]
    problems += [
        f"{key} has shape {list(tensors[key].shape)} instead of {list(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ValueError(f"{path}: the weights must fit their own config, but {problems[0]}{more}; save the model anew")
