"""The blocks that are known, by class, and their parts: a literal table, not a guess by kernel size.

Stems, classifiers, downsampling and squeeze-excite convs are in no block's parts.
"""

from __future__ import annotations

from dataclasses import dataclass

Pair = tuple[str, str | None]


@dataclass(frozen=True, kw_only=True)
class BlockParts:
    """The parts of one class of block, by dotted path inside it; `*` stands for every child of a list."""

    family: str
    """What people call the networks with this block."""
    entry: tuple[str, ...]
    """The block's first conv, or the first one of each branch."""
    spatial: tuple[Pair, ...]
    """Its k x k convs, each with the batch norm right behind it, if there is one."""
    exit: str | None
    """The last module of its residual branch, by habit a batch norm. An Inception block without one has the batch norm
    behind the first conv of the branch with the fewest convs, where the official networks of GSF have theirs."""
    block: bool = True
    """Whether the block as a whole takes frames [N, C, H, W]."""
    list_of_blocks: bool = False
    """Whether what it is a part of is no block, but a list of many."""
    split: tuple[str, ...] = ()
    """Where it splits its channels: the norm and the activation behind which it does, a conv for each split but the
    last, and the conv that takes them all again."""
    residual: str | None = None
    """Attribute that says whether the block has a residual: without one there is no entry, as in TSM's official code
    for MobileNetV2."""


def _named(*names: str) -> tuple[str, ...]:
    """The convs of timm's ConvNormAct modules."""
    return tuple(f"{name}.conv" for name in names)


def _pairs(*names: str) -> tuple[Pair, ...]:
    """The convs of timm's ConvNormAct modules, with their norms."""
    return tuple((f"{name}.conv", f"{name}.bn") for name in names)


def _inception(entry: str, spatial: str, *, exit: str) -> tuple[BlockParts]:
    parts = BlockParts(family="Inception", entry=_named(*entry.split()), spatial=_pairs(*spatial.split()), exit=exit)
    return (parts,)


def _universal(*spatial: str) -> BlockParts:
    """MobileNetV4's block: which depthwise convs it has, its search has chosen."""
    return BlockParts(
        family="MobileNet",
        entry=_named("dw_start" if "dw_start" in spatial else "pw_exp"),
        spatial=_pairs(*spatial),
        exit="pw_proj.bn",
        residual="has_skip",
    )


_BASIC = (BlockParts(family="ResNet", entry=("conv1",), spatial=(("conv1", "bn1"), ("conv2", "bn2")), exit="bn2"),)
_BOTTLENECK = (BlockParts(family="ResNet", entry=("conv1",), spatial=(("conv2", "bn2"),), exit="bn3"),)
_DENSE = (BlockParts(family="DenseNet", entry=("conv1",), spatial=(("conv2", None),), exit="conv2", block=False),)

BLOCKS: dict[str, tuple[BlockParts, ...]] = {
    "timm.models.resnet.BasicBlock": _BASIC,
    "timm.models.resnet.Bottleneck": _BOTTLENECK,
    "torchvision.models.resnet.BasicBlock": _BASIC,
    "torchvision.models.resnet.Bottleneck": _BOTTLENECK,
    "timm.models.res2net.Bottle2neck": (
        BlockParts(
            family="Res2Net",
            entry=("conv1",),
            spatial=(("convs.*", "bns.*"),),
            exit="bn3",
            split=("bn1", "relu", "convs.*", "conv3"),
        ),
    ),
    "timm.models.regnet.Bottleneck": (
        BlockParts(family="RegNet", entry=_named("conv1"), spatial=_pairs("conv2"), exit="conv3.bn"),
    ),
    "timm.models.byobnet.BasicBlock": (
        BlockParts(
            family="ByobNet", entry=_named("conv1_kxk"), spatial=_pairs("conv1_kxk", "conv2_kxk"), exit="conv2_kxk.bn"
        ),
    ),
    "timm.models.byobnet.BottleneckBlock": (
        BlockParts(
            family="ByobNet", entry=_named("conv1_1x1"), spatial=_pairs("conv2_kxk", "conv2b_kxk"), exit="conv3_1x1.bn"
        ),
        BlockParts(family="ByobNet", entry=_named("conv1_1x1"), spatial=_pairs("conv2_kxk"), exit="conv3_1x1.bn"),
    ),
    "timm.models.byobnet.DarkBlock": (
        BlockParts(family="ByobNet", entry=_named("conv1_1x1"), spatial=_pairs("conv2_kxk"), exit="conv2_kxk.bn"),
    ),
    "timm.models.byobnet.EdgeBlock": (
        BlockParts(family="ByobNet", entry=_named("conv1_kxk"), spatial=_pairs("conv1_kxk"), exit="conv2_1x1.bn"),
    ),
    "timm.models.nfnet.NormFreeBlock": (
        BlockParts(family="NFNet", entry=("conv1",), spatial=(("conv2", None), ("conv2b", None)), exit="conv3"),
        BlockParts(family="NFNet", entry=("conv1",), spatial=(("conv2", None),), exit="conv3"),
    ),
    "timm.models.densenet.DenseLayer": _DENSE,
    "torchvision.models.densenet._DenseLayer": _DENSE,
    "timm.models._efficientnet_blocks.ConvBnAct": (
        BlockParts(family="EfficientNet", entry=(), spatial=(("conv", "bn1"),), exit="bn1"),
    ),
    "timm.models._efficientnet_blocks.DepthwiseSeparableConv": (
        BlockParts(family="MobileNet", entry=(), spatial=(("conv_dw", "bn1"),), exit="bn2"),
    ),
    "timm.models._efficientnet_blocks.InvertedResidual": (
        BlockParts(
            family="MobileNet", entry=("conv_pw",), spatial=(("conv_dw", "bn2"),), exit="bn3", residual="has_skip"
        ),
    ),
    "timm.models._efficientnet_blocks.EdgeResidual": (
        BlockParts(
            family="EfficientNet", entry=("conv_exp",), spatial=(("conv_exp", "bn1"),), exit="bn2", residual="has_skip"
        ),
    ),
    "timm.models._efficientnet_blocks.UniversalInvertedResidual": (
        _universal("dw_start", "dw_mid"),
        _universal("dw_start"),
        _universal("dw_mid"),
        _universal(),
    ),
    "torchvision.models.mobilenetv2.InvertedResidual": (
        BlockParts(
            family="MobileNet",
            entry=("conv.0.0",),
            spatial=(("conv.1.0", "conv.1.1"),),
            exit="conv.3",
            residual="use_res_connect",
        ),
        BlockParts(family="MobileNet", entry=(), spatial=(("conv.0.0", "conv.0.1"),), exit="conv.2"),
    ),
    "timm.models.convnext.ConvNeXtBlock": (
        BlockParts(family="ConvNeXt", entry=("conv_dw",), spatial=(("conv_dw", None),), exit="drop_path"),
    ),
    "timm.models.mambaout.GatedConvBlock": (
        BlockParts(family="MambaOut", entry=("conv",), spatial=(("conv", None),), exit=None, block=False),
    ),
    "timm.models.inception_v3.InceptionA": _inception(
        "branch1x1 branch5x5_1 branch3x3dbl_1 branch_pool",
        "branch5x5_2 branch3x3dbl_2 branch3x3dbl_3",
        exit="branch1x1.bn",
    ),
    "timm.models.inception_v3.InceptionB": _inception(
        "branch3x3 branch3x3dbl_1", "branch3x3 branch3x3dbl_2 branch3x3dbl_3", exit="branch3x3.bn"
    ),
    "timm.models.inception_v3.InceptionC": _inception(
        "branch1x1 branch7x7_1 branch7x7dbl_1 branch_pool",
        "branch7x7_2 branch7x7_3 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
        exit="branch1x1.bn",
    ),
    "timm.models.inception_v3.InceptionD": _inception(
        "branch3x3_1 branch7x7x3_1", "branch3x3_2 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4", exit="branch3x3_1.bn"
    ),
    "timm.models.inception_v3.InceptionE": _inception(
        "branch1x1 branch3x3_1 branch3x3dbl_1 branch_pool",
        "branch3x3_2a branch3x3_2b branch3x3dbl_2 branch3x3dbl_3a branch3x3dbl_3b",
        exit="branch1x1.bn",
    ),
    "timm.models.inception_v4.InceptionA": _inception(
        "branch0 branch1.0 branch2.0 branch3.1", "branch1.1 branch2.1 branch2.2", exit="branch0.bn"
    ),
    "timm.models.inception_v4.ReductionA": _inception(
        "branch0 branch1.0", "branch0 branch1.1 branch1.2", exit="branch0.bn"
    ),
    "timm.models.inception_v4.InceptionB": _inception(
        "branch0 branch1.0 branch2.0 branch3.1",
        "branch1.1 branch1.2 branch2.1 branch2.2 branch2.3 branch2.4",
        exit="branch0.bn",
    ),
    "timm.models.inception_v4.ReductionB": _inception(
        "branch0.0 branch1.0", "branch0.1 branch1.1 branch1.2 branch1.3", exit="branch0.0.bn"
    ),
    "timm.models.inception_v4.InceptionC": _inception(
        "branch0 branch1_0 branch2_0 branch3.1",
        "branch1_1a branch1_1b branch2_1 branch2_2 branch2_3a branch2_3b",
        exit="branch0.bn",
    ),
    "timm.models.inception_resnet_v2.Mixed_5b": _inception(
        "branch0 branch1.0 branch2.0 branch3.1", "branch1.1 branch2.1 branch2.2", exit="branch0.bn"
    ),
    "timm.models.inception_resnet_v2.Block35": _inception(
        "branch0 branch1.0 branch2.0", "branch1.1 branch2.1 branch2.2", exit="conv2d"
    ),
    "timm.models.inception_resnet_v2.Mixed_6a": _inception(
        "branch0 branch1.0", "branch0 branch1.1 branch1.2", exit="branch0.bn"
    ),
    "timm.models.inception_resnet_v2.Block17": _inception("branch0 branch1.0", "branch1.1 branch1.2", exit="conv2d"),
    "timm.models.inception_resnet_v2.Mixed_7a": _inception(
        "branch0.0 branch1.0 branch2.0", "branch0.1 branch1.1 branch2.1 branch2.2", exit="branch0.0.bn"
    ),
    "timm.models.inception_resnet_v2.Block8": _inception("branch0 branch1.0", "branch1.1 branch1.2", exit="conv2d"),
}
"""Qualified class name of a block -> its parts; of several, the first whose parts are all there."""

FLAT_NETWORKS: dict[str, tuple[str, str]] = {
    "timm.models.vgg.VGG": ("VGG", "features"),
    "torchvision.models.vgg.VGG": ("VGG", "features"),
}
"""Qualified class name of a network without blocks -> its family, and the list of its layers.

Every conv of the list but the first, which is the stem, is a block of its own.
"""

FAMILIES: tuple[str, ...] = tuple(
    sorted({parts[0].family for parts in BLOCKS.values()} | {family for family, _ in FLAT_NETWORKS.values()})
)
"""What people call the networks whose blocks are known."""
