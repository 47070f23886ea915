"""The numbers that travel with the weights: their ranges, and their way through JSON."""

from __future__ import annotations

import json
import math

import pytest

from kinema.spec import ClipSpec


def test_a_spec_comes_back_from_json():
    spec = ClipSpec(num_frames=4, resize=72, crop=64, span_seconds=1.5, class_names=("été", "走る"))
    assert ClipSpec.from_json(spec.to_json()) == spec


def test_a_spec_from_before_there_were_stacks_has_none():
    spec = ClipSpec(num_frames=4, class_names=("a", "b"))
    values = json.loads(spec.to_json())
    del values["stack"]
    assert ClipSpec.from_json(json.dumps(values)) == spec
    assert ClipSpec.from_json(ClipSpec(stack=5).to_json()).stack == 5


def test_a_spec_from_before_there_were_windows_takes_segments():
    spec = ClipSpec(num_frames=4, class_names=("a", "b"))
    values = json.loads(spec.to_json())
    del values["stride"], values["stride_seconds"]
    assert ClipSpec.from_json(json.dumps(values)) == spec
    strided = ClipSpec(sampling="stride", stride_seconds=0.25)
    assert ClipSpec.from_json(strided.to_json()) == strided


def test_lists_become_tuples():
    assert ClipSpec(class_names=["a", "b"], mean=[0.5] * 3, std=[0.5] * 3).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_frames": 0}, "num_frames must be a whole number of at least 1, got 0"),
        ({"num_frames": 8.0}, r"num_frames must be a whole number of at least 1, got 8\.0"),
        ({"stack": 0}, "stack must be an odd whole number of at least 1, got 0; TDN takes 5"),
        ({"stack": 4}, "stack must be an odd whole number of at least 1, got 4"),
        ({"stack": 5.0}, r"stack must be an odd whole number of at least 1, got 5\.0"),
        ({"crop": 300}, "crop must lie between 1 and resize, got crop 300 and resize 256"),
        ({"resize": "256"}, "resize must be a whole number of at least 1, got '256'"),
        ({"sampling": "random"}, "sampling must be one of segments, dense, stride, got 'random'"),
        ({"sampling": "stride"}, "stride must be given where sampling is 'stride', .* got None and None"),
        (
            {"sampling": "stride", "stride": 4, "stride_seconds": 0.5},
            r"stride must be given where sampling is 'stride', in frames or else as stride_seconds, got 4 and 0\.5",
        ),
        ({"stride": 4}, "stride must be left out unless sampling is 'stride', got 4; drop it"),
        ({"sampling": "dense", "stride_seconds": 0.5}, "stride_seconds must be left out unless sampling is 'stride'"),
        ({"sampling": "stride", "stride": 0}, "stride must be a whole number of at least 1, got 0"),
        ({"sampling": "stride", "stride": 2.0}, r"stride must be a whole number of at least 1, got 2\.0"),
        ({"sampling": "stride", "stride_seconds": 0.0}, r"stride_seconds must be positive, got 0\.0"),
        ({"sampling": "stride", "stride_seconds": math.inf}, "stride_seconds must be positive, got inf"),
        ({"sampling": "dense", "num_frames": 65}, "num_frames must be at most 64, the window of sampling 'dense', got"),
        ({"interpolation": "nearest"}, "interpolation must be one of bilinear, bicubic, got 'nearest'"),
        ({"mean": (0.5,)}, "mean and std must have one finite value per channel"),
        ({"mean": (math.nan,) * 3}, "mean and std must have one finite value per channel"),
        ({"std": (1.0, 0.0, 1.0)}, "std be positive"),
        ({"mean": (), "std": ()}, "mean and std must have one finite value per channel"),
        ({"num_frames": True}, "num_frames must be a whole number of at least 1, got True"),
        ({"mean": 0.5}, r"mean must be a sequence of numbers, got 0\.5"),
        ({"class_names": None}, "class_names must be a sequence of names, got None"),
        ({"class_names": "walk"}, "class_names must be a sequence of names, got 'walk'"),
        ({"class_names": ("a", "b", "a")}, r"class_names must be distinct, got \['a'\] more than once"),
    ],
)
def test_what_cannot_be_is_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        ClipSpec(**values)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("[]", "a clip spec must be a JSON object, got '\\[\\]'"), ('{"fps": 3}', "only known fields, got \\['fps'\\]")],
)
def test_json_of_something_else_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        ClipSpec.from_json(text)
