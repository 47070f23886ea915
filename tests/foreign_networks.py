"""Networks of other projects, from their tensors' names alone: plain functions on dictionaries, shifts by loops.

Names are written here as the projects' own codes make them (mit-han-lab/temporal-shift-module, liu-zhy/
temporal-adaptive-module, open-mmlab/mmaction2), apart from what kinema makes of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
NONLOCAL_PLACES = ((2, 0), (2, 2), (3, 0), (3, 2), (3, 4))


@dataclass
class Weights:
    """Tensors by foreign name, drawn when they are first asked for; asking again gives the same ones."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def _normal(self, name: str, shape: tuple[int, ...], std: float, mean: float = 0.0) -> Tensor:
        if name not in self.tensors:
            self.tensors[name] = mean + std * torch.randn(shape, generator=self.generator)
        return self.tensors[name].double()

    def weight(self, name: str, *shape: int) -> Tensor:
        return self._normal(f"{name}.weight", shape, math.sqrt(2.0 / math.prod(shape[1:])))

    def linear(self, x: Tensor, name: str, classes: int) -> Tensor:
        return x @ self.weight(name, classes, x.shape[-1]).T + self._normal(f"{name}.bias", (classes,), 0.3)

    def bias(self, name: str, channels: int) -> Tensor:
        return self._normal(f"{name}.bias", (channels,), 0.2)

    def conv(self, x: Tensor, name: str, out: int, size: int, *, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.weight(name, out, x.shape[1] // groups, size, size)
        return F.conv2d(x, weight, stride=stride, padding=size // 2, groups=groups)

    def norm(self, x: Tensor, name: str) -> Tensor:
        channels = (x.shape[1],)
        weight = self._normal(f"{name}.weight", channels, 0.1, 0.7)
        bias, mean = self._normal(f"{name}.bias", channels, 0.2), self._normal(f"{name}.running_mean", channels, 0.2)
        if f"{name}.running_var" not in self.tensors:
            self.tensors[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=self.generator)
            self.tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)
        shape = (1, -1, *([1] * (x.ndim - 2)))
        var = self.tensors[f"{name}.running_var"].double()
        scaled = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        return scaled * weight.view(shape) + bias.view(shape)


def shift(x: Tensor, num_frames: int, divisions: int = 8, *, online: bool = False) -> Tensor:
    """Moves one part of the channels from the next frame and one from the one before; online, one from before."""
    y, fold = x.clone(), x.shape[1] // divisions
    for number in range(len(x)):
        t = number % num_frames
        before = x[number - 1] if t > 0 else torch.zeros_like(x[0])
        after = x[number + 1] if t + 1 < num_frames else torch.zeros_like(x[0])
        y[number, :fold] = (before if online else after)[:fold]
        if not online:
            y[number, fold : 2 * fold] = before[fold : 2 * fold]
    return y


def temporal_pool(x: Tensor, num_frames: int) -> Tensor:
    """Takes the maximum of frames 2t-1, 2t, 2t+1 of each clip."""
    frames = []
    for start in range(0, len(x), num_frames):
        for t in range(0, num_frames, 2):
            seen = [x[start + at] for at in (t - 1, t, t + 1) if 0 <= at < num_frames]
            frames.append(torch.stack(seen).amax(dim=0))
    return torch.stack(frames)


@dataclass
class ResNet:
    """A ResNet of one of the projects."""

    project: str
    """`tsm`, `tanet`, `tanet-old`, `mmaction2` or `torchvision`."""
    depth: int = 18
    classes: int = 5
    num_frames: int = 4
    in_channels: int = 3
    place: str = "blockres"
    """Of the shift: `blockres`, `block`, or `` for TSN."""
    shifted: set[tuple[int, int]] | None = None
    """The blocks with a shift, if they are others than the project's."""
    divisions: int = 8
    pool: bool = False
    nonlocals: tuple[tuple[int, int], ...] = ()
    subsample: bool = True
    scaled: bool = False
    nonlocal_norm: bool = True
    tam: bool = False
    head: str = ""
    wrapper: str = ""
    online: bool = False
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        self.mm = self.project == "mmaction2"
        self.trunk = self.wrapper + {"mmaction2": "backbone.", "torchvision": ""}.get(self.project, "base_model.")
        self.head = self.wrapper + (self.head or {"mmaction2": "cls_head.fc_cls"}.get(self.project, "new_fc"))
        every = 2 if DEPTHS[self.depth][2] >= 23 and self.place == "blockres" else 1
        if self.shifted is None and self.place:
            stages = enumerate(DEPTHS[self.depth])
            self.shifted = {(s + 1, i) for s, blocks in stages for i in range(0, blocks, every)}

    def conv_name(self, block: str, number: int) -> str:
        return f"{block}conv{number}" + (".conv" if self.mm else "")

    def norm_name(self, block: str, number: int) -> str:
        return f"{block}conv{number}.bn" if self.mm else f"{block}bn{number}"

    def block_name(self, stage: int, index: int) -> tuple[str, str]:
        """The name of a block with all that stands around it, and of what is inside."""
        around = f"{self.trunk}layer{stage}." + ("net." if self.pool and stage == 2 else "") + f"{index}."
        inner = around + ("block." if (stage, index) in self.nonlocals else "")
        if self.tam:
            inner += "block." if self.mm else "net."
        elif self.place == "block" and (stage, index) in (self.shifted or ()):
            inner += "net."
        return around, inner

    def __call__(self, clips: Tensor) -> Tensor:
        """Logits [N, K] of clips [N, T, C, H, W]."""
        x, weights = clips.double().flatten(0, 1), self.weights
        x = weights.norm(weights.conv(x, self.conv_name(self.trunk, 1), 64, 7, stride=2), self.norm_name(self.trunk, 1))
        x = F.max_pool2d(x.relu(), 3, stride=2, padding=1)
        frames = self.num_frames
        for stage, blocks in enumerate(DEPTHS[self.depth], start=1):
            if stage == 2 and self.pool:
                x, frames = temporal_pool(x, frames), frames // 2
            for index in range(blocks):
                x = self.block(x, stage, index, frames, stride=2 if stage > 1 and index == 0 else 1)
        logits = weights.linear(x.mean(dim=(2, 3)), self.head, self.classes)
        return logits.view(len(clips), frames, -1).mean(dim=1)

    def block(self, x: Tensor, stage: int, index: int, frames: int, *, stride: int) -> Tensor:
        weights, width = self.weights, 64 * 2 ** (stage - 1)
        around, name = self.block_name(stage, index)
        shifted = (stage, index) in (self.shifted or ())
        if shifted and self.place == "block":
            x = shift(x, frames, self.divisions, online=self.online)
        y, net = x, ""
        if shifted and self.place == "blockres":
            y, net = shift(x, frames, self.divisions, online=self.online), ".net"
        first = self.conv_name(name, 1) + net
        if self.depth < 50:
            out = width
            y = weights.norm(weights.conv(y, first, width, 3, stride=stride), self.norm_name(name, 1)).relu()
            y = weights.norm(weights.conv(y, self.conv_name(name, 2), width, 3), self.norm_name(name, 2))
        else:
            out = 4 * width
            y = weights.norm(weights.conv(y, first, width, 1), self.norm_name(name, 1)).relu()
            y = self.adapted(y, around, frames) if self.tam else y
            y = weights.conv(y, self.conv_name(name, 2), width, 3, stride=stride)
            y = weights.norm(y, self.norm_name(name, 2)).relu()
            y = weights.norm(weights.conv(y, self.conv_name(name, 3), out, 1), self.norm_name(name, 3))
        if stride > 1 or x.shape[1] != out:
            down = ("downsample.conv", "downsample.bn") if self.mm else ("downsample.0", "downsample.1")
            x = weights.norm(weights.conv(x, name + down[0], out, 1, stride=stride), name + down[1])
        y = (x + y).relu()
        return self.attended(y, around, frames) if (stage, index) in self.nonlocals else y

    def adapted(self, x: Tensor, block: str, frames: int) -> Tensor:
        """TAM, clip by clip and tap by tap."""
        g, gate = (f"{block}tam.G", f"{block}tam.L")
        if self.project == "tanet-old":
            g, gate = (f"{block}self_conv.conv_f", f"{block}self_conv.conv_g")
        weights, channels = self.weights, x.shape[1]
        y = torch.zeros_like(x)
        for start in range(0, len(x), frames):
            clip = x[start : start + frames]
            means = clip.mean(dim=(2, 3)).T  # [C, T]
            hidden = weights.norm(means @ weights.weight(f"{g}.0", 2 * frames, frames).T, f"{g}.1").relu()
            kernels = (hidden @ weights.weight(f"{g}.3", 3, 2 * frames).T).softmax(dim=1)  # [C, 3]
            inner = F.conv1d(means[None], weights.weight(f"{gate}.0", channels // 4, channels, 3), padding=1)
            inner = weights.norm(inner, f"{gate}.1").relu()
            gates = F.conv1d(inner, weights.weight(f"{gate}.3", channels, channels // 4, 1))[0].sigmoid()  # [C, T]
            for t in range(frames):
                for tap, source in enumerate((t - 1, t, t + 1)):
                    if 0 <= source < frames:
                        scale = kernels[:, tap] * gates[:, source]
                        y[start + t] += scale[:, None, None] * clip[source]
        return y

    def attended(self, x: Tensor, block: str, frames: int) -> Tensor:
        """Non-local, clip by clip."""
        weights, channels, inner = self.weights, x.shape[1], x.shape[1] // 2
        pooled = ("0." if self.subsample else "") + ("conv" if self.mm else "")
        base = f"{block}non_local_block." if self.mm else f"{block}nl."
        theta, phi, g = (base + one for one in (f"theta{'.conv' if self.mm else ''}", f"phi.{pooled}", f"g.{pooled}"))
        out, norm = (f"{base}conv_out.conv", f"{base}conv_out.bn") if self.mm else (f"{base}W.0", f"{base}W.1")

        def point(frame: Tensor, name: str, into: int, *, bias: bool = True) -> Tensor:
            name = name.rstrip(".")
            y = F.conv3d(frame[None], weights.weight(name, into, frame.shape[0], 1, 1, 1))[0]
            return y + weights.bias(name, into).view(-1, 1, 1, 1) if bias else y

        y = x.clone()
        for start in range(0, len(x), frames):
            clip = x[start : start + frames].transpose(0, 1)  # [C, T, H, W]
            queries, keys, values = (point(clip, name, inner) for name in (theta, phi, g))
            if self.subsample:
                keys, values = (F.max_pool3d(one, (1, 2, 2)) for one in (keys, values))
            scores = queries.flatten(1).T @ keys.flatten(1)
            found = (scores / (inner**0.5 if self.scaled else 1.0)).softmax(dim=1) @ values.flatten(1).T
            added = point(found.T.reshape(queries.shape), out, channels, bias=not (self.mm and self.nonlocal_norm))
            added = weights.norm(added.transpose(0, 1), norm) if self.nonlocal_norm else added.transpose(0, 1)
            y[start : start + frames] += added
        return y


PARTS = {
    ("tsm", False, False): ("", "", "0", "1", "3", "4"),
    ("tsm", True, False): ("0", "1", "3", "4", "6", "7"),
    ("tsm", True, True): ("0.net", "1", "3", "4", "6", "7"),
    ("torchvision", False, False): ("", "", "0.0", "0.1", "1", "2"),
    ("torchvision", True, False): ("0.0", "0.1", "1.0", "1.1", "2", "3"),
    ("mmaction2", False, False): ("", "", "0.conv", "0.bn", "1.conv", "1.bn"),
    ("mmaction2", True, False): ("0.conv", "0.bn", "1.conv", "1.bn", "2.conv", "2.bn"),
    ("mmaction2", True, True): ("0.net.conv", "0.net.bn", "1.conv", "1.bn", "2.conv", "2.bn"),
}
"""Project, whether the block expands, whether a shift shows -> its convs and norms in turn."""


@dataclass
class MobileNet:
    """A MobileNetV2 of one of the projects."""

    style: str
    """How parts are named: `tsm`, `torchvision` or `mmaction2`."""
    classes: int = 5
    num_frames: int = 4
    shifted: bool = True
    online: bool = False
    trunk: str = ""
    head: str = "classifier"
    widths: tuple[int, ...] = (16, 24, 32, 64, 96, 160, 320)
    weights: Weights = field(default_factory=Weights)

    def __call__(self, clips: Tensor) -> Tensor:
        """Logits [N, K] of clips [N, T, C, H, W]."""
        x, weights, mm = clips.double().flatten(0, 1), self.weights, self.style == "mmaction2"
        stem = ("conv1.conv", "conv1.bn") if mm else ("features.0.0", "features.0.1")
        x = self.activated(weights.conv(x, self.trunk + stem[0], 32, 3, stride=2), stem[1])
        number = 0
        for stage, (blocks, stride) in enumerate(zip((1, 2, 3, 4, 3, 3, 1), (1, 2, 2, 2, 1, 2, 1), strict=True)):
            for index in range(blocks):
                number += 1
                name = f"layer{stage + 1}.{index}.conv." if mm else f"features.{number}.conv."
                x = self.block(x, name, self.widths[stage], expand=number > 1, stride=stride if index == 0 else 1)
        end = ("conv2.conv", "conv2.bn") if mm else ("features.18.0", "features.18.1")
        x = self.activated(weights.conv(x, self.trunk + end[0], 1280, 1), end[1])
        logits = weights.linear(x.mean(dim=(2, 3)), self.head, self.classes)
        return logits.view(len(clips), self.num_frames, -1).mean(dim=1)

    def activated(self, x: Tensor, norm: str) -> Tensor:
        return self.weights.norm(x, self.trunk + norm).clamp(0, 6)

    def block(self, x: Tensor, name: str, out: int, *, expand: bool, stride: int) -> Tensor:
        has_residual = stride == 1 and x.shape[1] == out
        shifts = self.shifted and expand and has_residual
        numbers = PARTS[self.style, expand, shifts and not self.online]
        y, names = x, [self.trunk + name + number for number in numbers]
        hidden = 6 * x.shape[1] if expand else x.shape[1]
        if expand:
            y = shift(x, self.num_frames, online=self.online) if shifts else x
            y = self.weights.norm(self.weights.conv(y, names[0], hidden, 1), names[1]).clamp(0, 6)
        y = self.weights.conv(y, names[2], hidden, 3, stride=stride, groups=hidden)
        y = self.weights.norm(y, names[3]).clamp(0, 6)
        y = self.weights.norm(self.weights.conv(y, names[4], out, 1), names[5])
        return x + y if has_residual else y
