"""What stands behind a backbone: from the features of a clip's frames to its logits.

`linear` is TSN's and TSM's: each frame has logits of its own, of which the clip's are the mean. `trn` is the Temporal
Relation Network at several scales: Temporal Relational Reasoning in Videos, ECCV 2018, https://arxiv.org/abs/1711.08496

Shapes: N clips, T frames that come out of the backbone, D features, E features after the first layer of TRN, K classes,
k frames of a tuple, M tuples.
"""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor, nn

from kinema.wording import nearest

HEAD_STD = 0.001
"""Standard deviation of the fresh weights behind the features, as in TSM's and TRN's official code."""
RELATION_FEATURES = 256
"""Features of a frame, and of a tuple of frames, inside TRN."""
NUM_TUPLES = 3
"""Tuples of each length but T that TRN looks at."""
MAX_POOL = 1000
"""Tuples of a length, at most, that TRN draws from in training; long clips have millions."""


class LinearHead(nn.Linear):
    """A linear layer on every frame; the clip's logits are the mean of its frames' own.

    Args:
        num_features: D.
        num_classes: K.
        num_frames: Frames T of a clip; any number does.
    """

    def __init__(self, num_features: int, num_classes: int, *, num_frames: int) -> None:
        super().__init__(num_features, num_classes)
        nn.init.normal_(self.weight, std=HEAD_STD)
        nn.init.zeros_(self.bias)

    def check_num_frames(self, num_frames: int) -> None:
        """Takes any T."""

    def frame_logits(self, features: Tensor) -> Tensor:
        """Maps the features [N, T, D] to logits [N, T, K] of the frames."""
        return super().forward(features)

    def forward(self, features: Tensor) -> Tensor:
        """Maps the features [N, T, D] to logits [N, K] of the clips."""
        return self.frame_logits(features).mean(dim=1)


class Relation(nn.Sequential):
    """One scale of TRN: the same small network looks at several tuples of k frames in their order; its answers add up.

    The modules have the official code's order: ReLU, linear k*E -> E, ReLU, linear E -> K.

    Args:
        num_frames: T.
        length: k.
        num_classes: K.
    """

    fixed: Tensor
    pool: Tensor

    def __init__(self, *, num_frames: int, length: int, num_classes: int) -> None:
        width = RELATION_FEATURES
        super().__init__(nn.ReLU(), nn.Linear(length * width, width), nn.ReLU(), nn.Linear(width, num_classes))
        self.register_buffer("fixed", spread_tuples(num_frames, length, NUM_TUPLES), persistent=False)  # [M, k]
        self.register_buffer("pool", spread_tuples(num_frames, length, MAX_POOL), persistent=False)  # [M', k]

    def forward(self, features: Tensor) -> Tensor:
        """Maps the features [N, T, E] of the frames to this scale's logits [N, K]."""
        frames = self._drawn() if self.training else self.fixed  # [M, k]
        tuples = features[:, frames].flatten(2)  # [N, M, k*E]
        return super().forward(tuples).sum(dim=1)

    def _drawn(self) -> Tensor:
        order = torch.randperm(len(self.pool), device=self.pool.device)
        return self.pool[order[: len(self.fixed)]]


class RelationHead(nn.Module):
    """TRN: a `Relation` on tuples of each length from T down to 2; the logits of all scales add up.

    Three tuples of each length, and the one of all T frames. In training they are drawn anew for every batch, without
    repetition and from torch's random numbers. The official code draws them at test time too, so that a video's scores
    differ from run to run; in evaluation ours are fixed: of all tuples in lexicographic order those in the middle of
    three equal parts, our reading.

    Args:
        num_features: D.
        num_classes: K.
        num_frames: T; the weights depend on it.

    Raises:
        ValueError: If num_frames is below 2.
    """

    def __init__(self, num_features: int, num_classes: int, *, num_frames: int) -> None:
        super().__init__()
        if num_frames < 2:
            raise ValueError(
                "num_frames must be at least 2 behind the backbone for head 'trn', which relates frames, got "
                f"{num_frames}; take longer clips or head 'linear'"
            )
        self.num_frames = num_frames
        self.embed = nn.Linear(num_features, RELATION_FEATURES)
        nn.init.normal_(self.embed.weight, std=HEAD_STD)
        nn.init.zeros_(self.embed.bias)
        self.relations = nn.ModuleList(
            Relation(num_frames=num_frames, length=length, num_classes=num_classes)
            for length in range(num_frames, 1, -1)
        )

    def check_num_frames(self, num_frames: int) -> None:
        """Refuses another T.

        Raises:
            ValueError: If it is another one.
        """
        if num_frames != self.num_frames:
            raise ValueError(
                f"num_frames must stay {self.num_frames} behind the backbone for head 'trn', whose weights depend on "
                f"it, got {num_frames}; create a new model"
            )

    def forward(self, features: Tensor) -> Tensor:
        """Maps the features [N, T, D] to logits [N, K] of the clips."""
        embedded = self.embed(features)  # [N, T, E]
        return torch.stack([relation(embedded) for relation in self.relations]).sum(dim=0)


HEADS: dict[str, type[LinearHead] | type[RelationHead]] = {"linear": LinearHead, "trn": RelationHead}
"""Name -> head."""


def check_head(name: str, *, causal: bool) -> None:
    """Refuses a head that there is not, or not in a causal network.

    Raises:
        ValueError: If it is such a one.
    """
    if name not in HEADS:
        raise ValueError(f"head must be one of {', '.join(HEADS)}, got {name!r}; {nearest(name, HEADS)}")
    if causal and name == "trn":
        raise ValueError(
            "head must be 'linear' in a causal network, got 'trn', which looks at the whole clip at once; "
            "take 'linear', or causal=False"
        )


def spread_tuples(num_frames: int, length: int, number: int) -> Tensor:
    """Picks tuples of frames, evenly spread over all there are in lexicographic order.

    Args:
        num_frames: Frames T of a clip.
        length: Frames k of a tuple.
        number: How many tuples; all of them where there are fewer.

    Returns:
        Indices of frames [number, k], rising in each row: the middles of `number` equal parts of all tuples.
    """
    there = comb(num_frames, length)
    number = min(number, there)
    ranks = [(2 * part + 1) * there // (2 * number) for part in range(number)]
    return torch.tensor([_tuple_at(rank, num_frames, length) for rank in ranks])


def _tuple_at(rank: int, num_frames: int, length: int) -> list[int]:
    """Returns the tuple of this rank, from 0, among all of its length in lexicographic order."""
    frames: list[int] = []
    for frame in range(num_frames):
        missing = length - len(frames)
        if missing == 0:
            break
        beginning = comb(num_frames - frame - 1, missing - 1)  # tuples that go on with this frame
        if rank < beginning:
            frames.append(frame)
        else:
            rank -= beginning
    return frames
