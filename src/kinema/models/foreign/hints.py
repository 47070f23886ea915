"""What a checkpoint says beside its tensors: in its recipe's text, its own name, and the name of its folder.

TSM's official code puts its settings into the name of the folder (`..._shift8_blockres_avg_segment8_e50`), published
weights have them in the file's; mmaction2 writes `1x1x8` (clip length, interval, T) and keeps its recipe as text.

Shapes: T frames.
"""

from __future__ import annotations

import re
from pathlib import Path

OTHER_NETWORKS = ("C2D", "TPN", "Recognizer3D")
"""Types in mmaction2's recipes of networks whose tensors have the names of a TSN's or TSM's."""
DEFAULT_NUM_FRAMES = 8
DEFAULT_NUM_DIVISIONS = 8


def choose_num_frames(given: int | None, *, by_shape: int | None, text: str, path: Path) -> tuple[int, str]:
    """Finds T: what the caller says, what shapes say, what the recipe or a name says, or 8.

    Returns:
        T, and where it comes from, in words.

    Raises:
        ValueError: If the caller and the shapes contradict each other.
    """
    if by_shape is not None:
        if given is not None and given != by_shape:
            raise ValueError(
                f"num_frames must be the {by_shape} that the file's tensors are made for, got {given}; leave it out"
            )
        return by_shape, "by the shapes of its tensors"
    if given is not None:
        return given, "as asked for"
    said = _in_text(text, r"\bnum_segments\b['\"]?\s*[=:]\s*(\d+)", r"\bnum_clips\b['\"]?\s*[=:]\s*(\d+)")
    if said is not None:
        return said, "by the file's own recipe"
    named = _in_names(path, r"segment(\d+)|(?<!\d)1x1x(\d+)", folder=r"_segment(\d+)_e\d")
    if named is not None:
        return named, "by the file's name"
    return DEFAULT_NUM_FRAMES, "assumed: nothing in the file says; --num_frames sets it"


def choose_num_divisions(*, text: str, path: Path) -> tuple[int, str]:
    """Finds of how many parts of the channels a shift moves one each way; says where the number comes from."""
    said = _in_text(text, r"\bshift_div\b['\"]?\s*[=:]\s*(\d+)")
    if said is not None:
        return said, "by the file's own recipe"
    named = _in_names(path, r"shift(\d+)", folder=r"_shift(\d+)_block")
    if named is not None:
        return named, "by the file's name"
    return DEFAULT_NUM_DIVISIONS, "the usual number; nothing in the file says"


def is_online(path: Path) -> bool:
    """Tells whether a file is called one of TSM's online form."""
    return "online" in path.name.lower()


def attention_mode(*, text: str, path: Path) -> str | None:
    """Finds how a Non-local block compares positions, where the recipe or the name says so."""
    match = re.search(r"\bmode\b['\"]?\s*[=:]\s*['\"](embedded_gaussian|dot_product|gaussian|concatenation)['\"]", text)
    if match:
        return match[1]
    name = path.name.lower().replace("-", "_")
    return next((mode for mode in ("embedded_gaussian", "dot_product", "gaussian") if mode in name), None)


def is_scaled(text: str) -> bool | None:
    """Tells whether mmcv's Non-local block divides scores by the root of their length; None if nothing says."""
    if "non_local_cfg" not in text:
        return None
    match = re.search(r"\buse_scale\b['\"]?\s*[=:]\s*(True|False)", text)
    return match is None or match[1] == "True"  # mmcv does, unless told otherwise


def other_network(*, text: str, path: Path) -> str | None:
    """Finds the name of a network that is another one than its tensors' names say, in the recipe or the file's name."""
    for name in OTHER_NETWORKS:
        in_text = re.search(rf"\btype\b['\"]?\s*[=:]\s*['\"]{name}['\"]", text)
        if in_text or re.match(rf"{name}[_-]", path.name, re.IGNORECASE):
            return name
    return None


def has_stride_in_first_conv(text: str) -> bool:
    """Tells whether a recipe builds the ResNets of Caffe, whose tensors look like any other's."""
    return re.search(r"\bstyle\b['\"]?\s*[=:]\s*['\"]caffe['\"]", text) is not None


def _in_text(text: str, *patterns: str) -> int | None:
    found = (re.search(pattern, text) for pattern in patterns)
    return next((int(match[1]) for match in found if match), None)


def _in_names(path: Path, file: str, *, folder: str) -> int | None:
    """Looks in the name of the file; then in its folder's, which must be one of TSM's, for it may be about anything."""
    match = re.search(file, path.name) or re.search(folder, path.absolute().parent.name)
    return None if match is None else int(next(group for group in match.groups() if group))
