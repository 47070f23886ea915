"""The video network: a temporalized backbone, and a head that makes logits of its features.

Shapes: N clips, T frames, C channels, H x W pixels, D features, K classes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kinema.layers.folding import fold_time, unfold_time
from kinema.models.backbones import backbone_spec, create_backbone, num_features
from kinema.models.heads import HEADS, LinearHead, check_head
from kinema.models.modality import check_said_once, check_short_term, choose_stack, modality_spec
from kinema.models.pretrained import load_pretrained
from kinema.models.short_term import STACKED_FRAMES
from kinema.models.temporal_pool import frames_out
from kinema.models.temporalize import set_num_frames, temporalize
from kinema.models.video_networks import VIDEO_NETWORKS, VideoNetwork, check_alone
from kinema.spec import FRAME_CHANNELS, ClipSpec, Modality


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a model is built from; saved with its weights."""

    backbone: str
    """timm's name of the 2D network, or that of a whole video network."""
    temporal: tuple[str, ...]
    """Temporal layers, left to right."""
    num_frames: int
    """Frames T of a clip."""
    num_classes: int
    """Classes K."""
    in_channels: int = 3
    """Channels C of each of the T: those of a frame, times the frames that are stacked."""
    dropout: float = 0.0
    """Share of features dropped before the head in training."""
    causal: bool = False
    """Whether no frame sees a later one."""
    head: str = "linear"
    """Name in `HEADS`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the temporal layers and of `temporalize`."""

    @property
    def stack(self) -> int:
        """How many neighbouring frames it takes, stacked in the channels, in place of one."""
        return _stack(self.options)

    @property
    def frame_channels(self) -> int:
        """Channels of one of these; 3 for RGB."""
        return self.in_channels // self.stack

    def to_json(self) -> str:
        """Returns the config as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If a key is none of the config's fields, or one is missing.
        """
        values: dict[str, Any] = json.loads(text)
        try:
            return cls(**{**values, "temporal": tuple(values["temporal"])})
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"a model config must have the fields of this version, got {sorted(values)}; upgrade kinema"
            ) from error


class VideoClassifier(nn.Module):
    """Maps clips to logits.

    Args:
        backbone: Maps folded frames [N*T, C, H, W] to features [N*T, D].
        num_features: D.
        config: What the model is built from.
        spec: How a video becomes the clips that it takes.
    """

    def __init__(self, backbone: nn.Module, *, num_features: int, config: ModelConfig, spec: ClipSpec) -> None:
        super().__init__()
        _check_spec(spec, config)
        self.backbone = backbone
        self.dropout = nn.Dropout(config.dropout)
        frames = frames_out(backbone, config.num_frames)
        self.head = HEADS[config.head](num_features, config.num_classes, num_frames=frames)
        self.config = config
        self.spec = spec
        self.notes: tuple[str, ...] = ()
        """Lines to print about the file that its 2D weights came from; not saved."""

    def forward(self, clip: Tensor) -> Tensor:
        """Recognises clips.

        Args:
            clip: Normalized clips [N, T, C, H, W].

        Returns:
            Logits [N, K].

        Raises:
            ValueError: If the clips have another shape.
        """
        return self.head(self._features(clip))  # [N, K]

    def frame_logits(self, clip: Tensor) -> Tensor:
        """Gives each frame's own logits.

        Args:
            clip: Normalized clips [N, T, C, H, W].

        Returns:
            Logits [N, T, K]; behind a temporal pool T is half of the clip's, behind a whole video network 1.

        Raises:
            ValueError: If the clips have another shape, or the head is one that only whole clips have logits in.
        """
        if not isinstance(self.head, LinearHead):
            raise ValueError(
                f"head must be 'linear' for logits of single frames, got {self.config.head!r}, which has them of whole "
                "clips only; call the model itself"
            )
        return self.head.frame_logits(self._features(clip))  # [N, T, K]

    def set_num_frames(self, num_frames: int) -> None:
        """Changes T of the layers, the spec and the config.

        Args:
            num_frames: Frames T of a clip.

        Raises:
            ValueError: If a layer or the head cannot change its T; nothing is then changed.
        """
        spec = dataclasses.replace(self.spec, num_frames=num_frames)
        self.head.check_num_frames(frames_out(self.backbone, num_frames))
        set_num_frames(self.backbone, num_frames)
        self.spec = spec
        self.config = dataclasses.replace(self.config, num_frames=num_frames)

    def _features(self, clip: Tensor) -> Tensor:
        """Maps clips [N, T, C, H, W] to what the head gets [N, T', D]."""
        self._check_clip(clip)
        features = self.backbone(fold_time(clip))  # [N*T', D]
        return unfold_time(self.dropout(features), frames_out(self.backbone, self.config.num_frames))

    def _check_clip(self, clip: Tensor) -> None:
        num_frames, channels = self.config.num_frames, self.config.in_channels
        if clip.ndim == 5 and clip.shape[1] == num_frames and clip.shape[2] == channels:
            return
        shape = [dim if isinstance(dim, int) else "N" for dim in clip.shape]
        advice = f"this model takes T = {num_frames} frames of C = {channels} channels"
        if (stack := self.spec.stack) > 1:
            advice += f", {stack} neighbours of {channels // stack} each, as load_views stacks them"
        if clip.ndim == 4:
            advice += "; add the clip's own axis with clip[None]"
        elif clip.ndim == 5 and clip.shape[1] == channels and clip.shape[2] == num_frames:
            advice += "; this looks like [N, C, T, H, W]: transpose it with clip.transpose(1, 2)"
        elif clip.ndim == 5 and clip.shape[2] == channels:
            advice += "; sample that many frames, or call model.set_num_frames"
        raise ValueError(f"clip must have shape [N, T, C, H, W], got {shape}; {advice}")


def create_model(
    backbone: str,
    *,
    num_classes: int,
    temporal: str | Sequence[str] = "none",
    num_frames: int = 8,
    spec: ClipSpec | None = None,
    modality: Modality = "rgb",
    stack: int | None = None,
    pretrained: bool | str | Path = False,
    dropout: float = 0.0,
    causal: bool = False,
    head: str = "linear",
    **options: Any,  # noqa: ANN401 (the temporal layers' own, checked by temporalize)
) -> VideoClassifier:
    """Builds a video network by name.

    Args:
        backbone: timm's name of the 2D network, with the weights' tag where it matters (`resnet50.tv_in1k`), or a whole
            video network (`r3d_18`).
        num_classes: Classes K.
        temporal: One or several names in `TEMPORAL_LAYERS`.
        num_frames: Frames T of a clip.
        spec: How a video becomes a clip; by default what the backbone's weights were trained with.
        modality: What the network sees, where no spec says it: `rgb`, `flow` or `rgbdiff`.
        stack: Fields of flow, or differences, that are stacked at each of the T, where no spec says it; 5 by default.
        pretrained: Whether to start from the weights that are published for the backbone, of which a first conv that
            sees anything but RGB takes the mean over RGB (`first_conv`); or a file of 2D weights, in
            timm's or torchvision's layout (`load_pretrained`): what of it was not taken, the model's `notes` say.
        dropout: Share of features dropped before the head in training.
        causal: Whether no frame sees a later one.
        head: What makes logits of the frames' features: `linear`, the mean of each frame's own, or `trn`.
        **options: Options of the temporal layers and of `temporalize`.

    Returns:
        The network, in training mode.

    Raises:
        FileNotFoundError: If `pretrained` is a file that is not there.
        ValueError: If a name is unknown, a number is out of range, or weights cannot be had or do not fit.
    """
    if spec is None:
        in_channels = choose_stack(modality, stack, short_term=_stack(options)) * FRAME_CHANNELS[modality]
    else:
        check_said_once(spec, modality, stack)
        in_channels = len(spec.mean) * spec.stack
    config = ModelConfig(
        backbone=backbone,
        temporal=(temporal,) if isinstance(temporal, str) else tuple(temporal),
        num_frames=num_frames,
        num_classes=num_classes,
        in_channels=in_channels,
        dropout=dropout,
        causal=causal,
        head=head,
        options=options,
    )
    return make_model(config, spec=spec, modality=modality, pretrained=pretrained)


def make_model(
    config: ModelConfig, *, spec: ClipSpec | None, modality: Modality = "rgb", pretrained: bool | str | Path = False
) -> VideoClassifier:
    """Builds the network that a config describes.

    Args:
        config: What to build.
        spec: How a video becomes a clip; by default what the backbone's weights were trained with.
        modality: What the network sees, where no spec says it.
        pretrained: Whether to start from the weights that are published for the backbone, or a file of 2D weights.

    Returns:
        The network, in training mode.

    Raises:
        FileNotFoundError: If `pretrained` is a file that is not there.
        ValueError: If a name is unknown, a number is out of range, or weights cannot be had or do not fit.
    """
    if config.num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {config.num_classes}; count the dataset's classes")
    if not 0.0 <= config.dropout < 1.0:
        raise ValueError(f"dropout must be at least 0 and below 1, got {config.dropout}; 0.5 is usual")
    check_head(config.head, causal=config.causal)
    if spec is not None:
        check_short_term(config.stack, modality=spec.modality, stack=spec.stack)
    if config.backbone in VIDEO_NETWORKS:
        check_alone(config.backbone, config.temporal, causal=config.causal, options=config.options, head=config.head)
    file = None if isinstance(pretrained, bool) else pretrained
    backbone = create_backbone(config.backbone, pretrained=pretrained is True, in_channels=config.frame_channels)
    notes = [] if file is None else load_pretrained(backbone, file)
    spec = spec or modality_spec(
        backbone_spec(backbone, num_frames=config.num_frames),
        modality,
        stack=config.in_channels // FRAME_CHANNELS[modality],
    )
    if isinstance(backbone, VideoNetwork):
        backbone.set_num_frames(config.num_frames, size=spec.crop)
    else:
        temporalize(backbone, config.temporal, num_frames=config.num_frames, causal=config.causal, **config.options)
    model = VideoClassifier(backbone, num_features=num_features(backbone), config=config, spec=spec)
    model.notes = tuple(notes)
    return model


def _stack(options: Mapping[str, Any]) -> int:
    """Returns how many frames a network with these options takes in place of one."""
    return STACKED_FRAMES if options.get("short_term") else 1


def _check_spec(spec: ClipSpec, config: ModelConfig) -> None:
    if spec.num_frames != config.num_frames:
        raise ValueError(
            f"spec must have the model's num_frames {config.num_frames}, got {spec.num_frames}; make them equal"
        )
    if len(spec.mean) * spec.stack != config.in_channels:
        got = f"{len(spec.mean)}" + (f" for each of {spec.stack} stacked frames" if spec.stack > 1 else "")
        raise ValueError(f"spec must have one mean per channel ({config.in_channels}), got {got}; make them equal")
    if spec.class_names and len(spec.class_names) != config.num_classes:
        raise ValueError(
            f"num_classes must be the number of spec.class_names, got {config.num_classes} for "
            f"{len(spec.class_names)} names; make them equal"
        )
