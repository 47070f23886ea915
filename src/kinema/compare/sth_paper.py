"""The costs that the STH paper prints, row by row, and the networks of ours that the rows are about.

STH: Spatio-Temporal Hybrid Convolution for Efficient Action Recognition, 2020, https://arxiv.org/abs/2003.08042

Shapes: C channels, T frames, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BACKBONE = "resnet50"
NUM_CLASSES = 174
"""Classes of Something-Something, on which all five tables of costs are."""
SIZE = 224

ADDITION: dict[str, Any] = {"fusion": "sum"}
"""Options of `sth` without the attentive integration of section 3.3."""
MERGE: dict[str, Any] = {**ADDITION, "arrangement": "merge"}
"""Options of `sth` in the arrangement of figure 3b."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of ours."""

    temporal: str
    num_frames: int = 8
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the paper prints in one row."""

    name: str
    frames: str = "8"
    gflops: float | None = None
    """Billions of operations of one view, which are multiply-adds and a little more."""
    views: int = 1
    """Views that the paper multiplies them with."""
    mparams: float | None = None
    """Millions of parameters."""
    ours: tuple[Network, ...] = ()
    """The networks of ours that it is about: none where it is of another kind, two of an ensemble."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table of costs."""

    number: int
    title: str
    rows: tuple[Row, ...]
    slips: tuple[str, ...] = ()
    """Where its rows contradict each other or other tables."""


STH_8, STH_16 = Network(temporal="sth"), Network(temporal="sth", num_frames=16)
TSM_8, TSM_16 = Network(temporal="tsm"), Network(temporal="tsm", num_frames=16)
TSN_8, TSN_16 = Network(temporal="none"), Network(temporal="none", num_frames=16)


def _hybrid(fraction: float) -> tuple[Network, ...]:
    return (Network(temporal="sth", options={**ADDITION, "fraction": fraction}),)


SHAPES: tuple[tuple[str, str, str], ...] = (
    ("Conv1", "backbone.conv1", "64 x 8 x 112 x 112"),
    ("Pool1", "backbone.maxpool", "64 x 8 x 56 x 56"),
    ("Conv2_x", "backbone.layer1", "256 x 8 x 56 x 56"),
    ("Conv3_x", "backbone.layer2", "512 x 8 x 28 x 28"),
    ("Conv4_x", "backbone.layer3", "1024 x 8 x 14 x 14"),
    ("Conv5_x", "backbone.layer4", "2048 x 8 x 7 x 7"),
    ("Pool5", "backbone.global_pool", "2048 x 8 x 1 x 1"),
    ("FC", "head", "8 x 174"),
    ("Consensus", "", "1 x 174"),
)
"""Table 1: the paper's name of a layer, its path in our model, and its output C x T x H x W."""

SHAPE_SLIPS = (
    "The first 1 x 1 conv of each block is printed with the block's output width (256, 512, 1024, 2048). The STH-Conv "
    "behind it is 64, 128, 256 or 512 wide, and so must the 1 x 1 conv be: as printed, the 3 x 3 kernels would have "
    "four times the parameters.",
)

TABLES: tuple[PaperTable, ...] = (
    PaperTable(
        number=2,
        title="Comparison with other convolutions (Something-Something V1)",
        rows=(
            Row(name="TSN", gflops=33, mparams=24.3, ours=(TSN_8,)),
            Row(name="TSN", frames="16", gflops=65, mparams=24.3, ours=(TSN_16,)),
            Row(name="TRN-Multiscale, BNInception", gflops=16, mparams=18.3),
            Row(name="TRN-Multiscale", frames="16", gflops=33, mparams=31.8),
            Row(name="TSM", gflops=33, mparams=24.3, ours=(TSM_8,)),
            Row(name="TSM", frames="16", gflops=65, mparams=24.3, ours=(TSM_16,)),
            Row(name="TSM, ensemble", frames="24", gflops=98, mparams=48.6, ours=(TSM_8, TSM_16)),
            Row(name="TSM, RGB + flow", frames="16+16", mparams=48.6),
            Row(name="I3D", frames="32 x 2", gflops=306, mparams=28),
            Row(name="Non-local I3D", frames="32 x 2", gflops=335, mparams=35.3),
            Row(name="Non-local I3D + GCN", frames="32 x 2", gflops=605, mparams=62.2),
            Row(name="S3D-G", frames="64", gflops=142.8),
            Row(name="R(2+1)D-34", frames="32", gflops=152, views=115, mparams=63.6),
            Row(name="ECO", gflops=32, mparams=47.5),
            Row(name="ECO", frames="16", gflops=64, mparams=47.5),
            Row(name="ECO-Lite, ensemble", frames="92", gflops=267, mparams=150),
            Row(name="ECO-Lite, RGB + flow", frames="92+92", mparams=300),
            Row(
                name="STM",
                frames="16",
                gflops=67,
                views=30,
                mparams=24.4,
                ours=(Network(temporal="stm", num_frames=16),),
            ),
            Row(name="ABM", frames="16 x 3", gflops=106),
            Row(name="STH", gflops=31, mparams=23.2, ours=(STH_8,)),
            Row(name="STH", frames="16", gflops=61, mparams=23.2, ours=(STH_16,)),
            Row(name="STH, ensemble", frames="24", gflops=92, mparams=46.5, ours=(STH_8, STH_16)),
            Row(name="STH, RGB + flow", frames="16+16"),
        ),
        slips=(
            "24.3 M for TSN and TSM is a ResNet-50 with the 400 classes of Kinetics (24.33 M); with the 174 classes of "
            "this table it has 23.86 M, and STH's 23.2 M is with 174.",
            "TRN-Multiscale's second row gives 16 frames 33 G, which is what TSN's row gives 8 frames of ResNet-50.",
            "24.4 M for STM is neither what STM's own paper prints (24.0 M) nor its size with 400 classes (24.5 M).",
        ),
    ),
    PaperTable(
        number=6,
        title="Share p of temporal kernels (Something-Something V1)",
        rows=(
            Row(name="p = 0", gflops=33.3, mparams=24.4, ours=(TSN_8,)),
            Row(name="p = 1/8", gflops=32.2, mparams=23.1, ours=_hybrid(1 / 8)),
            Row(name="p = 1/4", gflops=30.5, mparams=22.0, ours=_hybrid(1 / 4)),
            Row(name="p = 1/2", gflops=28.5, mparams=20.3, ours=_hybrid(1 / 2)),
        ),
        slips=(
            "Both costs are linear in p: each eighth takes off 0.94 M parameters and 1.23 G multiply-adds. The rows go "
            "down by 1.3, 1.1 and twice 0.85 M, and by 1.1, 1.7 and twice 1.0 G: no one network gives all four. "
            "p = 1/4 comes out to the digit, and so do the rows of table 7.",
            "p = 0 is the 2D network of table 2's first row, which has 33 G and 24.3 M there. Its accuracy, 19.7 and "
            "46.6 %, is that row's too: cited, from a network that started on Kinetics, not on ImageNet as the others.",
        ),
    ),
    PaperTable(
        number=7,
        title="Spatio-temporal convolutions (Something-Something V1)",
        rows=(
            Row(
                name="(2+1)D sequential",
                gflops=37.9,
                mparams=27.6,
                ours=(Network(temporal="conv2plus1d_sequential"),),
            ),
            Row(name="(2+1)D parallel", gflops=37.9, mparams=27.6, ours=(Network(temporal="conv2plus1d_parallel"),)),
            Row(name="STH merge", gflops=30.5, mparams=22.0, ours=(Network(temporal="sth", options=MERGE),)),
            Row(name="STH hybrid", gflops=30.5, mparams=22.0, ours=_hybrid(1 / 4)),
            Row(name="STH hybrid + attention", gflops=30.5, mparams=23.2, ours=(STH_8,)),
        ),
    ),
    PaperTable(
        number=9,
        title="Runtime and accuracy (Something-Something V1)",
        rows=(
            Row(name="I3D", frames="64", gflops=306, mparams=35.3),
            Row(name="ECO", frames="16", gflops=64, mparams=47.5),
            Row(name="TSM", gflops=33, mparams=24.3, ours=(TSM_8,)),
            Row(name="TSM", frames="16", gflops=65, mparams=24.3, ours=(TSM_16,)),
            Row(name="ABM-C-in", frames="8 x 3", gflops=53.0),
            Row(name="ABM-A-in", frames="16 x 3", gflops=106.0),
            Row(name="STH", gflops=30.6, mparams=23.2, ours=(STH_8,)),
            Row(name="STH", frames="16", gflops=61.3, mparams=23.2, ours=(STH_16,)),
        ),
        slips=(
            "STH on 8 frames takes 30.6 G here, 30.5 G in table 7 and 31 G in table 2.",
            "35.3 M for I3D is what table 2 gives Non-local I3D; I3D has 28 M there, at the same 306 G.",
        ),
    ),
)
