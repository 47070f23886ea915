"""Train on a folder of videos from Python: here eight motions made on the spot, else your own class folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from kinema import Predictor
from kinema.data.motion.dataset import MotionConfig, make_motion_dataset
from kinema.engine.recipe.files import recipe_from_dict
from kinema.engine.training.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="class folders of your own: <root>/<class>/<video>")
    parser.add_argument("--out", type=Path, default=Path("runs/own_folder"), help="where weights and logs go")
    parser.add_argument("--quick", action="store_true", help="so little that nothing is learnt")
    arguments = parser.parse_args()
    quick: bool = arguments.quick

    root = arguments.root
    if root is None:
        root = arguments.out / "data"
        size = MotionConfig(num_train=16, num_val=8, frame_size=32) if quick else MotionConfig()
        make_motion_dataset(root, size, quiet=quick)

    side = 32 if quick else 64
    recipe = recipe_from_dict(  # the same tree as a YAML file's and the flags'; what is left out keeps its default
        {
            "out": str(arguments.out / "run"),
            "data": {"root": str(root), "num_workers": 0 if quick else None},
            "clip": {"num_frames": 8, "resize": side, "crop": side},
            "augment": {"min_scale": 0.8},
            "model": {"backbone": "test_resnet", "temporal": "sth", "pretrained": False},
            "optimizer": {"learning_rate": 3e-3},
            "trainer": {"epochs": 1 if quick else 4, "batch_size": 16},
        }
    )
    result = train(recipe, overwrite=True)

    predictor = Predictor(result.last)
    video = next(path for path in sorted(root.rglob("*.mp4")))
    for class_name, probability in predictor.predict(video, top=3).top:
        print(f"{probability:6.1%}  {class_name}")


if __name__ == "__main__":
    main()
