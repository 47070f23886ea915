from __future__ import annotations

import itertools
import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.models.classifier import ModelConfig, VideoClassifier, create_model
from kinema.models.cost import cost
from kinema.models.heads import HEADS, MAX_POOL, RelationHead, spread_tuples
from kinema.models.weights import initialize_from, load_model, read_metadata, save_model
from kinema.spec import ClipSpec
from networks import randomize_


def small_model(head: str = "trn", *, num_frames: int = 4, **options) -> VideoClassifier:
    model = create_model("test_resnet", head=head, num_frames=num_frames, num_classes=5, **options)
    return randomize_(model).eval()


def clips(num_clips: int = 2, num_frames: int = 4) -> Tensor:
    return torch.randn(num_clips, num_frames, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def relations_slowly(head: RelationHead, features: Tensor) -> Tensor:
    """Clip by clip, length by length and tuple by tuple: features [N, T, D]."""
    num_frames = features.shape[1]
    rows = []
    for clip in features:
        frames = [head.embed.weight @ frame + head.embed.bias for frame in clip]
        logits = torch.zeros(head.relations[0][3].out_features)
        for length in range(2, num_frames + 1):
            _, first, _, last = head.relations[num_frames - length]
            tuples = list(itertools.combinations(range(num_frames), length))
            count = min(3, len(tuples))
            for part in range(count):
                chosen = tuples[int((part + 0.5) * len(tuples) / count)]
                side_by_side = torch.cat([frames[frame] for frame in chosen])
                hidden = first.weight @ side_by_side.clamp_min(0) + first.bias
                logits = logits + last.weight @ hidden.clamp_min(0) + last.bias
        rows.append(logits)
    return torch.stack(rows)


@pytest.mark.parametrize("num_frames", [2, 3, 4, 6])
def test_trn_equals_the_definition(num_frames: int):
    head = randomize_(RelationHead(7, 5, num_frames=num_frames)).eval()
    features = torch.randn(2, num_frames, 7)

    with torch.no_grad():
        torch.testing.assert_close(head(features), relations_slowly(head, features))


def test_trn_has_the_official_codes_layers():
    head = RelationHead(2048, 174, num_frames=8)

    shapes = [(tuple(scale[1].weight.shape), tuple(scale[3].weight.shape)) for scale in head.relations]

    assert tuple(head.embed.weight.shape) == (256, 2048)
    assert shapes == [((256, length * 256), (174, 256)) for length in (8, 7, 6, 5, 4, 3, 2)]
    assert [len(scale.fixed) for scale in head.relations] == [1, 3, 3, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("num_frames", "length", "number", "rows"),
    [
        (4, 4, 3, [[0, 1, 2, 3]]),
        (3, 2, 3, [[0, 1], [0, 2], [1, 2]]),
        (4, 3, 3, [[0, 1, 2], [0, 2, 3], [1, 2, 3]]),
        (4, 2, 3, [[0, 2], [1, 2], [2, 3]]),
        (4, 2, 1, [[1, 2]]),
    ],
)
def test_tuples_are_spread_over_all(num_frames: int, length: int, number: int, rows: list[list[int]]):
    assert spread_tuples(num_frames, length, number).tolist() == rows


@pytest.mark.parametrize("length", range(1, 8))
def test_all_tuples_come_in_lexicographic_order(length: int):
    assert spread_tuples(7, length, MAX_POOL).tolist() == [
        list(row) for row in itertools.combinations(range(7), length)
    ]


def test_long_clips_draw_from_some_of_their_tuples():
    pool = spread_tuples(40, 20, MAX_POOL)

    assert len(pool.unique(dim=0)) == MAX_POOL
    assert (pool.diff(dim=1) > 0).all()
    assert (pool[0, 0], pool[-1, -1]) == (0, 39)


def test_trn_sees_the_order_of_frames_where_no_layer_does():
    model, x = small_model(), clips()

    with torch.no_grad():
        assert (model(x) - model(x[:, [2, 0, 3, 1]])).abs().max() > 1e-3


def test_clips_do_not_mix():
    model, x = small_model(), clips()

    with torch.no_grad():
        # Convolutions of other batch sizes may sum in another order.
        torch.testing.assert_close(model(x), torch.cat([model(x[:1]), model(x[1:])]), atol=1e-4, rtol=1e-4)


def test_every_parameter_gets_a_gradient():
    model = small_model()

    model(clips()).square().sum().backward()

    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


def test_trn_is_the_same_at_every_call_in_evaluation():
    model, x = small_model(num_frames=6), clips(num_frames=6)

    with torch.no_grad():
        assert torch.equal(model(x), model(x))


def test_trn_draws_in_training_from_torchs_random_numbers():
    head = randomize_(RelationHead(7, 5, num_frames=6)).train()
    features = torch.randn(1, 6, 7)

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return head(features)

    assert torch.equal(drawn(0), drawn(0))
    assert len({tuple(drawn(seed)[0].tolist()) for seed in range(8)}) == 8


def test_trn_draws_no_tuple_twice():
    head = RelationHead(7, 5, num_frames=4).train()
    seen = set()

    for _ in range(50):
        drawn = head.relations[1]._drawn()  # tuples of three of four frames, of which there are four
        assert len(drawn.unique(dim=0)) == 3
        seen |= {tuple(row) for row in drawn.tolist()}

    assert len(seen) == 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_trn_keeps_the_precision(dtype: torch.dtype):
    head = RelationHead(7, 5, num_frames=4).to(dtype)

    assert head(torch.randn(2, 4, 7, dtype=dtype)).dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("temporal_pool", [False, True])
def test_trn_exports_with_any_batch(temporal_pool: bool):
    model = small_model(temporal_pool=temporal_pool)

    program = torch.export.export(model, (clips(),), dynamic_shapes=({0: torch.export.Dim("num_clips", min=1)},))

    for num_clips in (1, 3):
        with torch.no_grad():
            torch.testing.assert_close(program.module()(clips(num_clips)), model(clips(num_clips)))


def test_trn_relates_the_frames_behind_a_temporal_pool():
    model = small_model(num_frames=6, temporal_pool=True)

    assert model.head.num_frames == 3
    assert model(clips(num_frames=6)).shape == (2, 5)
    model.set_num_frames(5)  # three frames too
    assert model(clips(num_frames=5)).shape == (2, 5)


def test_trn_refuses_another_number_of_frames_and_changes_nothing():
    model, x = small_model(temporal="tsm"), clips()
    before = model(x)

    with pytest.raises(ValueError, match=r"num_frames must stay 4 behind the backbone for head 'trn'.*, got 6"):
        model.set_num_frames(6)

    assert (model.spec.num_frames, model.config.num_frames) == (4, 4)
    assert torch.equal(model(x), before)


def test_a_layer_that_refuses_another_number_of_frames_leaves_the_head_alone():
    model = create_model("test_resnet", temporal="tam", num_frames=4, num_classes=5)

    with pytest.raises(ValueError, match="num_frames must stay 4 in a TemporalAdaptive"):
        model.set_num_frames(6)

    assert model(clips()).shape == (2, 5)


def test_the_head_is_kept_with_the_weights(tmp_path):
    model = small_model()
    save_model(tmp_path / "m.safetensors", model)

    assert json.loads(read_metadata(tmp_path / "m.safetensors")["config"])["head"] == "trn"
    assert torch.equal(load_model(tmp_path / "m.safetensors")(clips()), model(clips()))


def test_a_config_without_a_head_has_the_linear_one():
    config = create_model("test_resnet", num_classes=5).config
    values = json.loads(config.to_json())
    del values["head"]

    assert ModelConfig.from_json(json.dumps(values)) == config


def test_the_linear_head_keeps_its_keys():
    model = create_model("test_resnet", num_classes=5)

    assert [key for key in model.state_dict() if key.startswith("head.")] == ["head.weight", "head.bias"]


def test_another_head_starts_anew_on_the_old_backbone(tmp_path):
    spec = ClipSpec(num_frames=4, class_names=tuple("abcde"))
    source = small_model("linear", spec=spec)
    save_model(tmp_path / "m.safetensors", source)
    model = create_model("test_resnet", head="trn", num_frames=4, num_classes=5, spec=spec)

    lines = initialize_from(model, tmp_path / "m.safetensors")

    assert torch.equal(model.backbone.conv1[0].weight, source.backbone.conv1[0].weight)
    assert "anew: head.embed.weight" in lines[1]
    assert lines[2] == "  unused: head.bias, head.weight"


def test_cost_counts_the_relations():
    with torch.device("meta"):
        linear, trn = (create_model("resnet50", num_classes=174, head=head) for head in HEADS)
    linear, trn = cost(linear, size=224), cost(trn, size=224)

    plain = 2048 * 174
    embed = 2048 * 256
    per_tuple = {length: length * 256 * 256 + 256 * 174 for length in range(2, 9)}
    tuples = {length: 3 if length < 8 else 1 for length in per_tuple}
    biases = 256 + 7 * (256 + 174) - 174
    assert trn.parameters - linear.parameters == embed - plain + sum(per_tuple.values()) + biases
    assert trn.macs - linear.macs == 8 * (embed - plain) + sum(tuples[k] * per_tuple[k] for k in tuples)
    assert sum(layer.macs for layer in trn.layers) == trn.macs
    assert trn.activation_bytes > 0
    assert round(trn.parameters / 1e6, 2) == 26.64  # as mmaction2 prints


def test_cost_leaves_the_random_numbers_alone():
    model = create_model("test_resnet", num_classes=5, head="trn")
    torch.manual_seed(0)
    expected = torch.rand(())
    torch.manual_seed(0)

    cost(model, size=32)

    assert torch.equal(torch.rand(()), expected)


def test_linear_logits_are_the_mean_of_linear_layers():
    model, x = small_model("linear"), clips()

    with torch.no_grad():
        features = model.backbone(x.flatten(0, 1)).unflatten(0, (2, 4))
        expected = sum(F.linear(features[:, t], model.head.weight, model.head.bias) for t in range(4)) / 4
        torch.testing.assert_close(model(x), expected)


def test_trn_has_no_logits_of_single_frames():
    with pytest.raises(ValueError, match="head must be 'linear' for logits of single frames, got 'trn'"):
        small_model().frame_logits(clips())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"head": "tnr"}, "head must be one of linear, trn, got 'tnr'; did you mean trn"),
        ({"head": "trn", "causal": True}, "head must be 'linear' in a causal network, got 'trn'"),
        ({"head": "trn", "num_frames": 1}, "num_frames must be at least 2 behind the backbone for head 'trn'"),
        ({"head": "trn", "num_frames": 2, "temporal_pool": True}, "must be at least 2 behind the backbone .* got 1"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        create_model("test_resnet", num_classes=5, **options)
