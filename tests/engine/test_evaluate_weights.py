"""Which videos of a dataset are scored: nothing that was trained on passes for held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kinema.data.annotations import Sample
from kinema.engine.evaluate_weights import check_answers, choose_samples
from kinema.engine.fingerprint import hash_data
from kinema.engine.recipe import DataRecipe, Recipe
from kinema.engine.recipe.files import recipe_to_json


@pytest.fixture
def dataset(tmp_path):
    """Makes samples by (number, split): `dataset(train=4, val=2)`, or `dataset(none=6)` without a split."""

    def make(**parts):
        samples = []
        for split, count in parts.items():
            for number in range(count):
                path = tmp_path / f"{split}{number}.mp4"
                path.write_bytes(b"x" * number)
                name = f"hall{number // 2}/{path.name}"
                samples.append(
                    Sample(path=path, class_name="ab"[number % 2], split=None if split == "none" else split, name=name)
                )
        return samples

    return make


def metadata_of(samples):
    recipe = Recipe(data=DataRecipe(root="videos", val_fraction=0.3, group_pattern="hall."))
    return {"recipe": recipe_to_json(recipe), "fingerprint": json.dumps({"data": hash_data(samples)})}


def splits(samples):
    return sorted({sample.split or "none" for sample in samples})


@pytest.mark.parametrize(
    ("parts", "same_data", "split", "chosen", "words"),
    [
        ({"train": 4, "val": 2}, True, "auto", ["val"], "2 held-out videos of 6"),
        ({"train": 4, "val": 2}, False, "auto", ["val"], "2 held-out videos of 6"),
        ({"train": 4, "val": 2}, False, "val", ["val"], "2 held-out videos of 6"),
        ({"train": 4, "val": 2}, False, "train", ["train"], "4 training videos of 6"),
        (
            {"train": 4, "val": 2},
            False,
            "all",
            ["train", "val"],
            "all 6 videos, some of which may have been trained on",
        ),
        ({"none": 4}, True, "all", ["none"], "all 4 videos, some of which were trained on"),
        ({"train": 4, "val": 2, "test": 3}, True, "test", ["test"], "3 test videos of 9"),
        ({"train": 4, "test": 3}, False, "auto", ["test"], "3 test videos of 7"),
        ({"test": 3}, False, "auto", ["test"], "3 held-out videos of 3"),
        ({"train": 10, "test": 3}, True, "auto", ["train"], "2 held-out videos of 13"),
        ({"none": 10}, True, "auto", ["none"], "2 held-out videos of 10"),
        ({"none": 10}, True, "train", ["none"], "8 training videos of 10"),
        ({"none": 10}, False, "auto", ["none"], "all 10 videos, some of which may have been trained on"),
        ({"train": 10}, False, "auto", ["train"], "all 10 videos, some of which may have been trained on"),
    ],
)
def test_what_is_scored_is_what_was_held_out_where_that_is_known(dataset, parts, same_data, split, chosen, words):
    samples = dataset(**parts)
    metadata = metadata_of(samples) if same_data else {}

    picked, said = choose_samples(samples, split=split, metadata=metadata)

    assert (splits(picked), said) == (chosen, words)


def test_training_and_held_out_videos_share_no_group(dataset):
    samples = dataset(none=10)
    train, val = (choose_samples(samples, split=name, metadata=metadata_of(samples))[0] for name in ("train", "val"))
    halls = [{sample.name.split("/")[0] for sample in part} for part in (train, val)]
    assert halls[0].isdisjoint(halls[1])
    assert len(train) + len(val) == 10


def test_weights_of_other_data_score_it_whatever_pattern_they_were_trained_with(dataset):
    samples = dataset(none=4)
    picked, _ = choose_samples(samples, split="auto", metadata=metadata_of(samples[:3]))
    assert len(picked) == 4


@pytest.mark.parametrize(
    ("parts", "split", "sentence"),
    [
        ({"none": 4}, "val", "split must be all for data that has no val part and was not trained on by these weights"),
        ({"none": 4}, "train", "split must be all for data that has no val part"),
        ({"train": 4, "test": 2}, "val", "split must be test or all for data that has no val part"),
        ({"none": 4}, "test", "got test; the data has no parts of its own"),
        ({"train": 4, "val": 2}, "test", "got test; the data has train, val"),
    ],
)
def test_a_part_that_nobody_can_name_is_refused(dataset, parts, split, sentence):
    with pytest.raises(ValueError, match=sentence):
        choose_samples(dataset(**parts), split=split, metadata={})


def test_videos_whose_classes_are_kept_back_are_not_scored():
    known, blank = Sample(Path("a.mp4"), "jump", "test"), Sample(Path("b.mp4"), "", "test")
    check_answers([known], split="test")
    with pytest.raises(ValueError, match=r"got test, with 1 videos without one, such as b\.mp4; take another split"):
        check_answers([known, blank], split="test")
