"""Whether data and weights speak of the same classes."""

from __future__ import annotations

import pytest

from kinema.data.annotations import Annotations
from kinema.engine.class_names import compare_classes
from kinema.spec import ClipSpec


def compare(ours, theirs, **options):
    annotations = Annotations(format="csv", samples=[], class_names=tuple(ours), **options)
    return compare_classes(annotations, ClipSpec(class_names=tuple(theirs)))


@pytest.mark.parametrize(("ours", "theirs"), [("ab", "ab"), ("a", "ab"), ("bd", "abcd"), (["class_0"], ["class_0"])])
def test_weights_that_know_all_classes_fit(ours, theirs):
    assert compare(ours, theirs) == []


def test_another_order_is_said_and_matched_by_name():
    assert compare("acb", "abc") == [
        "classes stand in another order than in the weights (class 1 is 'c', there 'b'); they are matched by name"
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "sentence"),
    [
        (
            ["jump", "walk"],
            ["run", "walking"],
            r"got jump, walk only in the data, and run, walking only in the weights;",
        ),
        (["jump", "walk"], ["walk"], "got jump only in the data, and none only in the weights; known are walk"),
        (
            ["air_drumming", "abseiling"],
            ["air drumming", "abseiling"],
            r"differ only in case, blanks or underscores \('air_drumming' and 'air drumming'\): write them alike",
        ),
        (["Walk"], ["walk", "run"], r"differ only in case.*'Walk' and 'walk'"),
        (["Walk", "jumpp"], ["walk", "jump"], "did you mean jump?"),
        (
            ["class_0", "class_1"],
            ["walk", "run"],
            r"got only numbers \(class_0, class_1\); name them with --data.class_list FILE \(the weights know",
        ),
    ],
)
def test_classes_that_the_weights_do_not_know_are_refused_with_both_lists(ours, theirs, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(ours, theirs)


def test_weights_of_one_class_a_video_do_not_fit_data_of_several():
    with pytest.raises(ValueError, match="weights must be trained on videos of several classes"):
        compare("ab", "ab", multi_label=True)
