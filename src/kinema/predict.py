"""From a video file to class names with probabilities, on the same road as evaluation.

Shapes: N videos, V views, T frames, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kinema.data.dataset import load_views
from kinema.data.video.opening import VideoError, open_video
from kinema.data.views import grid_views
from kinema.engine.device import choose_device
from kinema.engine.evaluate import predict_views
from kinema.engine.evaluate_weights import trained_mirrors
from kinema.engine.memory import enough_memory, prediction_sentence
from kinema.engine.recipe import Accelerator
from kinema.models.classifier import VideoClassifier
from kinema.models.weights import load_model, read_metadata
from kinema.spec import FRAME_CHANNELS


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says about one video."""

    path: Path
    """The video."""
    top: list[tuple[str, float]]
    """The most probable class names with their probabilities, best first."""
    probabilities: tuple[float, ...]
    """The probability of each class, in the order of the model's class names."""

    def to_json(self) -> str:
        """Returns one line of JSON with the file and its best classes."""
        top = [{"class_name": name, "probability": probability} for name, probability in self.top]
        return json.dumps({"file": str(self.path), "top": top})


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a video could not be read."""

    path: Path
    """The video."""
    error: VideoError
    """Names the file, what failed, and what to do."""

    def to_json(self) -> str:
        """Returns one line of JSON with the file and the error."""
        return json.dumps({"file": str(self.path), "error": str(self.error)})


class Predictor:
    """Names what happens in videos.

    Args:
        model: A model with class names, which stays on its device, or the weights of one, as `load_model` takes them.
        accelerator: Device for a weights file; `auto` takes a GPU where there is one.

    Raises:
        ValueError: If the model's spec has no class names, it takes pictures that its modality does not have, or the
            device is not there.
    """

    def __init__(self, model: VideoClassifier | str | Path, *, accelerator: Accelerator = "auto") -> None:
        metadata: dict[str, str] = {}
        if not isinstance(model, VideoClassifier):
            metadata = read_metadata(model)
            model = load_model(model).to(choose_device(accelerator))
        self.model = model
        self.spec = self.model.spec
        self.mirrors = trained_mirrors(metadata, class_names=self.spec.class_names)
        if not self.spec.class_names:
            raise ValueError(
                "class_names of the model's spec must be given, got none; create the model with a spec that names them"
            )
        channels = FRAME_CHANNELS[self.spec.modality]
        if len(self.spec.mean) != channels:
            raise ValueError(
                f"the model must take pictures of {channels} channels, as its modality {self.spec.modality!r} has "
                f"them, got one for {len(self.spec.mean)}; call the model itself, or import its file anew"
            )

    def predict(self, path: str | Path, *, top: int = 5, num_clips: int = 1, num_crops: int = 1) -> Prediction:
        """Looks at a video and names its class.

        Args:
            path: A video file or a folder of numbered frames; for a network on flow, a folder of flow.
            top: How many classes to name; all of them where there are fewer.
            num_clips: Clips along time; their logits are averaged.
            num_crops: Crops in space of each clip: 1, 3, 5 or 10.

        Returns:
            The best classes and all probabilities.

        Raises:
            VideoError: If the video cannot be read.
            ValueError: If `top` is below 1, or the views are none that `grid_views` knows.
            RunError: If memory is not enough.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}; 5 is usual")
        views = grid_views(self.spec, num_clips=num_clips, num_crops=num_crops, mirrors=self.mirrors)
        with enough_memory(partial(prediction_sentence, num_clips, num_crops)):
            with open_video(path, modality=self.spec.modality) as video:
                clips = load_views(video, views, self.spec)  # [V, T, C, H, W]
            probabilities = predict_views(self.model, clips[None])[0].tolist()  # [K]
        ranked = sorted(zip(self.spec.class_names, probabilities, strict=True), key=lambda pair: -pair[1])
        return Prediction(path=Path(path), top=ranked[:top], probabilities=tuple(probabilities))

    def predict_files(
        self, paths: Iterable[str | Path], *, top: int = 5, num_clips: int = 1, num_crops: int = 1
    ) -> Iterator[Prediction | Failure]:
        """Looks at videos one after another; one that cannot be read does not stop the others.

        Args:
            paths: Video files or folders of numbered frames.
            top: How many classes to name.
            num_clips: Clips along time.
            num_crops: Crops in space of each clip: 1, 3, 5 or 10.

        Yields:
            A prediction or a failure for each path, in their order, as soon as it is there.
        """
        for path in paths:
            try:
                yield self.predict(path, top=top, num_clips=num_clips, num_crops=num_crops)
            except VideoError as error:
                yield Failure(path=Path(path), error=error)
