"""Networks by name, 2D ones from timm and whole video networks, and what their weights expect of a frame."""

from __future__ import annotations

import difflib
import math
from http.client import HTTPException
from pickle import UnpicklingError
from typing import Any

import timm
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from torch import nn

from kinema.models.first_conv import RGB_CHANNELS, copy_adapted
from kinema.models.hub import REACH_SECONDS, WEIGHTS_FILE
from kinema.models.video_networks import (
    VIDEO_NETWORKS,
    VideoNetwork,
    cached_weights,
    create_video_network,
    reach_video_weights,
    video_spec,
)
from kinema.spec import ClipSpec


def create_backbone(name: str, *, pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """Builds a network without its classifier.

    Args:
        name: timm's name, with the weights' tag where it matters (`resnet50.tv_in1k`), or one in `VIDEO_NETWORKS`.
        pretrained: Whether to load the weights that are published for it.
        in_channels: Channels of a frame; 3 for RGB. For others, the published first conv is adapted as TSN does it
            (`first_conv`).

    Returns:
        A network that maps frames [N, C, H, W] to pooled features [N, D]; a `VideoNetwork` maps the frames of N clips.

    Raises:
        ValueError: If there is no such network, or its weights cannot be had.
    """
    check_name(name)
    if not pretrained:
        return _create(name, pretrained=False, in_channels=in_channels)
    try:
        _reach_weights(name)
        return _create(name, pretrained=True, in_channels=in_channels)
    except (OSError, RuntimeError, EOFError, HTTPException, UnpicklingError) as error:
        copy = f"put them into {cached_weights(name)}" if name in VIDEO_NETWORKS else "copy them into the hub's cache"
        raise ValueError(
            f"pretrained must name weights that can be had, got {name} ({_first_line(error)}); connect to the network, "
            f"{copy}, or start from random ones with pretrained=False"
        ) from error


def backbone_spec(backbone: nn.Module, *, num_frames: int) -> ClipSpec:
    """Reads from the weights' own configuration how they want their frames.

    Args:
        backbone: What `create_backbone` built.
        num_frames: Frames T of a clip.

    Returns:
        A spec with the weights' input size, resize, interpolation, mean and standard deviation.
    """
    if isinstance(backbone, VideoNetwork):
        return video_spec(backbone.name, num_frames=num_frames)
    cfg: dict[str, Any] = dict(backbone.pretrained_cfg)  # type: ignore[arg-type]
    crop = min(cfg["input_size"][-2:])
    return ClipSpec(
        num_frames=num_frames,
        crop=crop,
        resize=max(crop, math.floor(crop / cfg["crop_pct"])),
        interpolation="bicubic" if cfg["interpolation"] == "bicubic" else "bilinear",
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
    )


def num_features(backbone: nn.Module) -> int:
    """Returns the length D of the pooled features [N, D]."""
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]


def check_name(name: str) -> None:
    """Refuses a name that neither timm nor `VIDEO_NETWORKS` knows.

    Raises:
        ValueError: If it is such a one; the sentence gives the nearest names.
    """
    if name in VIDEO_NETWORKS:
        return
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, [*timm.list_models(), *VIDEO_NETWORKS], n=3, cutoff=0.0)
        raise ValueError(
            f"backbone must be a whole video network or a network of timm, got {name!r}; the nearest are "
            f"{', '.join(near)}"
        )
    tagged = [known for known in timm.list_pretrained(f"{base}*") if known.partition(".")[0] == base]
    if tag and name not in tagged:
        raise ValueError(
            f"backbone must have weights that timm knows, got {name!r}; for {base} there are "
            f"{', '.join(tagged) or 'none'}"
        )


def _create(name: str, *, pretrained: bool, in_channels: int) -> nn.Module:
    if name in VIDEO_NETWORKS:
        return create_video_network(name, pretrained=pretrained, in_channels=in_channels)
    if not pretrained or in_channels == RGB_CHANNELS:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, in_chans=in_channels)
    backbone = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_channels)
    copy_adapted(timm.create_model(name, pretrained=True, num_classes=0), backbone)
    return backbone


def _reach_weights(name: str) -> None:
    """Asks for the weights once, which fails in seconds where timm would try again for a minute.

    Raises:
        OSError: If they are neither in the cache nor within reach.
    """
    if name in VIDEO_NETWORKS:
        reach_video_weights(name, timeout=REACH_SECONDS)
        return
    cfg = timm.get_pretrained_cfg(name)
    repo = None if cfg is None else cfg.hf_hub_id
    if not repo or isinstance(try_to_load_from_cache(repo, WEIGHTS_FILE), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repo, WEIGHTS_FILE), timeout=REACH_SECONDS)
    except EntryNotFoundError:
        return  # the hub answers; timm knows which other file to ask for
    except Exception as error:  # the hub's HTTP client is no part of its API, so its errors have no name here
        raise OSError(str(error)) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
