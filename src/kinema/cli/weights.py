"""Commands about files of weights: turning other projects' checkpoints into our own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.data.annotations.class_list import ClassOrder
    from kinema.engine.arguments import CommandParser
    from kinema.models.foreign.plan import Shift


def import_weights(
    file: str,
    *,
    out: str,
    num_frames: int | None,
    classes: str | None,
    class_order: ClassOrder | None,
    shift: Shift,
) -> int:
    """Turns a checkpoint of TSM's or TANet's official code or of mmaction2 into a weights file; runs nothing in it."""
    from kinema.data.annotations.class_list import read_class_names
    from kinema.models.foreign.convert import import_weights as run
    from kinema.models.weights import save_model

    source, target = Path(file), Path(out)
    if target.is_dir() or (target.exists() and source.exists() and target.samefile(source)):
        raise ValueError(f"out must be a file of its own, got {out}; name a new one, as in weights.safetensors")
    if target.suffix in (".pth", ".pt", ".tar", ".ckpt"):
        raise ValueError(f"out must be a .safetensors file, got {out}; it is no file of torch.save")
    if class_order and not classes:
        raise ValueError(f"class_order must come with the names, got {class_order} alone; add --classes FILE")
    names = read_class_names(Path(classes), order=class_order) if classes else None
    model, report = run(source, num_frames=num_frames, class_names=names, shift=shift)
    save_model(target, model, metadata={"origin": report.to_json()})
    print("\n".join(report.lines()))
    for warning in report.warnings:
        print(f"kinema: warning: {warning}", file=sys.stderr)
    what = "FOLDER_OF_FLOW" if model.spec.modality == "flow" else "VIDEO"
    print(f"wrote {out}; next: kinema predict {quote(out)} {what}")
    return 0


def import_arguments(parser: CommandParser) -> None:
    """Adds the arguments of `import`."""
    from typing import Literal

    parser.add_positional("file", help="Checkpoint: .pth, .pt, .pth.tar or .safetensors of another project.")
    parser.add_argument("--out", type=str, required=True, metavar="FILE", help="Weights file to write (.safetensors).")
    parser.add_argument(
        "--num_frames", type=int | None, default=None, help="Frames T of a clip; null: what the file says, or else 8."
    )
    parser.add_argument(
        "--classes", type=str | None, default=None, metavar="FILE", help="Class names: one a line, or JSON."
    )
    parser.add_argument(
        "--class_order",
        type=Literal["file", "alphabetical"] | None,
        default=None,
        help="Order of the names: as in their file, or sorted, as TSM's tools do for Something-Something V1.",
    )
    parser.add_argument(
        "--shift",
        type=Literal["auto", "none", "online"],
        default="auto",
        help="Where names do not show it: no shift, or the one of TSM's online demo, which only looks back.",
    )


def run_import(values: dict[str, Any], argv: Sequence[str]) -> int:
    """Runs `import`."""
    return import_weights(values.pop("file"), **values)
