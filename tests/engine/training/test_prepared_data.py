"""Datasets that were extracted or packed train as any other, from a folder or an address, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from counting import write_counting_video
from http_files import serving
from kinema.cli import main
from kinema.data.annotations import Sample
from kinema.data.video.opening import VideoError
from kinema.engine.fingerprint import hash_data
from kinema.engine.loader_bench import LoaderBenchConfig, bench_loader, keyframe_distance
from kinema.engine.read_data import read_place
from kinema.engine.recipe import DataPlace

TINY = ["--model.backbone=test_resnet", "--model.pretrained=false", "--clip.num_frames=2", "--clip.crop=32"]
TINY += ["--clip.resize=32", "--trainer.epochs=1", "--trainer.accelerator=cpu", "--trainer.batch_size=8"]


def train(root: str, out: Path, *more: str) -> dict[str, object]:
    assert main(["train", "--data.root", root, "--out", str(out), *TINY, "--data.num_workers=0", *more]) == 0
    return yaml.safe_load((out / "recipe.yaml").read_text())


@pytest.fixture(scope="module")
def shards(motion_root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "shards"
    assert main(["data", "pack", str(motion_root), "--out", str(out), "--to", "shards", "--shard_mb", "0.01"]) == 0
    return out


def test_a_folder_of_shards_trains(shards, tmp_path, capsys):
    recipe = train(str(shards), tmp_path / "run")
    assert recipe["data"]["root"] == str(shards)
    printed = capsys.readouterr().out
    assert "shards: tar files in the layout of webdataset (shards" in printed
    assert "24 train" in printed
    assert "8 val" in printed
    assert main(["evaluate", str(tmp_path / "run" / "last.safetensors"), "--data.root", str(shards)]) == 0


def test_an_address_of_shards_trains_and_resumes(shards, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(shards) as files:
        recipe = train(files.url, tmp_path / "run")
        assert recipe["data"]["root"] == files.url
        assert "24 train" in capsys.readouterr().out
        assert main(["train", "--resume", "--out", str(tmp_path / "run")]) == 0
        assert hash_data(read_place(DataPlace(root=files.url)).samples) == hash_data(
            read_place(DataPlace(root=str(shards))).samples
        )


@pytest.mark.parametrize("command", [["extract"], ["pack", "--codec", "hevc"]])
def test_what_was_prepared_trains_from_its_root_alone(motion_root, tmp_path, capsys, command):
    out = tmp_path / "prepared"
    assert main(["data", *command, str(motion_root), "--out", str(out), "--num_workers", "2"]) == 0
    assert f"{out}: 32 videos: 32 done, 0 done before" in capsys.readouterr().out
    train(str(out), tmp_path / "run")
    printed = capsys.readouterr().out
    assert "24 train" in printed
    assert "8 val" in printed


def test_a_list_that_was_prepared_trains_as_its_own_root(motion_root, tmp_path, capsys):
    rows = [f"{path.relative_to(motion_root)},{path.parent.name},train" for path in sorted(motion_root.rglob("*.mp4"))]
    listing = tmp_path / "list.csv"
    listing.write_text("\n".join(["path,label,split", *rows]))
    out = tmp_path / "frames"
    command = ["data", "extract", str(motion_root), "--annotations", str(listing), "--out", str(out)]
    assert main(command) == 0
    assert f"--data.annotations {out / 'list.csv'}" in capsys.readouterr().out
    train(str(out / "list.csv"), tmp_path / "run", "--data.val_fraction=0.25")
    assert "24 train" in capsys.readouterr().out


def test_a_video_that_cannot_be_read_gives_exit_status_1(motion_root, tmp_path, capsys):
    root = tmp_path / "videos"
    for path in sorted(motion_root.rglob("*.mp4"))[::8]:
        link = root / path.relative_to(motion_root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    bad = link.with_name("bad.mp4")
    bad.write_bytes(b"")
    for number, command in enumerate((["extract"], ["pack"], ["pack", "--to", "shards"])):
        assert main(["data", *command, str(root), "--out", str(tmp_path / str(number))]) == 1
        output = capsys.readouterr()
        assert f"{bad}: the file is empty" in output.err
        assert "1 cannot be read" in output.out


def test_a_dataset_is_not_made_inside_the_one_it_is_made_of(motion_root, capsys):
    for command in (["extract"], ["pack"], ["pack", "--to", "shards"]):
        assert main(["data", *command, str(motion_root), "--out", str(motion_root / "train" / "new")]) == 2
        assert f"out must lie outside of {motion_root}" in capsys.readouterr().err
    assert not (motion_root / "train" / "new").exists()


@pytest.mark.parametrize("options", [["--short_side", "2"], ["--crf", "99"], ["--to", "gif"], ["--shard_mb", "-1"]])
def test_what_cannot_be_packed_is_refused_in_a_sentence(motion_root, tmp_path, capsys, options):
    to = [] if "--to" in options else ["--to", "shards"]
    assert main(["data", "pack", str(motion_root), "--out", str(tmp_path / "out"), *to, *options]) == 2
    assert options[0].lstrip("-") in capsys.readouterr().err


def test_a_bench_tells_rates_and_what_to_change(motion_root, capsys):
    bench = ["data", "bench", str(motion_root), "--num_workers", "1", "--num_frames", "2", "--resize", "32"]
    assert main([*bench, "--crop", "32", "--num_videos", "6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_videos"] == 6
    assert told["loader_rates"].keys() == told["start_seconds"].keys() == {"0", "1"}
    assert all(rate > 0 for rate in (told["decoder_rate"], *told["loader_rates"].values()))
    assert told["opening"] + told["decoding"] + told["scaling"] == pytest.approx(1)
    assert (told["short_side"], told["keyframe_distance"]) == (32, 1)
    assert told["advice"][0].startswith("--data.num_workers ")
    assert main([*bench, "--crop", "16", "--num_videos", "2"]) == 0
    assert "one decoder alone" in capsys.readouterr().out


def test_a_bench_names_files_that_cannot_be_read(tmp_path):
    good = write_counting_video(tmp_path / "good.mp4", gop_size=10, options={"sc_threshold": "0"})
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    samples = [Sample(path=good, class_name="a"), Sample(path=bad, class_name="a")]
    config = LoaderBenchConfig(num_frames=2, resize=16, crop=16)
    bench = bench_loader(samples, config, workers=[0], root="videos")
    assert (bench.num_videos, bench.keyframe_distance) == (1, 10)
    assert list(bench.errors) == [str(bad)]
    assert any("kinema data pack videos --out OUT --short_side 16" in line for line in bench.advice)
    assert keyframe_distance(samples[0]) == 10
    with pytest.raises(ValueError, match="videos that can be read, got none of 1"):
        bench_loader(samples[1:], config, workers=[0], root="videos")
    with pytest.raises(VideoError):
        keyframe_distance(samples[1])
