from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from kinema.layers.contract import TemporalLayer
from kinema.models.classifier import VideoClassifier, create_model
from kinema.models.cost import cost
from kinema.models.temporal_layers import TEMPORAL_LAYERS
from kinema.models.temporal_pool import TemporalPool, frames_out
from kinema.models.temporalize import temporalize
from kinema.models.weights import load_model, save_model
from networks import randomize_


def pooled_model(temporal: str | list[str] = "tsm", *, num_frames: int = 5, **options) -> VideoClassifier:
    model = create_model(
        "test_resnet", temporal=temporal, num_frames=num_frames, num_classes=3, temporal_pool=True, **options
    )
    return randomize_(model).eval()


def pooled_slowly(x: Tensor) -> Tensor:
    """The maximum of frames 2t-1, 2t and 2t+1, as far as there are such: x [N, T, C, H, W]."""
    num_frames = x.shape[1]
    frames = []
    for centre in range(0, num_frames, 2):
        near = [t for t in (centre - 1, centre, centre + 1) if 0 <= t < num_frames]
        frames.append(torch.stack([x[:, t] for t in near]).amax(dim=0))
    return torch.stack(frames, dim=1)


@pytest.mark.parametrize(("num_frames", "after"), [(1, 1), (2, 1), (5, 3), (8, 4)])
def test_equals_the_definition(num_frames: int, after: int):
    x = torch.randn(2, num_frames, 3, 4, 5)
    pool = TemporalPool(num_frames=num_frames, stage="layer1")

    assert pool.frames_after == after
    assert torch.equal(pool(x.flatten(0, 1)).unflatten(0, (2, after)), pooled_slowly(x))


@pytest.mark.parametrize("make", [torchvision.models.resnet18, timm.models.resnet18])
def test_later_stages_have_half_the_frames(make):
    with torch.device("meta"):
        backbone = temporalize(make(), "tsm", num_frames=8, temporal_pool=True)

    lengths = {path: layer.num_frames for path, layer in backbone.named_modules() if isinstance(layer, TemporalLayer)}

    assert lengths == {f"layer{s}.{b}.conv1": 8 if s == 1 else 4 for s in (1, 2, 3, 4) for b in (0, 1)}
    assert frames_out(backbone, 8) == 4


def test_weights_keep_their_names():
    with torch.device("meta"):
        plain, pooled = (
            create_model("resnet18", temporal="tsm", num_classes=2, temporal_pool=on) for on in (False, True)
        )

    assert list(plain.state_dict()) == list(pooled.state_dict())


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_works_with_every_layer(temporal: str):
    model = pooled_model(temporal)
    x = torch.randn(2, 5, 3, 32, 32)

    with torch.no_grad():
        assert model.frame_logits(x).shape == (2, 3, 3)
        # Convolutions of other batch sizes may sum in another order.
        torch.testing.assert_close(model(x), torch.cat([model(x[:1]), model(x[1:])]), atol=1e-4, rtol=1e-4)


def test_another_number_of_frames_is_known_everywhere():
    model, other = pooled_model(["tsm", "sth"]), pooled_model(["tsm", "sth"], num_frames=6)
    x = torch.randn(1, 6, 3, 32, 32)

    model.set_num_frames(6)

    assert torch.equal(model(x), other(x))


def test_a_network_with_a_layer_that_cannot_change_is_left_as_it_was():
    model = pooled_model("tam")
    x = torch.randn(1, 5, 3, 32, 32)
    before = model(x)

    model.set_num_frames(5)
    with pytest.raises(ValueError, match="num_frames must stay 5 in a TemporalAdaptive"):
        model.set_num_frames(4)

    assert torch.equal(model(x), before)
    assert (model.spec.num_frames, model.config.num_frames) == (5, 5)


def test_comes_back_from_a_file(tmp_path):
    model = pooled_model()
    save_model(tmp_path / "weights.safetensors", model)
    x = torch.randn(1, 5, 3, 32, 32)

    assert torch.equal(load_model(tmp_path / "weights.safetensors")(x), model(x))


@pytest.mark.slow
def test_exports_with_any_batch():
    model = pooled_model()
    shapes = ({0: torch.export.Dim("num_clips", min=1)},)

    program = torch.export.export(model, (torch.randn(2, 5, 3, 32, 32),), dynamic_shapes=shapes)

    for num_clips in (1, 3):
        x = torch.randn(num_clips, 5, 3, 32, 32)
        torch.testing.assert_close(program.module()(x), model(x))


def test_costs_the_first_stage_of_all_frames_and_the_rest_of_half():
    with torch.device("meta"):
        model, short = (
            create_model("resnet50", temporal="tsm", num_classes=174, num_frames=number, temporal_pool=pool)
            for number, pool in ((8, True), (4, False))
        )
    stem = 112 * 112 * 64 * 3 * 49
    first_stage = 56 * 56 * ((64 + 64 * 9 + 256 + 256) * 64 + 2 * (256 + 64 * 9 + 256) * 64)

    assert cost(model, size=224).macs == cost(short, size=224).macs + 4 * (stem + first_stage)


def test_a_causal_network_is_refused():
    with pytest.raises(ValueError, match="temporal_pool must be off in a causal network, got causal=True"):
        pooled_model(causal=True)


def test_one_stage_is_refused():
    backbone = nn.Sequential(torchvision.models.resnet18().layer1)

    with pytest.raises(ValueError, match="temporal_pool must stand between two stages of blocks in a row, got Sequent"):
        temporalize(backbone, "tsm", num_frames=4, temporal_pool=True)


def test_a_second_pool_is_refused():
    backbone = temporalize(torchvision.models.resnet18(), "none", num_frames=4, temporal_pool=True)

    with pytest.raises(ValueError, match=r"must be a 2D network, got one with TemporalPool at layer1\.2"):
        temporalize(backbone, "none", num_frames=4, temporal_pool=True)
