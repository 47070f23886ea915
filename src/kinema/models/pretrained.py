"""2D weights from a file: as timm, torchvision or a trainer saved them, with the names of the backbone's own tensors.

Nothing in a file is executed (`kinema.models.files`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kinema.models.files.read import read_checkpoint
from kinema.models.first_conv import adapt_kernels, takes_other_channels
from kinema.wording import listed

PREFIXES = ("module.", "_orig_mod.")
"""What torch's wrappers for several devices and for compilation put before every name."""
CLASSIFIERS = ("fc", "head", "classifier", "last_linear")
"""First words of a classifier's names; a backbone has none."""


def load_pretrained(backbone: nn.Module, path: str | Path) -> list[str]:
    """Loads 2D weights from a file into a backbone.

    Args:
        backbone: What `create_backbone` built; changed in place. Where it takes other than 3 channels, the file's
            first conv is adapted as TSN does it (`first_conv`).
        path: A `.safetensors`, `.pth` or `.pt` file of the same network, in timm's or torchvision's layout.

    Returns:
        Lines to print: how many tensors were taken, the classifier's that were left out, and the unused ones.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, a tensor of the backbone is not in it, or one has another shape.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no such file; pretrained takes a file of 2D weights, or true or false"
        )
    checkpoint = read_checkpoint(path)
    tensors = _without_prefixes(checkpoint.tensors)
    own = backbone.state_dict()
    needed = {key for key in own if not key.endswith("num_batches_tracked")}  # files from before torch 0.4 lack these
    layouts = [{rename(key): key for key in tensors} for rename in LAYOUTS]
    names = min(layouts, key=lambda layout: len(needed - layout.keys()))  # name in the backbone -> name in the file
    missing = [key for key in own if key in needed and key not in names]
    if missing:
        found = listed([key for key in tensors if key not in own], 3) or "nothing else"
        raise ValueError(
            f"{path}: pretrained must be weights of the backbone, in the layout of timm or torchvision, got none for "
            f"{listed(missing, 3)}, but {found}; take the same network"
        )
    cfg: dict[str, Any] = dict(getattr(backbone, "pretrained_cfg", {}))
    taken = {key: _fitted(path, name, tensors[name], own[key]) for key, name in names.items() if key in own}
    adapted = [key for key in taken if takes_other_channels(tensors[names[key]], own[key].shape)]
    backbone.load_state_dict(taken, strict=False)
    heads = {*CLASSIFIERS, *_as_tuple(cfg.get("classifier"))}
    rest = {key: name for key, name in names.items() if key not in own}
    left_out = [name for name in rest.values() if name.rpartition(".")[0] in heads or name.split(".")[0] in heads]
    unused = [name for name in rest.values() if name not in left_out]
    place = f" ({checkpoint.place})" if checkpoint.place else ""
    lines = [f"2D weights from {path}{place}: {len(taken)} of {len(own)} tensors taken"]
    rest_of_file = {
        "adapted from RGB": adapted,
        "classifier left out": left_out,
        "unused": unused,
        "not loaded": checkpoint.not_loaded,
    }
    return lines + [f"  {words}: {listed(names)}" for words, names in rest_of_file.items() if names]


def _without_prefixes(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Takes off what stands before every name."""
    while prefix := next((one for one in PREFIXES if all(key.startswith(one) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _fitted(path: str | Path, name: str, value: Tensor, own: Tensor) -> Tensor:
    """Returns a file's tensor in the shape of the backbone's.

    Raises:
        ValueError: If it has another shape.
    """
    if value.ndim == 2 and own.ndim == 4 and value.shape == (own.shape[0], own[0].numel()):
        return value.reshape(own.shape)  # a linear layer that timm runs as a conv
    if takes_other_channels(value, own.shape):
        return adapt_kernels(value, own.shape[1])
    if value.shape != own.shape:
        raise ValueError(
            f"{path}: {name} must have shape {list(own.shape)}, got {list(value.shape)}; take the same network"
        )
    return value


def _as_tuple(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def _same(key: str) -> str:
    """What timm has; torchvision has the same for ResNet, ResNeXt, DenseNet and Inception v3."""
    return key


def _old_densenet(key: str) -> str:
    """The files that torchvision publishes for DenseNet: `norm.1` is `norm1`."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)


def _torchvision_vgg(key: str) -> str:
    """VGG of torchvision: timm runs its first two linear layers as convs."""
    module, dot, name = key.rpartition(".")
    places = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    return f"{places.get(module, module)}{dot}{name}"


def _mobilenet_v2_places() -> dict[str, str]:
    """Maps the modules of torchvision's MobileNetV2 to timm's: 17 blocks in stages of 1, 2, 3, 4, 3, 3 and 1."""
    places = {"features.0.0": "conv_stem", "features.0.1": "bn1", "classifier.1": "classifier"}
    places |= {"features.18.0": "conv_head", "features.18.1": "bn2"}
    first = {"conv.0.0": "conv_dw", "conv.0.1": "bn1", "conv.1": "conv_pw", "conv.2": "bn2"}
    later = {"conv.0.0": "conv_pw", "conv.0.1": "bn1", "conv.1.0": "conv_dw", "conv.1.1": "bn2"}
    later |= {"conv.2": "conv_pwl", "conv.3": "bn3"}
    blocks = [(stage, block) for stage, count in enumerate((1, 2, 3, 4, 3, 3, 1)) for block in range(count)]
    for number, (stage, block) in enumerate(blocks, start=1):
        parts = first if number == 1 else later
        places |= {f"features.{number}.{theirs}": f"blocks.{stage}.{block}.{ours}" for theirs, ours in parts.items()}
    return places


_MOBILENET_V2 = _mobilenet_v2_places()


def _torchvision_mobilenet_v2(key: str) -> str:
    """MobileNetV2 of torchvision, which is one flat list of blocks."""
    module, dot, name = key.rpartition(".")
    return f"{_MOBILENET_V2.get(module, module)}{dot}{name}"


def _torchvision_video(key: str) -> str:
    """Whole video networks, which a `VideoNetwork` holds as `net`."""
    return f"net.{key}"


LAYOUTS: tuple[Callable[[str], str], ...] = (
    _same,
    _old_densenet,
    _torchvision_vgg,
    _torchvision_mobilenet_v2,
    _torchvision_video,
)
"""From a name in a file to timm's: the layout is the one that leaves fewest tensors without a value."""
