"""Stops a run whose numbers are lost, before they reach its weights, and names the videos of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed

from kinema.data.annotations import Sample
from kinema.data.atomic import write_atomically
from kinema.data.quarantine import quarantine_text
from kinema.engine.processes.ranks import is_main
from kinema.engine.run_error import RunError
from kinema.engine.training.run_folder import how_to_begin_anew
from kinema.wording import listed, one_line

SMALLEST_SCALE = 2.0**-14
"""Factor of the loss in 16 bits below which a gradient that overflows is no matter of the factor any more."""


@dataclass(frozen=True)
class _Batch:
    indices: list[int]
    loss: Tensor
    logits: Tensor


class FiniteNumbers:
    """Looks at the loss of each batch and the gradient of each step, in one look a step.

    In 16 bits the loss is multiplied by a factor that is found by trying: a gradient that overflows lowers it, and the
    step is left out. That is no error while the loss is finite and the factor has a way to go.
    """

    def __init__(self, samples: Sequence[Sample], *, file: Path) -> None:
        """Starts with an empty step.

        Args:
            samples: All training videos.
            file: Where the videos of a lost step are listed, in the format of a quarantine.
        """
        self.samples = samples
        self.file = file
        self.batches: list[_Batch] = []

    def note(self, indices: Tensor, loss: Tensor, logits: Tensor) -> None:
        """Takes a batch into the step.

        Args:
            indices: Which samples it has [N].
            loss: Their loss.
            logits: What the network made of them [N, K].
        """
        self.batches.append(_Batch(indices.tolist(), loss.detach(), logits.detach()))

    def check(self, norm: Tensor, *, scale: Callable[[], float] | None, epoch: int, advice: str) -> None:
        """Ends the step.

        Args:
            norm: Norm of its gradient.
            scale: Returns the factor of the loss in 16 bits; none in other precisions.
            epoch: Of the run, from 0 on.
            advice: What to change.

        Raises:
            RunError: If loss or gradient are not finite.
        """
        batches, self.batches = self.batches, []
        own = [] if _several() else [batch.loss.to(norm) for batch in batches]  # the norm is the same for all processes
        if torch.isfinite(torch.stack([norm, *own])).all():
            return
        lost = [batch for batch in batches if not torch.isfinite(batch.loss)]
        names, word = self._over_all_ranks([self.samples[i].name for batch in lost for i in batch.indices], _word(lost))
        if not names:
            if scale is not None and scale() > SMALLEST_SCALE:
                return
            mine = [self.samples[i].name for batch in batches for i in batch.indices]
            names, word = self._over_all_ranks(mine, f"gradient must stay finite, got one of norm {norm.item()}")
        names = list(dict.fromkeys(names))  # a video may have several clips in a batch
        self._list(names, word)
        raise RunError(
            f"{word} in epoch {epoch + 1} at {listed([one_line(name) for name in names], 3)}, all listed in "
            f"{self.file}; {advice}"
        )

    def _over_all_ranks(self, names: list[str], word: str) -> tuple[list[str], str]:
        """Joins what the processes found; a gradient that is lost is lost for all, so that all come here."""
        if not _several():
            return names, word
        found: list[tuple[list[str], str] | None] = [None] * distributed.get_world_size()
        distributed.all_gather_object(found, (names, word))
        told = [pair for pair in found if pair is not None and pair[0]]
        return [name for pair in told for name in pair[0]], told[0][1] if told else word

    def _list(self, names: Sequence[str], word: str) -> None:
        if is_main():
            entries = ({"name": name, "kind": "lost", "reason": word} for name in names)
            write_atomically(self.file, quarantine_text(entries).encode())


def _several() -> bool:
    """Tells whether other processes train with this one."""
    return distributed.is_available() and distributed.is_initialized()


def _word(lost: Sequence[_Batch]) -> str:
    """Says which number was lost."""
    if not lost:
        return ""
    also = "" if torch.isfinite(lost[0].logits).all() else ", as the logits are not finite"
    return f"loss must stay finite, got {lost[0].loss.item()}{also},"


def advice_for(precision: str, clip_norm: float | None, *, out: Path) -> str:
    """Returns what to change where numbers are lost.

    Args:
        precision: Arithmetic of the run.
        clip_norm: Largest norm of its gradient.
        out: Its folder.
    """
    norm = "lower --trainer.clip_norm" if clip_norm is not None else "set --trainer.clip_norm"
    wide = "" if precision in ("32-true", "64-true") else ", train with --trainer.precision 32-true"
    return (
        f"lower --optimizer.learning_rate, {norm}{wide}, or leave these videos out with --data.quarantine, and "
        f"{how_to_begin_anew(out)}"
    )
