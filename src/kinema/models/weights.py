"""Weights on disk: one safetensors file that holds everything needed to use it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from kinema.models.classifier import ModelConfig, VideoClassifier, make_model
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
    """Builds the model that a file holds.

    Args:
        path: What `save_model` wrote.

    Returns:
        The model, in evaluation mode, with its `spec`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of ours, or was written by a version that differs.
    """
    metadata, tensors = _read_metadata_of_model(path), _read_tensors(path)
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
        path: A safetensors file.

    Returns:
        The strings by key; none where the file has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no safetensors file.
    """
    _check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise _not_ours(path, error) from error


def initialize_from(model: VideoClassifier, path: str | Path) -> list[str]:
    """Starts a model from a file of weights: every tensor that fits by name and shape; the head only for equal classes.

    Args:
        model: The model, changed in place.
        path: What `save_model` wrote, with the same backbone; another temporal layer or class list is fine.

    Returns:
        Lines to print: what was taken, what starts anew, and what of the file stays unused.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of ours, no tensor of the backbone fits by its name, or one has another shape.
    """
    metadata, tensors = _read_metadata_of_model(path), _read_tensors(path)
    names = ClipSpec.from_json(metadata["spec"]).class_names
    same_classes = bool(names) and names == model.spec.class_names
    own = model.state_dict()
    taken = [key for key in own if key in tensors and (same_classes or not key.startswith(HEAD))]
    for key in taken:
        if tensors[key].shape != own[key].shape:
            raise ValueError(
                f"{path}: {key} must have shape {list(own[key].shape)}, got {list(tensors[key].shape)}; "
                "the file is of another backbone or other options"
            )
    if all(key.startswith(HEAD) for key in taken):
        other = ModelConfig.from_json(metadata["config"]).backbone
        raise ValueError(
            f"{path}: the weights must be of a backbone like {model.config.backbone}, got those of {other}, of which "
            "no tensor fits; take the same backbone"
        )
    model.load_state_dict({key: tensors[key] for key in taken}, strict=False)
    anew = [key for key in own if key not in taken]
    unused = [key for key in tensors if key not in taken]
    lines = [f"initialized from {path}: {len(taken)} of {len(own)} tensors taken"]
    lines += [f"  anew: {listed(anew, 12)}"] if anew else []
    return lines + ([f"  unused: {listed(unused, 12)}"] if unused else [])


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file beside its target, forces it to the disk, and renames it into place.

    Raises:
        OSError: If the disk is full or the folder cannot be written to; what stood at the path is then still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_metadata_of_model(path: str | Path) -> dict[str, str]:
    metadata = read_metadata(path)
    missing = sorted({"spec", "config"} - metadata.keys())
    if missing:
        raise ValueError(
            f"{path}: the file must hold a kinema model, got none of its {' and '.join(missing)}; "
            "weights of other programs must be converted first"
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
    return ValueError(f"{path}: the file must be safetensors, got something else or half of it ({error}); save it anew")


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
