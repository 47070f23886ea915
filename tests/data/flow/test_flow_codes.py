"""Flow in 8 bits: a literal table, and back."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.data.flow.codes import encode_flow


@pytest.mark.parametrize(
    ("velocity", "code"),
    [
        (-25.0, 0),
        (-20.0, 0),
        (-10.0, 64),  # 63.75
        (-1.0, 121),  # 121.125
        (0.0, 128),  # 127.5, to the even one
        (0.02, 128),  # 127.6
        (-0.02, 127),  # 127.4
        (1.0, 134),  # 133.875
        (3.0, 147),  # 146.6
        (10.0, 191),  # 191.25
        (20.0, 255),
        (25.0, 255),
    ],
)
def test_a_velocity_has_this_code(velocity, code):
    assert encode_flow(np.array([velocity]), bound=20.0).tolist() == [code]


def decode_flow(codes, *, bound):
    return codes * (2.0 * bound / 255) - bound


@pytest.mark.parametrize("bound", [15.0, 20.0, 20.5])
def test_codes_come_back_to_half_a_step(bound):
    codes = np.arange(256, dtype=np.uint8)
    velocities = np.linspace(-bound, bound, 1001)

    assert (encode_flow(decode_flow(codes, bound=bound), bound=bound) == codes).all()
    assert abs(decode_flow(encode_flow(velocities, bound=bound), bound=bound) - velocities).max() <= bound / 255 + 1e-9


def test_the_bound_scales_the_codes():
    flow = np.random.default_rng(0).normal(size=(5, 6, 2)).astype(np.float32)

    assert (encode_flow(flow, bound=2.0) == encode_flow(flow * 10, bound=20.0)).mean() > 0.999
