"""STH-Conv, the hybrid convolution: some of its input channels get a temporal kernel, the others a spatial one.

STH: Spatio-Temporal Hybrid Convolution for Efficient Action Recognition, 2020, https://arxiv.org/abs/2003.08042

Shapes: N clips, T frames, Ci input and Co output channels, H x W pixels (H' x W' after the stride), kT taps in time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.conv_window import ConvWindow, checked_conv
from kinema.layers.folded_conv3d import tap_offsets
from kinema.layers.folding import fold_time, unfold_time
from kinema.layers.hybrid import Arrangement, ArrangementName, arrange, run_pieces
from kinema.layers.past_means import check_horizon, next_mean, past_means
from kinema.layers.sth_attention import Attention, GateName, SqueezeName
from kinema.layers.sth_fused import FusedHybrid, run_fused
from kinema.layers.sth_options import DilatesName, FusionName, Way, check_options

State = tuple[Tensor, Tensor | None]


class STHConv(TemporalLayer):
    """A conv some of whose basic kernels go through time instead of space (eq. 2, figures 2 and 3).

    In the hybrid arrangement, output channels are split in G = 1/fraction types, and type g's temporal slice of the
    input channels starts at channel g * fraction * Ci; in the merge arrangement all have the first slice. Two parts,
    each linear in x, are added (eq. 2) or weighted by attention (eq. 3). Spatial kernels are the replaced conv's own;
    temporal ones are drawn anew. Where the paper is silent, our reading: G is rounded up and the last slice goes round
    to the first channel when 1/fraction is no integer; slices are as equal as possible when channels do not divide;
    temporal kernels stride with the spatial ones and stand at their centre; conv groups are mixed inside themselves,
    and depthwise convs by whole channels (`kinema.layers.hybrid.arrange`).

    The ways to run share the parameters, one basic kernel a row. `plain` runs each type on its own channels, which
    has the paper's FLOPs. `masked` runs dense convs with zeros where a kernel is of the other kind. `fused` runs
    one dense conv and adds the temporal kernels' products into its output (`kinema.layers.sth_fused`), and keeps
    least for the backward pass where maps are larger than kernels. `auto` is fused where that can be, and masked
    elsewhere (`way_for` says). Fused gives no gradients of gradients; and since it may keep its output, an
    activation in place must not follow a conv without bias at once. `masked` bears both.

    The arrangement is no part of the state dict: weights are for a layer with the same fraction and arrangement.

    Args:
        conv: The conv to replace.
        num_frames: Frames T of a clip.
        fraction: Share p of the input channels that is temporal, in (0, 1/2].
        arrangement: `hybrid` or `merge`.
        fusion: Whether the two parts are weighted by `Attention`, or only added (`sum`).
        temporal_size: Frames kT that a temporal kernel sees; odd, 3 in the paper.
        dilation: Distance in frames of two that it sees: 1, or 1, 2, 3 in turn over the layers of the network, which
            `temporalize` deals out for `dilation="alternating"`.
        dilates: Whether dilation spreads the `temporal` kernels only, which is our reading, as the spatial ones come
            from a network without dilation, or `both`, the conv's padding growing so that its output keeps its size.
        reduction: Of the attention, see there.
        squeeze: Of the attention, see there.
        gate: Of the attention, see there.
        causal: Whether temporal kernels see this frame and earlier ones (otherwise it is in their middle), and
            attention the past only.
        horizon: How many frames the attention of a causal layer averages over, this one included; by default T.
        way: How it runs: `auto`, `fused`, `masked` or `plain`; an attribute too.

    Raises:
        ValueError: If conv is of a kind that has no hybrid, or an option is unknown or out of range.
    """

    temporal_places: Tensor
    spatial_places: Tensor

    def __init__(
        self,
        conv: nn.Module,
        *,
        num_frames: int,
        fraction: float = 0.25,
        arrangement: ArrangementName = "hybrid",
        fusion: FusionName = "attention",
        temporal_size: int = 3,
        dilation: int = 1,
        dilates: DilatesName = "temporal",
        reduction: int = 4,
        squeeze: SqueezeName = "concat",
        gate: GateName = "softmax",
        causal: bool = False,
        horizon: int | None = None,
        way: Way = "auto",
    ) -> None:
        super().__init__(num_frames=num_frames, causal=causal)
        check_options(fusion=fusion, temporal_size=temporal_size, dilation=dilation, dilates=dilates, way=way)
        check_horizon(horizon, causal=causal)
        conv = checked_conv(conv)
        self.in_channels, self.out_channels, self.groups = conv.in_channels, conv.out_channels, conv.groups
        self.window, self.way = ConvWindow.of(conv), way
        if dilates == "both":
            self.window = self.window.dilated(dilation)
        self.fraction, self.arrangement, self.fusion = fraction, arrangement, fusion
        self.temporal_size, self.dilation, self.horizon = temporal_size, dilation, horizon
        arranged = self._arrange()
        self._temporal_pieces, self._spatial_pieces = arranged.temporal, arranged.spatial
        weight = conv.weight.detach()
        for name, places in zip(("temporal_places", "spatial_places"), arranged.places, strict=True):
            self.register_buffer(name, places.to(weight.device), persistent=False)
        kernels = weight.flatten(0, 1).index_select(0, self.spatial_places)  # [kernels, kH, kW]
        self.spatial = nn.Parameter(kernels, requires_grad=conv.weight.requires_grad)
        self.temporal = nn.Parameter(weight.new_empty(len(self.temporal_places), temporal_size))  # [kernels, kT]
        self.bias = None
        if conv.bias is not None:
            self.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=conv.bias.requires_grad)
        self.attention: Attention | None = None
        if fusion == "attention":
            self.attention = Attention(self.out_channels, reduction=reduction, squeeze=squeeze, gate=gate).to(weight)
        self.reset_temporal()

    def reset_temporal(self) -> None:
        """Draws the temporal kernels anew, as He would for the inputs of the whole layer (our reading)."""
        inputs = self.in_channels // self.groups
        share = self.fraction if inputs > 1 else 1.0  # a depthwise kernel is alone
        fan_in = inputs * (share * self.temporal_size + (1 - share) * math.prod(self.window.kernel_size))
        nn.init.normal_(self.temporal, std=math.sqrt(2.0 / fan_in))

    def forward(self, x: Tensor) -> Tensor:
        """Convolves in time and space.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            Frames [N*T, Co, H', W'], the shape that the replaced conv would give.
        """
        if self.way_for(x) == "fused":
            return self._add_bias(run_fused(x, self.spatial, self.temporal, self._fused_plan(), self.attention))
        temporal, spatial = self.parts(x)
        if self.attention is None:
            return self._add_bias(temporal + spatial)
        alphas = (alpha.expand(-1, self.num_frames, -1) for alpha in self._alphas(temporal, spatial))
        alpha_t, alpha_s = (fold_time(alpha) for alpha in alphas)  # [N*T, Co]
        return self._add_bias(_scale(temporal, alpha_t) + _scale(spatial, alpha_s))

    def way_for(self, x: Tensor) -> Way:
        """Says which way x [N*T, Ci, H, W] runs.

        Fused needs channels last, no conv groups, no causal attention, padding up to half the kernel, and no
        compiling.
        """
        if self.way != "auto":
            return self.way
        fusible = self._why_not_fused() is None and x.is_contiguous(memory_format=torch.channels_last)
        return "fused" if fusible and not torch.compiler.is_compiling() else "masked"

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the two parts of eq. 2, without the bias; in the plain way if that is the layer's, else masked.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            The temporal part O_T and the spatial part O_S, both [N*T, Co, H', W'].
        """
        clips = unfold_time(self.window.centres(x), self.num_frames).movedim(2, 1)  # [N, Ci, T, H', W']
        before = self._span if self.causal else self._span // 2
        return self._temporal_part(F.pad(clips, (0, 0, 0, 0, before, self._span - before))), self._spatial_part(x)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the weights of the two parts, for the figures of the supplement.

        Args:
            x: Frames [N*T, Ci, H, W].

        Returns:
            alpha_T and alpha_S, both [N, Co]; in a causal layer those of the last frame.

        Raises:
            ValueError: If the layer has no attention.
        """
        if self.attention is None:
            raise ValueError("fusion must be attention for coefficients, got 'sum'; the parts are only added")
        alpha_t, alpha_s = self._alphas(*self.parts(x))
        return alpha_t[:, -1], alpha_s[:, -1]

    def extra_repr(self) -> str:
        """Names the layer's numbers."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.window.kernel_size}, "
            f"stride={self.window.stride}, groups={self.groups}, num_frames={self.num_frames}, "
            f"fraction={self.fraction:.4g}, arrangement={self.arrangement}, fusion={self.fusion}, "
            f"temporal_size={self.temporal_size}, dilation={self.dilation}, causal={self.causal}, way={self.way}"
        )

    def _step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        now = self.window.centres(x).unsqueeze(2)  # [N, Ci, 1, H', W']
        if state is None:
            state = (now.new_zeros(*now.shape[:2], self._span, *now.shape[3:]), None)
        past, means = state
        frames = torch.cat([past, now], dim=2)
        temporal, spatial = self._temporal_part(frames), self._spatial_part(x)
        if self.attention is None:
            return self._add_bias(temporal + spatial), (frames[:, :, 1:], None)
        both = torch.stack([_frame_means(temporal), _frame_means(spatial)], dim=1)  # [N, 2, Co]
        mean, means = next_mean(both, means, horizon=self.horizon or self.num_frames)
        alpha_t, alpha_s = self._weigh(*mean.unbind(dim=1))
        y = _scale(temporal, alpha_t) + _scale(spatial, alpha_s)
        return self._add_bias(y), (frames[:, :, 1:], means)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> STHConv:
        """Moves the layer; where it had no numbers (`device="meta"`), its places have theirs again."""
        had_none = self.temporal_places.is_meta
        super()._apply(fn, recurse)
        if had_none and not self.temporal_places.is_meta:
            temporal, spatial = self._arrange().places
            self.temporal_places.copy_(temporal)
            self.spatial_places.copy_(spatial)
        return self

    def _arrange(self) -> Arrangement:
        return arrange(
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            groups=self.groups,
            fraction=self.fraction,
            arrangement=self.arrangement,
        )

    @property
    def _span(self) -> int:
        """Frames between the first and the last that a temporal kernel sees."""
        return self.dilation * (self.temporal_size - 1)

    def _add_bias(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)

    def _alphas(self, temporal: Tensor, spatial: Tensor) -> tuple[Tensor, Tensor]:
        """Returns alpha_T and alpha_S, [N, T, Co] in a causal layer and [N, 1, Co] otherwise."""
        means = [unfold_time(_frame_means(part), self.num_frames) for part in (temporal, spatial)]  # [N, T, Co]
        if not self.causal:
            return self._weigh(*(mean.mean(dim=1, keepdim=True) for mean in means))
        return self._weigh(*(past_means(mean, horizon=self.horizon or self.num_frames) for mean in means))

    def _weigh(self, *means: Tensor) -> tuple[Tensor, Tensor]:
        assert self.attention is not None
        return self.attention(*(mean.to(self.attention.reduce.weight.dtype) for mean in means))

    def _temporal_part(self, frames: Tensor) -> Tensor:
        """Mixes frames that have their neighbours beside them: [N, Ci, T + span, H', W'] -> [N*T, Co, H', W']."""

        def mix(frames: Tensor, weight: Tensor, groups: int) -> Tensor:
            y = F.conv3d(frames, weight[..., None, None], dilation=(self.dilation, 1, 1), groups=groups)
            return fold_time(y.movedim(1, 2))

        if self.way == "plain":
            return run_pieces(self._temporal_pieces, mix, frames, self.temporal, out_channels=self.out_channels)
        return mix(frames, self._dense(self.temporal, self.temporal_places), self.groups)

    def _spatial_part(self, x: Tensor) -> Tensor:
        """Convolves each frame: [N, Ci, H, W] -> [N, Co, H', W']."""
        if self.way == "plain":
            return run_pieces(self._spatial_pieces, self.window.conv, x, self.spatial, out_channels=self.out_channels)
        return self.window.conv(x, self._dense(self.spatial, self.spatial_places), self.groups)

    def _dense(self, kernels: Tensor, places: Tensor) -> Tensor:
        """Puts the kernels where they belong among zeros: [kernels, ...] -> [Co, Ci / groups, ...]."""
        zeros = kernels.new_zeros(self.out_channels * self.in_channels // self.groups, *kernels.shape[1:])
        return zeros.index_copy(0, places, kernels).unflatten(0, (self.out_channels, -1))

    def _why_not_fused(self) -> str | None:
        """Returns what in the layer itself stands against the fused way, None if nothing does."""
        if self.groups != 1:
            return f"groups={self.groups}"
        if self.causal and self.attention is not None:
            return "causal attention"
        return None if self.window.centres_are_pixels else f"padding {self.window.padding} beyond half the kernel"

    def _fused_plan(self) -> FusedHybrid:
        if (reason := self._why_not_fused()) is not None:
            raise ValueError(f"way must not be fused for this layer, got {reason}; take auto")
        return FusedHybrid(
            window=self.window,
            pieces=self._temporal_pieces,
            spatial_places=self.spatial_places,
            temporal_places=self.temporal_places,
            in_channels=self.in_channels,
            row_outputs=self.temporal_places // self.in_channels,
            offsets=tuple(self.dilation * tap for tap in tap_offsets(self.temporal_size, causal=self.causal)),
            num_frames=self.num_frames,
        )


def _frame_means(x: Tensor) -> Tensor:
    """Averages each frame, in 32 bits at least: [N, C, H, W] -> [N, C]."""
    return x.mean(dim=(2, 3), dtype=torch.promote_types(x.dtype, torch.float32))


def _scale(x: Tensor, alpha: Tensor) -> Tensor:
    """Multiplies x [N, C, H, W] by alpha [N, C], in the dtype of x."""
    return x * alpha.to(x.dtype)[..., None, None]
