from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.video import MViT, mvit

from kinema.cli import main
from kinema.models import video_networks
from kinema.models.backbones import create_backbone, num_features
from kinema.models.classifier import VideoClassifier, create_model
from kinema.models.cost import cost
from kinema.models.temporalize import temporalize
from kinema.models.video_networks import VIDEO_NETWORKS, FittingAvgPool, cached_weights, published_weights
from kinema.models.weights import initialize_from, load_model, save_model
from kinema.spec import ClipSpec
from networks import randomize_

T, SIZE = 6, 32
QUICK = ("mc3_18", "s3d")
NETWORKS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VIDEO_NETWORKS]


def small_model(name: str, *, num_frames: int = T, **options) -> VideoClassifier:
    spec = ClipSpec(num_frames=num_frames, resize=SIZE, crop=SIZE)
    model = create_model(name, num_frames=num_frames, num_classes=5, **{"spec": spec, **options})
    return randomize_(model).eval()


def clips(num_clips: int = 2, num_frames: int = T, *, channels: int = 3, size: int = SIZE) -> Tensor:
    shape = num_clips, num_frames, channels, size, size
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def with_weights_of(theirs: nn.Module, name: str, **options) -> VideoClassifier:
    """Our network with the weights of torchvision's own, its head's included."""
    classes = theirs.get_submodule(VIDEO_NETWORKS[name].head)
    weight, bias = (next(one for one in classes.parameters() if (one.ndim > 1) is wide) for wide in (True, False))
    model = create_model(name, num_classes=len(bias), **options).eval()
    keys = model.backbone.net.load_state_dict(theirs.state_dict(), strict=False)
    assert not keys.missing_keys
    model.head.load_state_dict({"weight": weight.detach().flatten(1), "bias": bias.detach()})
    return model


@pytest.mark.parametrize("name", VIDEO_NETWORKS)
def test_the_weights_are_torchvisions_default(name: str):
    assert published_weights(name) is get_model_weights(name).DEFAULT


# torchvision counts multiply-adds of 16 frames at the weights' own size, and prints thousandths of a billion.
@pytest.mark.parametrize("name", NETWORKS)
def test_cost_is_what_torchvision_publishes(name: str):
    with torch.device("meta"):
        counted = cost(create_model(name, num_frames=16, num_classes=400))
    published = published_weights(name).meta

    assert counted.parameters == published["num_params"]
    assert counted.macs / 1e9 == pytest.approx(published["_ops"], abs=5e-4)
    assert sum(layer.macs for layer in counted.layers) == counted.macs
    assert counted.activation_bytes > 0


@pytest.mark.parametrize(
    ("name", "num_frames", "size"),
    [
        pytest.param("r3d_18", 8, 48, marks=pytest.mark.slow),
        ("mc3_18", 8, 48),
        pytest.param("r2plus1d_18", 8, 48, marks=pytest.mark.slow),
        pytest.param("s3d", 16, 240, marks=pytest.mark.slow),
        pytest.param("swin3d_t", 5, 60, marks=pytest.mark.slow),
        pytest.param("mvit_v2_s", 16, 224, marks=pytest.mark.slow),
    ],
)
def test_the_logits_are_torchvisions(name: str, num_frames: int, size: int):
    theirs = randomize_(get_model(name, num_classes=7)).eval()
    model = with_weights_of(theirs, name, num_frames=num_frames)
    x = clips(1, num_frames, size=size)

    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x.transpose(1, 2)))


@pytest.mark.parametrize(("num_frames", "size"), [pytest.param(4, 64, marks=pytest.mark.slow), (6, 32)])
def test_an_mvit_of_another_size_has_its_relative_positions_resampled(
    num_frames: int, size: int, monkeypatch: pytest.MonkeyPatch
):
    net = randomize_(get_model("mvit_v2_s", num_classes=7)).eval()
    model = with_weights_of(net, "mvit_v2_s", num_frames=num_frames)
    sizes = {"spatial_size": (size, size), "temporal_size": num_frames}  # which torchvision's function does not take
    monkeypatch.setattr(mvit, "MViT", lambda **options: MViT(**{**options, **sizes}))
    theirs = get_model("mvit_v2_s", num_classes=7).eval()
    tensors = net.state_dict()
    for key, own in theirs.state_dict().items():
        if "rel_pos" in key:
            tensors[key] = F.interpolate(tensors[key].T[None], size=len(own), mode="linear")[0].T
    theirs.load_state_dict(tensors)
    x = clips(1, num_frames, size=size)

    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x.transpose(1, 2)))


def test_a_window_that_fits_is_torchs_and_a_larger_one_shrinks():
    x = torch.randn(2, 3, 4, 5, 6)

    assert torch.equal(FittingAvgPool((2, 4, 3), stride=1)(x), nn.AvgPool3d((2, 4, 3), stride=1)(x))
    torch.testing.assert_close(FittingAvgPool((9, 7, 7), stride=1)(x), x.mean(dim=(2, 3, 4), keepdim=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_frames_mix_and_clips_do_not(name: str):
    model, x = small_model(name), clips()

    with torch.no_grad():
        logits = model(x)
        reordered = model(x[:, [2, 0, 3, 1, 5, 4]])
        # Convolutions of other batch sizes may sum in another order.
        torch.testing.assert_close(logits, torch.cat([model(x[:1]), model(x[1:])]), atol=1e-4, rtol=1e-4)
        assert logits.shape == (2, 5)
        assert (logits - reordered).abs().max() > 1e-4  # a thousand times what rounding does
        assert model.frame_logits(x).shape == (2, 1, 5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_gets_a_gradient(name: str):
    model = small_model(name)

    model(clips(size=48)).square().sum().backward()

    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        if any(part in key for part in ("blocks.15.attn.rel_pos", "blocks.15.attn.pool_q.pool")):
            continue  # an MViT reads its class token, which its last block gives no position and does not pool
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_last_leaves_kernels_over_time_alone(name: str):
    model, x = small_model(name), clips()
    with torch.no_grad():
        before = model(x)

        model.to(memory_format=torch.channels_last)
        laid_out = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (2, T))

        torch.testing.assert_close(model(laid_out), before)
        assert model.double()(x.double()).dtype == torch.float64


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mc3_18", "s3d", "mvit_v2_s"])
def test_exports_with_any_batch(name: str):
    model = small_model(name)

    program = torch.export.export(model, (clips(),), dynamic_shapes=({0: torch.export.Dim("num_clips", min=1)},))

    for num_clips in (1, 3):
        with torch.no_grad():
            # Convolutions of other batch sizes may sum in another order.
            expected = model(clips(num_clips))
            torch.testing.assert_close(program.module()(clips(num_clips)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels", [1, 10])
def test_frames_of_other_channels_are_taken(name: str, channels: int):
    spec = ClipSpec(num_frames=T, resize=SIZE, crop=SIZE, mean=(0.5,) * channels, std=(0.5,) * channels)
    with torch.device("meta"):
        model = create_model(name, num_frames=T, num_classes=5, spec=spec)

        assert model(torch.zeros(2, T, channels, SIZE, SIZE)).shape == (2, 5)


def test_a_grey_frame_is_to_one_channel_what_it_is_to_three():
    torch.manual_seed(0)
    coloured = create_backbone("mc3_18").eval()
    torch.manual_seed(0)
    grey = create_backbone("mc3_18", in_channels=1).eval()
    x = torch.randn(16, 1, SIZE, SIZE)

    with torch.no_grad():
        # The sum over three equal channels rounds differently.
        torch.testing.assert_close(grey(x), coloured(x.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["mc3_18", pytest.param("mvit_v2_s", marks=pytest.mark.slow)])
def test_another_number_of_frames_is_known_everywhere(name: str):
    model, other = small_model(name), small_model(name, num_frames=4)
    x = clips(num_frames=4)

    model.set_num_frames(4)

    assert (model.spec.num_frames, model.config.num_frames, model.backbone.num_frames) == (4, 4, 4)
    assert torch.equal(model(x), other(x))


def test_a_number_of_frames_that_cannot_be_changes_nothing():
    model, x = small_model("s3d"), clips()
    before = model(x)

    with pytest.raises(ValueError, match="num_frames and crop must be large enough for s3d, got 4 frames of 224 x 224"):
        model.set_num_frames(4)

    assert (model.spec.num_frames, model.config.num_frames, model.backbone.num_frames) == (T, T, T)
    assert torch.equal(model(x), before)


@pytest.mark.parametrize(("num_frames", "size"), [(5, 17), (8, 112)])
def test_s3d_takes_short_clips_and_small_crops(num_frames: int, size: int):
    spec = ClipSpec(num_frames=num_frames, resize=size, crop=size)
    with torch.device("meta"):
        model = create_model("s3d", num_frames=num_frames, num_classes=5, spec=spec)

        assert model(torch.zeros(2, num_frames, 3, size, size)).shape == (2, 5)


@pytest.mark.parametrize("name", ["mc3_18", pytest.param("mvit_v2_s", marks=pytest.mark.slow)])
def test_comes_back_from_a_file(name: str, tmp_path: Path):
    model, x = small_model(name), clips()
    save_model(tmp_path / "m.safetensors", model)

    loaded = load_model(tmp_path / "m.safetensors")

    assert (loaded.config, loaded.spec) == (model.config, model.spec)
    assert torch.equal(loaded(x), model(x))


def test_weights_of_another_class_list_keep_the_network(tmp_path: Path):
    source = small_model("mc3_18")
    save_model(tmp_path / "m.safetensors", source)
    model = create_model("mc3_18", num_classes=3, num_frames=4)

    lines = initialize_from(model, tmp_path / "m.safetensors")

    assert torch.equal(model.backbone.net.stem[0].weight, source.backbone.net.stem[0].weight)
    assert "anew: head.weight, head.bias" in "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "crop", "resize", "mean", "features"),
    [
        # Crops, short sides and means of torchvision's documentation of the weights; features of the papers.
        ("r3d_18", 112, 128, (0.43216, 0.394666, 0.37645), 512),
        ("s3d", 224, 256, (0.43216, 0.394666, 0.37645), 1024),
        ("swin3d_t", 224, 256, (0.485, 0.456, 0.406), 768),
        ("mvit_v2_s", 224, 256, (0.45, 0.45, 0.45), 768),
    ],
)
def test_the_spec_is_what_the_weights_expect(name: str, crop: int, resize: int, mean: tuple[float, ...], features: int):
    with torch.device("meta"):
        model = create_model(name, num_classes=5)

    assert (model.spec.num_frames, model.spec.crop, model.spec.resize) == (8, crop, resize)
    assert (model.spec.interpolation, model.spec.mean) == ("bilinear", mean)
    assert num_features(model.backbone) == model.head.in_features == features


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch, and no network."""

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(video_networks, "urlopen", refuse)
    cached_weights("mc3_18").parent.mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("name", ["mc3_18", "s3d"])
def test_published_weights_are_taken_from_torchs_cache(name: str, torch_home: Path):
    theirs = randomize_(get_model(name))
    path = torch_home / "hub" / "checkpoints" / published_weights(name).url.split("/")[-1]
    torch.save(theirs.state_dict(), path)

    model = create_model(name, num_classes=5, pretrained=True)

    own = model.backbone.net.state_dict()
    head = f"{VIDEO_NETWORKS[name].head}."
    assert all(torch.equal(own[key], value) for key, value in theirs.state_dict().items() if not key.startswith(head))
    assert len(own) == len([key for key in theirs.state_dict() if not key.startswith(head)])
    assert model.head.out_features == 5


def test_a_closed_network_fails_in_one_sentence_and_at_once(torch_home: Path):
    start = time.monotonic()

    sentence = (
        r"weights that can be had, got mc3_18 \(.*no route .*put them into .*mc3_18-a90a0ba3\.pth, or start .*False$"
    )
    with pytest.raises(ValueError, match=sentence) as info:
        create_model("mc3_18", num_classes=5, pretrained=True)

    assert time.monotonic() - start < 5.0
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("content", ["", "nothing of torch", "another network"])
def test_a_file_that_is_not_the_weights_is_refused_in_one_sentence(content: str, torch_home: Path):
    if content == "another network":
        torch.save(nn.Linear(2, 2).state_dict(), cached_weights("mc3_18"))
    else:
        cached_weights("mc3_18").write_text(content)

    with pytest.raises(ValueError, match=r"pretrained must name weights that can be had, got mc3_18 \(.+\);") as info:
        create_model("mc3_18", num_classes=5, pretrained=True)

    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temporal": "sth"}, "temporal must be none with r3d_18, .*, got sth; add --model.temporal none"),
        ({"temporal": ["none", "tsm"]}, "temporal must be none with r3d_18, .*, got none, tsm; add"),
        ({"temporal": []}, "temporal must be none with r3d_18, .*, got nothing; add"),
        ({"causal": True}, "causal must be off with r3d_18, .*, got causal=True; take a 2D network"),
        ({"head": "trn"}, "head must be linear with r3d_18, .*, got trn; drop it"),
        ({"temporal_pool": True}, "options must be left out with r3d_18, .*, got temporal_pool; drop them"),
        ({"spec": ClipSpec(num_frames=16)}, "spec must have the model's num_frames 8, got 16"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        create_model("r3d_18", num_classes=5, **options)


@pytest.mark.parametrize(("num_frames", "crop"), [(4, 224), (8, 16)])
def test_clips_that_are_too_small_are_refused_when_the_model_is_made(num_frames: int, crop: int):
    spec = ClipSpec(num_frames=num_frames, crop=crop)

    with pytest.raises(
        ValueError, match=f"s3d, got {num_frames} frames of {crop} x {crop} .*; take longer clips"
    ) as info:
        create_model("s3d", num_classes=5, num_frames=num_frames, spec=spec)

    assert "\n" not in str(info.value)


def test_a_temporal_layer_is_refused_before_weights_are_looked_for(torch_home: Path):
    with pytest.raises(ValueError, match="temporal must be none"):
        create_model("r3d_18", num_classes=5, temporal="sth", pretrained=True)


def test_temporalize_refuses_a_whole_video_network():
    with pytest.raises(ValueError, match="backbone must be a 2D network, got mc3_18, which is a whole video network"):
        temporalize(create_backbone("mc3_18"), "tsm", num_frames=4)


@pytest.mark.parametrize(("name", "near"), [("r3d_19", "r3d_18"), ("swin3d_s", "swin3d_t"), ("mvit_v2_b", "mvit_v2_s")])
def test_an_unknown_name_gets_the_nearest_ones(name: str, near: str):
    with pytest.raises(ValueError, match=f"got '{name}'; the nearest are .*{near}"):
        create_backbone(name)


def test_a_video_network_has_no_sites_and_says_so(capsys: pytest.CaptureFixture[str]):
    assert main(["sites", "r3d_18"]) == 0
    assert capsys.readouterr().out.startswith("r3d_18: a whole video network, which")
    assert main(["sites", "r3d_18", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["blocks"] == []


def test_profile_counts_a_video_network(capsys: pytest.CaptureFixture[str]):
    assert main(["profile", "--backbone", "mc3_18"]) == 2
    assert "add --model.temporal none (to `kinema profile`, --temporal none)" in capsys.readouterr().err
    assert main(["profile", "--backbone", "mc3_18", "--temporal", "none", "--num_classes", "400", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == published_weights("mc3_18").meta["num_params"]
