"""Open a video, look at its frames, and ask a trained network what happens in it."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import kinema
from kinema.data.motion.dataset import CLASS_NAMES, MotionConfig, make_motion_dataset
from kinema.models.classifier import VideoClassifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="runs/demo/sth/last.safetensors", help="what `kinema demo` left behind")
    parser.add_argument("--quick", action="store_true", help="ask an untrained network instead")
    parser.add_argument("files", nargs="*", help="videos; without any, one is drawn")
    arguments = parser.parse_args()
    predictor = kinema.Predictor(untrained() if arguments.quick else arguments.weights)

    with TemporaryDirectory() as folder:
        for path in arguments.files or [draw(Path(folder) / "data")]:
            try:
                show(predictor, path)
            except kinema.VideoError as error:
                print(f"not read: {error}")


def show(predictor: kinema.Predictor, path: str | Path) -> None:
    """Prints what a file is and what the network takes it for."""
    with kinema.open_video(path) as video:
        middle = video.frames([len(video) // 2])[0]  # [H, W, 3]
        height, width = middle.shape[:2]
        print(f"{Path(path).name}: {len(video)} frames of {width} x {height} at {video.fps:g} a second")
    for class_name, probability in predictor.predict(path, top=3).top:
        print(f"{probability:6.1%}  {class_name}")


def draw(folder: Path) -> Path:
    """Makes a few clips and returns one."""
    make_motion_dataset(folder, MotionConfig(num_train=8, num_val=8), quiet=True)
    return sorted(folder.rglob("*.mp4"))[0]


def untrained() -> VideoClassifier:
    """Builds a small network that knows the names of the classes, and nothing else."""
    spec = kinema.ClipSpec(resize=64, crop=64, class_names=CLASS_NAMES)
    return kinema.create_model("test_resnet", temporal="sth", num_classes=len(CLASS_NAMES), spec=spec)


if __name__ == "__main__":
    main()
