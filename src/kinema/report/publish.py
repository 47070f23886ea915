"""Puts a model where others can load it: weights and card, into a folder or onto the hub."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from kinema.models.hub import WEIGHTS_FILE, Address, find_weights, is_on_hub, upload
from kinema.models.weights import read_spec, write_atomically
from kinema.report.card import MARK, model_card
from kinema.report.results import find_results, read_results
from kinema.wording import listed

CARD_FILE = "README.md"


def publish(
    weights: str | Path,
    target: str,
    *,
    results: Sequence[str | Path] = (),
    license: str | None = None,
    private: bool = False,
    message: str | None = None,
) -> list[str]:
    """Writes `model.safetensors` and `README.md`, the model's card, into a folder or a repository on the hub.

    Args:
        weights: What `load_model` takes.
        target: `hf://owner/name`, or a folder: new, empty, or written by this function before.
        results: Files that `kinema evaluate --json` wrote; without one, what the weights' run has logged.
        license: The licence's identifier, for the card.
        private: Whether only the repository's owner may see it.
        message: Words for the commit on the hub.

    Returns:
        Lines to print: what stands where.

    Raises:
        FileNotFoundError: If a file is not there.
        OSError: If the hub cannot be reached, or the folder not be written to.
        ValueError: If weights, results or target are none that can be published.
    """
    if is_on_hub(target):
        Address.of(target)
    else:
        _check_folder(Path(target))
        given = [name for name, value in (("private", private), ("message", message)) if value]
        if given:
            raise ValueError(f"{given[0]} must be left out where target is a folder, got {target}; drop --{given[0]}")
    file = find_weights(weights)
    names = read_spec(file).class_names
    scores = [read_results(path, class_names=names) for path in results] or find_results(file)
    name = target if is_on_hub(target) else WEIGHTS_FILE
    card = model_card(file, name=name, results=scores, license=license).encode()
    words = (
        listed([score.protocol for score in scores])
        or "not measured; --results takes what `kinema evaluate --json` wrote"
    )
    lines = [f"{target}: {WEIGHTS_FILE} ({file.stat().st_size / 1e6:.1f} MB) and {CARD_FILE}", f"results: {words}"]
    if is_on_hub(target):
        files: dict[str, Path | bytes] = {WEIGHTS_FILE: file, CARD_FILE: card}
        page = upload(files, target, private=private, message=message or f"Push with kinema {version('kinema')}")
        return [*lines, f"page: {page}"]
    write_atomically(Path(target) / WEIGHTS_FILE, file.read_bytes())
    write_atomically(Path(target) / CARD_FILE, card)
    return lines


def _check_folder(folder: Path) -> None:
    """Refuses a folder in which somebody else's files stand.

    Raises:
        ValueError: If there are any.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"target must be a folder or hf://owner/name, got the file {folder}; name another")
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    card = folder / CARD_FILE
    if names and not (card.is_file() and MARK in card.read_text(encoding="utf-8", errors="replace")):
        raise ValueError(
            f"target must be a new or empty folder, or one that kinema push has written, got {folder} with "
            f"{listed(names, 4)}; name another"
        )
