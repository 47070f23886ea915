from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kinema.layers.folded_conv3d import FoldedConv3d, tap_offsets


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("num_taps", [1, 3, 5])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_is_torchs_conv3d(num_frames: int, num_taps: int, groups: int):
    weight = torch.randn(8, 4 // groups, num_taps, 3, 1, dtype=torch.float64)
    bias = torch.randn(8, dtype=torch.float64)
    x = torch.randn(2, num_frames, 4, 7, 6, dtype=torch.float64)
    conv = FoldedConv3d(weight, bias, stride=(2, 1), padding=(1, 0), groups=groups)

    y = conv(x.flatten(0, 1), num_frames=num_frames, causal=False).unflatten(0, (2, num_frames))

    expected = F.conv3d(
        x.transpose(1, 2), weight, bias, stride=(1, 2, 1), padding=(num_taps // 2, 1, 0), groups=groups
    ).transpose(1, 2)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("num_taps", [1, 3, 4])
def test_steps_are_the_causal_conv(num_taps: int):
    conv = FoldedConv3d(torch.randn(4, 4, num_taps, 1, 1, dtype=torch.float64))
    x = torch.randn(2, 6, 4, 3, 3, dtype=torch.float64)

    state, frames = None, []
    for frame in x.unbind(1):
        y, state = conv.step(frame, state)
        frames.append(y)

    expected = conv(x.flatten(0, 1), num_frames=6, causal=True)
    torch.testing.assert_close(torch.stack(frames, dim=1).flatten(0, 1), expected)


@pytest.mark.parametrize(
    ("num_taps", "causal", "offsets"),
    [(1, False, [0]), (3, False, [-1, 0, 1]), (5, False, [-2, -1, 0, 1, 2]), (1, True, [0]), (3, True, [-2, -1, 0])],
)
def test_offsets_of_taps(num_taps: int, causal: bool, offsets: list[int]):
    assert list(tap_offsets(num_taps, causal=causal)) == offsets
