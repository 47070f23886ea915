"""Training on data with bad files: they are left out of their batch, counted, named once, and too many end the run."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch.utils.data import default_collate

from kinema.cli import main
from kinema.data.annotations import Sample
from kinema.data.video.opening import VideoError
from kinema.engine.fingerprint import hash_data
from kinema.engine.recipe import ClipRecipe, DataRecipe, ModelRecipe, Recipe, TrainerRecipe
from kinema.engine.recipe.files import recipe_to_json
from kinema.engine.training.data import read_data
from kinema.engine.training.train import train
from kinema.engine.training.unreadable import CollateReadable, ReadableClips, Unreadable, UnreadableVideos
from kinema.models.weights import read_metadata


def small_recipe(root, out, *, epochs=2, workers=0):
    return Recipe(
        out=str(out),
        data=DataRecipe(root=str(root), num_workers=workers),
        clip=ClipRecipe(num_frames=4, resize=32, crop=32),
        model=ModelRecipe(backbone="test_resnet", temporal="tsm", pretrained=False),
        trainer=TrainerRecipe(epochs=epochs, batch_size=4),
    )


def quiet():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def root(motion_root, tmp_path):
    """A copy of the motion dataset: 24 training videos, 8 held out."""
    return shutil.copytree(motion_root, tmp_path / "data")


def training_videos(root):
    return sorted((root / "train").rglob("*.mp4"))


def name(root, path):
    return path.relative_to(root).as_posix()


def printed(console):
    return console.file.getvalue()


def tolerant(recipe, *, share=0.1, **data):
    return replace(recipe, data=replace(recipe.data, max_unreadable=share, **data))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_among_many_is_left_out_and_named_once(root, tmp_path, workers):
    bad = training_videos(root)[5]
    bad.write_bytes(b"no video")
    console = quiet()
    recipe = tolerant(small_recipe(root, tmp_path / "run", workers=workers))
    result = train(recipe, console=console)
    lines = [line for line in printed(console).splitlines() if line.startswith("unreadable, left out of training")]
    assert len(lines) == 2  # once when it was met, in two epochs; once in the summary
    assert lines[0].startswith(f"unreadable, left out of training: {name(root, bad)}: ")
    assert "not a video that can be opened" in lines[0]
    assert "1 of 24 training videos (4.2%)" in lines[1]
    (entry,) = [json.loads(line) for line in (tmp_path / "run" / "unreadable.jsonl").read_text().splitlines()]
    assert (entry["name"], entry["kind"]) == (name(root, bad), "unreadable")
    assert dict(result.training.errors).keys() == {name(root, bad)}


def test_what_is_learned_does_not_depend_on_what_stands_in_the_bad_file(root, tmp_path):
    bad = training_videos(root)[5]
    weights = []
    for number, content in enumerate((b"no video", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", b"")):
        bad.write_bytes(content)
        recipe = tolerant(small_recipe(root, tmp_path / f"run{number}", epochs=1, workers=number % 2))
        weights.append(load_file(train(recipe, console=quiet()).last))
    for other in weights[1:]:
        assert all(torch.equal(weights[0][key], other[key]) for key in weights[0])


def test_too_many_bad_files_end_the_run_in_one_sentence(root, tmp_path):
    for bad in training_videos(root)[:4]:
        bad.write_bytes(b"no video")
    with pytest.raises(VideoError) as caught:
        train(tolerant(small_recipe(root, tmp_path / "run")), console=quiet())
    message = str(caught.value)
    assert "\n" not in message
    assert "data.max_unreadable must not be exceeded, got 3 of 24 training videos (12.5%)" in message
    assert f"kinema data check {root} --quarantine FILE" in message
    assert "--data.max_unreadable" in message
    assert len((tmp_path / "run" / "unreadable.jsonl").read_text().splitlines()) >= 3


def test_missing_files_end_a_run_before_it_begins(root, tmp_path, monkeypatch):
    for gone in training_videos(root)[:2]:
        gone.unlink()
        gone.symlink_to(tmp_path / "gone.mp4")
    monkeypatch.setattr("kinema.engine.training.train.make_model", None)
    with pytest.raises(VideoError, match=r"got 2 of 24 training videos \(8\.3%\) that are missing or unreadable"):
        train(tolerant(small_recipe(root, tmp_path / "run"), share=0.05), console=quiet())
    assert not (tmp_path / "run").exists()


def test_missing_files_below_the_share_are_named_and_counted_once(root, tmp_path):
    gone = training_videos(root)[0]
    gone.unlink()
    gone.symlink_to(tmp_path / "gone.mp4")
    console = quiet()
    train(tolerant(small_recipe(root, tmp_path / "run", epochs=1)), console=console)
    assert printed(console).count(f"left out of training: {name(root, gone)}") == 1
    assert "1 of 24 training videos" in printed(console)


def test_one_bad_video_of_forty_is_above_the_share_of_one_in_a_hundred(tmp_path):
    samples = [Sample(path=tmp_path / f"{number}.mp4", class_name="a") for number in range(40)]
    videos = UnreadableVideos(samples, root="videos", max_share=0.01, file=tmp_path / "list")
    with pytest.raises(VideoError, match=r"got 1 of 40 training videos \(2\.5%\)"):
        videos.note({"errors": {3: "broken"}})


def test_of_many_videos_some_that_lie_evenly_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("kinema.engine.training.unreadable.MAX_LOOKED_FOR", 5)
    asked = []
    monkeypatch.setattr("kinema.engine.training.unreadable.size_of", lambda path: asked.append(path.stem) or 1)
    samples = [Sample(path=tmp_path / f"{number}.mp4", class_name="a") for number in range(41)]
    UnreadableVideos(samples, root="videos", max_share=0.01, file=tmp_path / "list").look_for_missing()
    assert asked == ["0", "10", "20", "30", "40"]


def test_parts_of_one_video_are_named_once_and_a_name_with_a_newline_stays_in_a_line(tmp_path):
    path = tmp_path / "a\nb.mp4"
    samples = [Sample(path=path, class_name="a", name=f"a\nb.mp4#{number}") for number in range(10)]
    said = []
    videos = UnreadableVideos(samples, root="videos", max_share=0.5, file=tmp_path / "list.jsonl")
    videos.say = said.append
    videos.note({"errors": {3: "broken\nso", 4: "broken"}})
    videos.note({"errors": {3: "broken", 5: "broken"}})
    assert said == [r"unreadable, left out of training: a\nb.mp4#3: broken\nso"]
    assert sorted(videos.reasons) == [3, 4, 5]
    listed = [json.loads(line)["name"] for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    assert listed == ["a\nb.mp4#3", "a\nb.mp4#4", "a\nb.mp4#5"]


def test_a_batch_is_collated_without_its_unreadable_items_and_an_empty_one_is_skipped():
    items = [{"clip": torch.full((2,), float(number)), "label": number, "index": number} for number in range(3)]
    collate = CollateReadable()
    batch = collate([items[0], Unreadable(7, "broken"), items[2]])
    expected = default_collate([items[0], items[2]])
    assert batch.pop("errors") == {7: "broken"}
    assert batch.keys() == expected.keys()
    assert all(torch.equal(batch[key], expected[key]) for key in expected)
    assert collate([Unreadable(7, "broken")]) == {"errors": {7: "broken"}}


def test_only_an_error_of_the_video_stands_in_for_a_clip():
    class Clips:
        samples = ()

        def __getitem__(self, key):
            raise VideoError("a.mp4: broken") if key[1] else KeyError("a fault of the program")

    clips = ReadableClips(Clips())
    assert clips[0, 1] == Unreadable(1, "a.mp4: broken")
    with pytest.raises(KeyError):
        clips[0, 0]


def test_a_batch_without_a_readable_video_moves_nothing(root, tmp_path):
    for bad in training_videos(root)[:8]:
        bad.write_bytes(b"no video")
    recipe = tolerant(small_recipe(root, tmp_path / "run", epochs=1), share=0.5)
    recipe = replace(recipe, trainer=replace(recipe.trainer, batch_size=1))
    result = train(recipe, console=quiet())
    assert all(torch.isfinite(tensor).all() for tensor in load_file(result.last).values() if tensor.is_floating_point())
    assert len((tmp_path / "run" / "unreadable.jsonl").read_text().splitlines()) == 8


def test_a_run_with_a_bad_file_goes_on_as_if_never_stopped(root, tmp_path):
    training_videos(root)[5].write_bytes(b"no video")
    whole = train(tolerant(small_recipe(root, tmp_path / "whole")), console=quiet())
    stopped = tolerant(small_recipe(root, tmp_path / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        train(stopped, console=InterruptedInItsSecondEpoch())
    again = train(tolerant(small_recipe(root, tmp_path / "stopped")), resume=True, console=quiet())
    first, second = load_file(whole.last), load_file(again.last)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_quarantine_leaves_videos_out_and_says_so(root, tmp_path, capsys):
    bad = training_videos(root)[5]
    bad.write_bytes(b"no video")
    listed = tmp_path / "bad.jsonl"
    listed.write_text(json.dumps({"name": name(root, bad), "reason": "broken"}) + '\n\n{"name": "gone.mp4"}\n')
    console = quiet()
    plain = small_recipe(root, tmp_path / "run", epochs=1)
    recipe = replace(plain, data=replace(plain.data, quarantine=str(listed)))
    result = train(recipe, console=console)
    said = f"quarantine: 1 of 32 videos left out by {listed}; 1 line names nothing in the data"
    assert said in printed(console)
    assert "23 train (8 classes" in printed(console)
    assert "unreadable" not in printed(console)
    metadata = read_metadata(result.last)
    assert json.loads(metadata["recipe"])["data"]["quarantine"] == "bad.jsonl"
    assert str(tmp_path) not in recipe_to_json(result.recipe)
    fields = ["--data.root", str(root), "--data.num_workers", "0", "--split", "train"]
    assert main(["evaluate", str(result.last), *fields, "--data.quarantine", str(listed)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "quarantine: 1 of 24 videos left out by" in shown
    assert main(["evaluate", str(result.last), *fields]) == 1
    captured = capsys.readouterr()
    assert f"{name(root, bad)} counts as wrong" in captured.err


def test_a_quarantine_does_not_move_the_split(root, tmp_path):
    plain = small_recipe(root / "train", tmp_path / "run")
    before = read_data(plain)
    gone = before.val[0].name
    (tmp_path / "bad.jsonl").write_text(json.dumps({"name": gone}))
    after = read_data(replace(plain, data=replace(plain.data, quarantine=str(tmp_path / "bad.jsonl"))))
    assert after.train == before.train
    assert [sample.name for sample in after.val] == [sample.name for sample in before.val[1:]]
    assert after.hash != before.hash
    assert after.fingerprint["data"] == before.fingerprint["data"]


@pytest.mark.parametrize(
    "text", ["a.mp4\n", "[]\n", '{"path": "a.mp4"}\n', '{"name": 3}\n', '{"name": "a"', "{" * 5000, "a\0b"]
)
def test_a_file_that_is_no_quarantine_is_refused_in_one_sentence(root, tmp_path, capsys, text):
    file = tmp_path / "list.txt"
    file.write_text('{"name": "b.mp4"}\n' + text)
    out = tmp_path / "run"
    assert main(["train", "--data.root", str(root), "--out", str(out), "--data.quarantine", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert f"{file}, line 2, must be " in captured.err


def test_a_missing_file_has_a_hash_too(tmp_path):
    there = Sample(path=tmp_path / "a.mp4", class_name="a", name="a.mp4")
    missing = hash_data([there])
    (tmp_path / "a.mp4").write_bytes(b"")
    assert hash_data([there]) != missing
    assert hash_data([there]) == hash_data([there])


class InterruptedInItsSecondEpoch(Console):
    """A console that interrupts a run when its second epoch is told of, before its checkpoint is written."""

    def __init__(self):
        super().__init__(file=io.StringIO(), width=200)

    def print(self, *objects, **options):
        if objects and str(objects[0]).startswith("epoch 2/"):
            raise KeyboardInterrupt
        super().print(*objects, **options)


def test_what_was_found_before_a_run_was_stopped_is_neither_forgotten_nor_told_again(tmp_path):
    samples = [Sample(tmp_path / f"{number}.mp4", "a") for number in range(10)]
    said = []
    for start in (0, 1):
        videos = UnreadableVideos(samples, root="data", max_share=0.5, file=tmp_path / "unreadable.jsonl")
        videos.say = said.append
        videos.restore()
        videos.note({"errors": {number: f"reason {number}" for number in range(start, start + 2)}})
    assert videos.reasons == {number: f"reason {number}" for number in range(3)}
    assert len(said) == 3
    assert len((tmp_path / "unreadable.jsonl").read_text().splitlines()) == 3
