"""Too little memory, said in one sentence: what did not fit, and what to lower."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

import torch

from kinema.engine.recipe import EvaluationRecipe, Recipe
from kinema.engine.run_error import RunError
from kinema.engine.training.choosing.epochs import batch_size_of
from kinema.engine.training.run_folder import LAST, how_to_begin_anew

_REFUSED = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|_ALLOC_FAILED|could not create a memory object",
    re.IGNORECASE,
)
"""What torch's allocators and libraries say, where they raise a plain RuntimeError: on a CPU, cuBLAS, cuDNN, oneDNN,
and workers whose shared memory is full."""
_SHARED = re.compile(r"shared memory|file </torch_")
"""What torch says where workers cannot hand over their batches."""
_AMOUNT = re.compile(r"tried to allocate (\d+(?:\.\d+)?) ?(bytes|[KMGT]iB)", re.IGNORECASE)

_SHARED_SENTENCE = (
    "data.num_workers must be processes whose batches fit into shared memory (/dev/shm), got too little of it; take "
    "--data.num_workers 0 or fewer, --data.cache none where it is ram, or give more (docker run --shm-size 8g)"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that memory was not enough: of a GPU, of the machine, or shared by workers."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and not isinstance(error, RunError) and bool(_REFUSED.search(str(error)))


@contextmanager
def enough_memory(sentence: Callable[[str], str]) -> Iterator[None]:
    """Turns any of the ways in which memory is refused into one sentence.

    Args:
        sentence: Makes it of words for what was refused, as in `2.00 GiB more on a GPU`.

    Raises:
        RunError: In place of the error.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if is_out_of_shared_memory(error):
            raise RunError(_SHARED_SENTENCE) from error
        if not is_out_of_memory(error):
            raise
        raise RunError(sentence(_refused(error))) from error


def is_out_of_shared_memory(error: BaseException) -> bool:
    """Tells whether workers had no room for their batches, which they hand over through shared memory."""
    said = f"{error} {error.__cause__ or ''}"
    return isinstance(error, RuntimeError) and not isinstance(error, RunError) and bool(_SHARED.search(said))


def _refused(error: BaseException) -> str:
    """Says what was asked for, and of which memory."""
    text = str(error)
    on_gpu = isinstance(error, torch.OutOfMemoryError) or "CUDA" in text or "CUBLAS" in text or "CUDNN" in text
    place = "the GPU" if on_gpu else "this machine"
    amount = _AMOUNT.search(text)
    if amount is None:
        return f"more than {place} has left"
    number, unit = amount.groups()
    size = f"{int(number) / 2**30:.2f} GiB" if unit == "bytes" else f"{number} {unit}"
    return f"{size} more than {place} has left"


def training_sentence(recipe: Recipe, refused: str) -> str:
    """Says that a training step does not fit, and what to lower; first what leaves the result as it is.

    Args:
        recipe: Of the run.
        refused: What was asked for.
    """
    trainer, clip = recipe.trainer, recipe.clip
    size, cures = batch_size_of(trainer), []
    if size > 1:
        half = size // 2
        times = -(-size * trainer.accumulate // half)
        about = "" if half * times == size * trainer.accumulate else "about "
        cures.append(f"take --trainer.batch_size {half} --trainer.accumulate {times} ({about}as many clips a step)")
        if (trainer.devices, trainer.num_nodes) == (1, 1):
            cures[0] += ", or --trainer.batch_size auto"
    if trainer.precision in ("32-true", "64-true"):
        cures.append("--trainer.precision bf16-mixed")
    cures.append(f"lower --clip.crop ({clip.crop}) or --clip.num_frames ({clip.num_frames})")
    return (
        f"trainer.batch_size must fit into memory, got {size}, which needs {refused} for a step of "
        f"{_clips(size)} of {clip.num_frames} frames of {clip.crop} x {clip.crop}; {'; or '.join(cures)}, and "
        f"{how_to_begin_anew(Path(recipe.out))}"
    )


def scoring_sentence(recipe: Recipe, refused: str) -> str:
    """Says that the videos of a batch do not fit when the weights of a run are scored, and how else to score them.

    Args:
        recipe: Of the run.
        refused: What was asked for.
    """
    size, weights = batch_size_of(recipe.trainer), Path(recipe.out) / LAST
    return (
        f"trainer.batch_size must fit into memory when weights are scored, got {size}, which needs {refused}; the "
        f"weights are whole: score them with kinema evaluate {quote(str(weights))} --data.root "
        f"{quote(recipe.data.root)} --batch_size {max(1, size // 2)}"
    )


def evaluation_sentence(recipe: EvaluationRecipe, refused: str) -> str:
    """Says that the videos of a batch do not fit, and what to lower.

    Args:
        recipe: Of the evaluation.
        refused: What was asked for.
    """
    views, size = recipe.views, recipe.batch_size
    fewer = f"take --batch_size {size // 2}" if size > 1 else "take fewer of --views.num_clips and --views.num_crops"
    return (
        f"batch_size must fit into memory, got {size}, which needs {refused} for {size} x {views.num_clips} x "
        f"{views.num_crops} clips at once; {fewer}, fewer --data.num_workers, or --accelerator cpu"
    )


def prediction_sentence(num_clips: int, num_crops: int, refused: str) -> str:
    """Says that the views of a video do not fit, and what to lower.

    Args:
        num_clips: Clips along time.
        num_crops: Crops of each.
        refused: What was asked for.
    """
    fewer = "take fewer of them, or" if num_clips * num_crops > 1 else "free some, or take"
    return (
        f"num_clips x num_crops must fit into memory, got {num_clips} x {num_crops}, which needs {refused}; {fewer} "
        "--accelerator cpu"
    )


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"
