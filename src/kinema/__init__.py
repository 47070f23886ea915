"""Turns any 2D CNN into a video network: `kinema.create_model("resnet18", temporal="sth", num_classes=8)`.

Names are looked up when they are first used, so that `import kinema` costs nothing.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinema.data.video.opening import VideoError, open_video
    from kinema.models.classifier import create_model
    from kinema.models.cost import cost
    from kinema.models.temporal_layers import TEMPORAL_LAYERS
    from kinema.models.temporalize import temporalize
    from kinema.models.weights import load_model
    from kinema.predict import Predictor
    from kinema.spec import ClipSpec

__version__ = metadata.version("kinema")

__all__ = [
    "TEMPORAL_LAYERS",
    "ClipSpec",
    "Predictor",
    "VideoError",
    "__version__",
    "cost",
    "create_model",
    "load_model",
    "open_video",
    "temporalize",
]

_HOMES = {
    "TEMPORAL_LAYERS": "kinema.models.temporal_layers",
    "ClipSpec": "kinema.spec",
    "Predictor": "kinema.predict",
    "VideoError": "kinema.data.video.opening",
    "cost": "kinema.models.cost",
    "create_model": "kinema.models.classifier",
    "load_model": "kinema.models.weights",
    "open_video": "kinema.data.video.opening",
    "temporalize": "kinema.models.temporalize",
}
"""Public name -> the module that it lives in."""

if not TYPE_CHECKING:  # a type checker takes the imports above, and would take any name from a `__getattr__`

    def __getattr__(name: str) -> object:
        """Imports a public name when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module 'kinema' has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Lists the public names beside what is loaded already."""
    return sorted({*globals(), *__all__})
