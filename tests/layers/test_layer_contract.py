"""What holds for every temporal layer, whatever its mathematics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.layers.folding import fold_time
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from networks import randomize_

T = 5
LAYERS = [name for name, kind in TEMPORAL_LAYERS.items() if kind is not None]
ONLY_AHEAD = ("tea", "motionsqueeze")
"""Layers in which a frame meets the one after it, and none before."""
WITHOUT_EFFECT = (("nonlocal", "phi.bias"),)
"""Parameters that official weights have and the output does not depend on: softmax does not see this one."""
pytestmark = pytest.mark.parametrize("name", LAYERS)


def make_layer(name: str, *, causal: bool = False, stride: int = 1, num_frames: int = T) -> TemporalLayer:
    kind = TEMPORAL_LAYERS[name]
    conv = nn.Conv2d(16, 12, kernel_size=3, stride=stride, padding=1)
    site = (conv, nn.BatchNorm2d(12)) if kind.takes_norm else (conv,)
    layer = randomize_(kind.layer(*site, num_frames=num_frames, causal=causal), seed=3)
    return layer.eval()  # in training, batch norm mixes whatever is in the batch


def make_clips(num_clips: int = 2, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_clips * T, 16, 7, 6, generator=generator, dtype=torch.float64).to(dtype)


class Folding(nn.Module):
    """Takes clips [N, T, C, H, W], as a network does."""

    def __init__(self, layer: TemporalLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, clips: Tensor) -> Tensor:
        return self.layer(fold_time(clips))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_shape_is_the_convs(name: str, stride: int, causal: bool):
    conv = nn.Conv2d(16, 12, kernel_size=3, stride=stride, padding=1)

    assert make_layer(name, stride=stride, causal=causal)(make_clips()).shape == conv(make_clips()).shape


@pytest.mark.parametrize("causal", [False, True])
def test_clips_do_not_mix(name: str, causal: bool):
    layer = make_layer(name, causal=causal)
    first, second = make_clips(1, seed=1), make_clips(1, seed=2)

    together = layer(torch.cat([first, second]))

    torch.testing.assert_close(together, torch.cat([layer(first), layer(second)]))


@pytest.mark.parametrize("causal", [False, True])
def test_frames_mix(name: str, causal: bool):
    layer = make_layer(name, causal=causal)
    x = make_clips(1)
    changed = x.clone()
    changed[1] += 1.0

    difference = (layer(changed) - layer(x)).abs().amax(dim=(1, 2, 3))

    assert difference[1] > 1e-3
    assert difference[0 if name in ONLY_AHEAD and not causal else 2] > 1e-3


@pytest.mark.parametrize("causal", [False, True])
def test_every_parameter_gets_a_gradient(name: str, causal: bool):
    layer = make_layer(name, causal=causal)

    layer(make_clips()).square().sum().backward()

    for key, parameter in layer.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0 or (name, key) in WITHOUT_EFFECT, key


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_dtype_is_kept(name: str, causal: bool, dtype: torch.dtype):
    layer = make_layer(name, causal=causal).to(dtype)

    assert layer(make_clips(dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("causal", [False, True])
def test_autocast_gives_its_dtype_and_nearly_the_same(name: str, causal: bool):
    layer, x = make_layer(name, causal=causal), make_clips()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)

    assert y.dtype == torch.bfloat16
    # bfloat16 has 8 bits of mantissa, and sums of 144 products round at every store.
    torch.testing.assert_close(y.float(), layer(x), atol=0.1, rtol=0.05)


def test_the_past_never_sees_the_future_of_a_causal_layer(name: str):
    layer = make_layer(name, causal=True)
    x = make_clips(1)
    for frame in range(1, T):
        changed = x.clone()
        changed[frame:] = make_clips(1, seed=9)[frame:]
        assert torch.equal(layer(changed)[:frame], layer(x)[:frame])


def test_the_past_sees_the_future_of_an_ordinary_layer(name: str):
    layer = make_layer(name)
    x = make_clips(1)
    changed = x.clone()
    changed[-1] += 1.0

    assert not torch.allclose(layer(changed)[-2], layer(x)[-2], atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
def test_steps_equal_the_clip(name: str, stride: int):
    layer = make_layer(name, causal=True, stride=stride)
    x = make_clips(3).unflatten(0, (3, T))

    state, frames = None, []
    for frame in x.unbind(dim=1):
        y, state = layer.step(frame, state)
        frames.append(y)

    torch.testing.assert_close(torch.stack(frames, dim=1).flatten(0, 1), layer(x.flatten(0, 1)))


def test_a_step_leaves_the_state_it_was_given(name: str):
    layer = make_layer(name, causal=True)
    first, second, _ = make_clips().split([2, 2, 6])
    _, state = layer.step(first)

    once, _ = layer.step(second, state)
    first.zero_()  # the caller's buffer, which may be filled with the next frame
    again, _ = layer.step(second, state)

    assert torch.equal(once, again)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_channels_last_gives_the_same(name: str, causal: bool, training: bool):
    layer = make_layer(name, causal=causal).double().train(training)
    x = make_clips(dtype=torch.float64).requires_grad_()
    y = layer(x)
    expected = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
    other = make_layer(name, causal=causal).double().train(training).to(memory_format=torch.channels_last)
    laid_out = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()

    y_laid_out = other(laid_out)

    torch.testing.assert_close(y_laid_out, y)
    gradients = torch.autograd.grad(y_laid_out.square().sum(), [laid_out, *other.parameters()])
    torch.testing.assert_close(gradients, expected)


def test_an_ordinary_layer_refuses_to_step(name: str):
    with pytest.raises(ValueError, match=r"must be causal to run frame by frame, got causal=False; train"):
        make_layer(name).step(make_clips(1))


@pytest.mark.parametrize("num_frames", [1, 2])
def test_very_short_clips_work(name: str, num_frames: int):
    layer = make_layer(name, num_frames=num_frames)

    assert layer(make_clips(1)[: 2 * num_frames]).isfinite().all()


def test_num_frames_can_be_changed(name: str):
    layer, other = make_layer(name), make_layer(name, num_frames=2)
    if not TEMPORAL_LAYERS[name].any_length:
        with pytest.raises(ValueError, match=f"num_frames must stay {T} in a .*, whose weights depend on it, got 2"):
            layer.set_num_frames(2)
        return

    layer.set_num_frames(2)

    assert torch.equal(layer(make_clips(2)), other(make_clips(2)))


def test_no_frames_are_refused(name: str):
    with pytest.raises(ValueError, match="num_frames must be a whole number of at least 1, got 0"):
        make_layer(name, num_frames=0)


@pytest.mark.parametrize("causal", [False, True])
def test_exports_with_any_batch(name: str, causal: bool):
    network = Folding(make_layer(name, causal=causal)).eval()
    batch = torch.export.Dim("num_clips", min=1, max=64)

    program = torch.export.export(network, (make_clips(3).unflatten(0, (3, T)),), dynamic_shapes=({0: batch},))

    for num_clips in (1, 2, 7):
        clips = make_clips(num_clips).unflatten(0, (num_clips, T))
        torch.testing.assert_close(program.module()(clips), network(clips))
