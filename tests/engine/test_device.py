"""Which device and which arithmetic `auto` means."""

from __future__ import annotations

import pytest
import torch

from kinema.engine.device import choose_device, choose_precision
from kinema.engine.recipe import TrainerRecipe
from kinema.models.classifier import create_model
from kinema.models.temporal_layers import TEMPORAL_LAYERS


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx2": True}, "32-true"),
        ({"avx512_bf16": True}, "bf16-mixed"),
        ({"amx_bf16": True, "avx512_bf16": False}, "bf16-mixed"),
    ],
)
def test_a_processor_trains_in_bfloat16_only_where_it_computes_in_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    assert choose_precision(TrainerRecipe(accelerator="cpu")) == precision


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_trains_in_bfloat16_only_where_it_does_not_emulate_it(monkeypatch, native, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)

    assert choose_precision(TrainerRecipe(accelerator="auto")) == precision


def test_a_recipe_that_names_its_precision_gets_it():
    assert choose_precision(TrainerRecipe(precision="64-true")) == "64-true"


def test_half_precision_is_for_gpus():
    with pytest.raises(ValueError, match="must be one that a CPU trains in, got '16-mixed'"):
        choose_precision(TrainerRecipe(precision="16-mixed", accelerator="cpu"))


@pytest.mark.parametrize("accelerator", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(monkeypatch, accelerator):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    with pytest.raises(ValueError, match=f"accelerator must be a device of this machine, got '{accelerator}'"):
        choose_precision(TrainerRecipe(accelerator=accelerator))


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, False, "cuda"), (False, True, "mps"), (True, True, "cuda"), (False, False, "cpu")],
)
def test_a_gpu_is_taken_where_there_is_one(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    assert choose_device("auto") == torch.device(device)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("temporal", TEMPORAL_LAYERS)
def test_every_layer_can_be_laid_out_channels_last(temporal):
    model = create_model("test_resnet", temporal=temporal, num_frames=4, num_classes=3).eval()
    clips = torch.randn(2, 4, 3, 32, 32)
    before = model(clips)

    model.to(memory_format=torch.channels_last)

    convs = [parameter for parameter in model.parameters() if parameter.ndim == 4 and parameter.shape[2] > 1]
    assert convs
    assert all(parameter.is_contiguous(memory_format=torch.channels_last) for parameter in convs)
    torch.testing.assert_close(model(clips), before, rtol=1e-4, atol=1e-5)
