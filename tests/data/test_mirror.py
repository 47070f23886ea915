"""Which classes swap under a horizontal flip, found from their names."""

from __future__ import annotations

import json

import pytest

from kinema.data.mirror import find_mirrors


def partners(class_names, **options):
    mirrors = find_mirrors(class_names, **options)
    return [mirrors.label(label) for label in range(len(class_names))]


def swaps(class_names):
    return {i: j for i, j in enumerate(partners(class_names)) if j is not None and i < j}


def read_lines(path):
    return [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [
        ("turn left", "turn right"),
        ("TurnLeft", "TurnRight"),
        ("turnLeft", "turn_right"),
        ("turn_left", "turn_right"),
        ("SwipeLeft", "SwipeRight"),
        ("SWIPE_LEFT", "SWIPE_RIGHT"),
        ("swipeleft", "swiperight"),
        ("turnclockwise", "turncounterclockwise"),
        ("rotateclockwise", "rotateanticlockwise"),
        ("Swiping Left", "Swiping Right"),
        ("left-hand wave", "right-hand wave"),
        ("lefthanded throw", "righthanded throw"),
        ("step leftward", "step rightward"),
        ("step leftwards", "step rightwards"),
        ("left2right", "right2left"),
        ("Pulling something from left to right", "Pulling something from right to left"),
        ("clockwise", "counter-clockwise"),
        ("turning clockwise", "turning counter-clockwise"),
        ("turning clockwise", "turning counterclockwise"),
        ("turning clockwise", "turning counter clockwise"),
        ("turning clockwise", "turning anti-clockwise"),
        ("Turning Clockwise", "turning_anticlockwise"),
        ("TurnClockwise", "TurnCounterClockwise"),
        ("TurnClockWise", "TurnAntiClockWise"),
        ("rotate_cw", "rotate_ccw"),
        ("RotateCW", "RotateCCW"),
        ("spin left clockwise", "spin right counter-clockwise"),
        ("moving left", "moving right"),
    ],
)
def test_names_that_are_mirror_images_swap(name, mirrored):
    assert partners(["bright", name, "walking", mirrored]) == [0, 3, 2, 1]
    assert partners([mirrored, name]) == [1, 0]


@pytest.mark.parametrize(
    "name",
    [
        "bright light",
        "copyright",
        "eating leftovers",
        "upright",
        "leftover",
        "moving up",
        "approaching",
        "clock",
        "otherwise",
        "ccwx",
        "12",
        "",
    ],
)
def test_a_name_without_a_direction_word_is_neutral(name):
    assert partners([name, "walking"]) == [0, 1]


@pytest.mark.parametrize(
    "name", ["turn left", "TurnRight", "right", "rotate_cw", "anti-clockwise", "from left to right"]
)
def test_a_direction_whose_mirror_image_is_no_class_is_never_mirrored(name):
    assert partners(["walking", name]) == [0, None]


def test_both_words_of_a_name_are_exchanged_at_once():
    names = ["left to right", "right to left", "left to left", "right to right"]
    assert partners(names) == [1, 0, 3, 2]


def test_two_writings_of_one_name_are_not_guessed_between():
    assert partners(["turn left", "Turn_Left", "turn right"]) == [None, None, None]


def test_any_label_order_gives_the_same_pairs():
    names = ["moving right", "a", "turning counter-clockwise", "moving left", "b", "turning clockwise"]
    assert partners(names) == [3, 1, 5, 0, 4, 2]
    assert partners(names[::-1]) == [3, 1, 5, 0, 4, 2]
    assert partners(sorted(names)) == [0, 1, 3, 2, 5, 4]


def test_the_pairs_of_something_something_v1_are_found_in_both_orders(shared_dir):
    folder = shared_dir / "annotations" / "somethingv1"
    assert swaps(read_lines(folder / "something-something-v1-labels.csv")) == {2: 4, 30: 41, 52: 66}
    assert swaps(read_lines(folder / "category_trn_style.txt")) == {86: 87, 93: 94, 166: 167}


def test_the_pairs_of_something_something_v2_are_found(shared_dir):
    labels = json.loads((shared_dir / "annotations/somethingv2/something-something-v2-labels.json").read_text())
    assert swaps(sorted(labels, key=lambda name: int(labels[name]))) == {86: 87, 93: 94, 166: 167}


def test_the_pairs_of_jester_are_found_with_its_turning_gestures(shared_dir):
    names = read_lines(shared_dir / "annotations/jester/jester-v1-labels.csv")
    assert swaps(names) == {0: 1, 6: 7, 14: 15}
    assert names[14:16] == ["Turning Hand Clockwise", "Turning Hand Counterclockwise"]
    assert partners(names).count(None) == 0


def test_an_override_names_a_pair_that_the_names_do_not_tell():
    names = ["links", "rechts", "gehen"]
    assert partners(names) == [0, 1, 2]
    assert partners(names, overrides={"links": "rechts"}) == [1, 0, 2]
    assert partners(names, overrides={"links": "rechts", "rechts": "links"}) == [1, 0, 2]


@pytest.mark.parametrize("never", [None, "none"])
def test_an_override_forbids_or_allows_mirroring(never):
    names = ["reading", "stay right there", "walking"]
    assert partners(names, overrides={"reading": never, "stay right there": "stay right there"}) == [None, 1, 2]


def test_a_class_that_loses_its_partner_is_never_mirrored():
    names = ["turn left", "turn right", "veer"]
    assert partners(names, overrides={"turn left": "veer"}) == [2, None, 0]
    assert partners(names, overrides={"turn left": None}) == [None, None, 2]
    assert partners(names, overrides={"turn left": "turn left"}) == [0, None, 2]


def test_a_class_called_none_can_be_a_mirror_image():
    assert partners(["some", "none"], overrides={"some": "none"}) == [1, 0]


def test_an_override_of_an_unknown_class_names_the_nearest():
    with pytest.raises(
        ValueError, match="mirrors must name classes of the data, got 'turn lift'; did you mean turn left"
    ):
        find_mirrors(["turn left", "walk"], overrides={"turn lift": None})
    with pytest.raises(ValueError, match="got 'wallk'; did you mean walk"):
        find_mirrors(["turn left", "walk"], overrides={"turn left": "wallk"})


@pytest.mark.parametrize("overrides", [{"a": "b", "b": "c"}, {"a": "c", "b": "c"}, {"a": "b", "b": None}])
def test_overrides_that_contradict_each_other_are_refused(overrides):
    with pytest.raises(ValueError, match="mirrors must give each class one mirror image"):
        find_mirrors(["a", "b", "c"], overrides=overrides)


def test_the_description_says_what_happens_to_every_class():
    text = find_mirrors(["turn left", "walk", "turn right", "look left", "run"]).describe()
    assert text.splitlines() == [
        "mirror: turn left <-> turn right",
        "mirror: look left is never mirrored (no class for its mirror image)",
        "mirror: 2 of 5 classes keep their label",
    ]


def test_mirroring_twice_is_the_same_label_again():
    mirrors = find_mirrors(["turn left", "walk", "turn right", "look left", "cw", "ccw"])
    for label in range(6):
        other = mirrors.label(label)
        assert other is None or mirrors.label(other) == label
