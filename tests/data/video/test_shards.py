"""Shards: members are read exactly as files are, from the disk and from a server, and nothing hostile is."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from counting import numbers_in, write_counting_video
from http_files import Files, serving
from kinema.data.annotations import Annotations, Sample, Source, read_annotations
from kinema.data.annotations.shard_index import INDEX, IndexHeader, Row, index_text, make_table, parse_index
from kinema.data.annotations.tar_scan import scan_shards
from kinema.data.dataset import TrainingClips
from kinema.data.mirror import find_mirrors
from kinema.data.prepare.encode import Encoding
from kinema.data.prepare.pack_shards import pack_shards
from kinema.data.samplers import EpochBatches, EpochSampler
from kinema.data.video import http_range
from kinema.data.video.opening import VideoError, is_video, open_video
from kinema.data.video.shards import Member, member_of
from kinema.data.views import Augmentation
from kinema.spec import ClipSpec

COPY = Encoding(codec="copy")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(http_range, "WAITS_SECONDS", (0.01, 0.01))


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two classes of videos with odd names and containers, some in each split."""
    root = tmp_path_factory.mktemp("videos")
    for split, label, name in [
        ("train", "jump", "a.b.mp4"),
        ("train", "jump", "a.avi"),
        ("train", "walk, slow", "ä 1.mp4"),
        ("train", "walk, slow", "x" * 120 + ".mkv"),
        ("val", "jump", "c.mp4"),
        ("val", "walk, slow", "d.webm"),
    ]:
        folder = root / split / label
        folder.mkdir(parents=True, exist_ok=True)
        codec = {"avi": "mpeg4", "webm": "libvpx-vp9"}.get(name.rpartition(".")[2], "libx264")
        write_counting_video(folder / name, num_frames=12, codec=codec, gop_size=4)
    return root


@pytest.fixture(scope="module")
def shards(videos: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "out"
    report = pack_shards(read_annotations(Source(root=videos)), out, COPY, shard_mb=0.01)
    assert not report.failures
    return out


def by_name(annotations: Annotations) -> dict[str, object]:
    return {s.name: (s.class_names, s.split, s.group) for s in annotations.samples}


def test_a_packed_dataset_is_the_same_dataset(videos, shards):
    before, after = read_annotations(Source(root=videos)), read_annotations(Source(root=shards))
    assert after.format == "shards"
    assert by_name(after) == by_name(before)
    assert after.class_names == before.class_names
    assert [sample.name for sample in after.samples] == [sample.name for sample in before.samples]
    assert len(list(shards.glob("train-*.tar"))) >= 2
    assert len(list(shards.glob("val-*.tar"))) >= 1


def test_members_give_the_frames_of_the_files(videos, shards):
    for sample in read_annotations(Source(root=shards)).samples:
        with open_video(sample.path) as member, open_video(videos / sample.name) as file:
            assert (len(member), member.fps) == (len(file), file.fps)
            wanted = [11, 3, 0, 3]
            np.testing.assert_array_equal(member.frames(wanted), file.frames(wanted))
            assert numbers_in(member.frames(wanted)) == wanted


def test_members_of_a_server_give_the_frames_of_the_files(videos, shards):
    with serving(shards) as files:
        annotations = read_annotations(Source(root=Path(files.url)))
        assert by_name(annotations) == by_name(read_annotations(Source(root=videos)))
        for sample in annotations.samples:
            with open_video(sample.path) as member, open_video(videos / sample.name) as file:
                np.testing.assert_array_equal(member.frames([11, 0]), file.frames([11, 0]))
        assert sum(".tar bytes=" in request for request in files.requests) == len(annotations.samples)


def first_member(files: Files) -> Path:
    return read_annotations(Source(root=Path(files.url))).samples[0].path


def test_a_server_that_fails_for_a_while_is_asked_again(shards):
    with serving(shards) as files:
        path = first_member(files)
        files.refusals = [503, 500]
        with open_video(path) as video:
            assert len(video) == 12


def test_a_server_that_fails_is_named_with_the_member(shards):
    with serving(shards) as files:
        path = first_member(files)
        files.refusals = [503] * 3
        with pytest.raises(VideoError, match=rf"^train/jump/a-.*\.avi in {files.url}/train-.*\.tar: .*503"):
            open_video(path)
        assert not files.refusals
        files.refusals = [404, 200]
        with pytest.raises(VideoError, match="404"):
            open_video(path)
        assert files.refusals == [200]  # what is not there is not asked for again
    with pytest.raises(VideoError, match="cannot be reached"):
        open_video(path)


def test_a_server_without_parts_of_files_is_told_so(shards):
    with serving(shards) as files:
        path = first_member(files)
        files.ranges = False
        with pytest.raises(VideoError, match="does not give parts of files"):
            open_video(path)


def test_an_address_without_an_index_is_told_so(tmp_path):
    with serving(tmp_path) as files, pytest.raises(ValueError, match=r"stand beside their index\.jsonl.*404"):
        read_annotations(Source(root=Path(files.url)))


def test_a_shard_that_was_replaced_is_found_out(shards, tmp_path):
    for path in shards.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    sample = read_annotations(Source(root=tmp_path)).samples[0]
    member = member_of(sample.path)
    shard = Path(member.shard)
    content = shard.read_bytes()
    shard.write_bytes(b"\1" * len(content))
    with pytest.raises(VideoError, match="is not where the index says"):
        open_video(sample.path)
    shard.write_bytes(content[: member.offset + 10])
    with pytest.raises(VideoError, match="beyond the end of its shard"):
        open_video(sample.path)
    with pytest.raises(ValueError, match=f"got another {shard.name}"):
        read_annotations(Source(root=tmp_path))
    shard.unlink()
    with pytest.raises(VideoError, match="the shard cannot be read"):
        open_video(sample.path)


def test_webdataset_reads_our_shards(videos, shards):
    found = {}
    sources = [{"url": path.name, "stream": io.BytesIO(path.read_bytes())} for path in sorted(shards.glob("*.tar"))]
    for item in webdataset.tariterators.group_by_keys(webdataset.tariterators.tar_file_expander(sources)):
        said = json.loads(item["json"])
        found[said["name"]] = (said["label"], said["split"], int(item["cls"]))
        (content,) = [value for key, value in item.items() if key in ("mp4", "avi", "mkv", "webm")]
        assert content == (videos / said["name"]).read_bytes()
    annotations = read_annotations(Source(root=videos))
    assert found == {
        s.name: (s.class_name, s.split, annotations.class_names.index(s.class_name)) for s in annotations.samples
    }


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ({"cls": 1}, ("1",)),
        ({"txt": "jump"}, ("jump",)),
        ({"json": {"label": "walk", "split": "val"}}, ("walk",)),
        ({"json": {"label": ["walk", "jump"]}}, ("walk", "jump")),
        ({}, ()),
    ],
)
def test_shards_that_webdataset_wrote_are_read(counting_video, tmp_path, label, expected):
    with webdataset.TarWriter(str(tmp_path / "x-0.tar")) as writer:
        for number in range(3):
            writer.write({"__key__": f"some/{number:03d}", "mp4": counting_video.read_bytes(), **label})
    for _ in range(2):  # the second time from the index that the first one left
        annotations = read_annotations(Source(root=tmp_path))
        assert [sample.name for sample in annotations.samples] == [f"some/{number:03d}.mp4" for number in range(3)]
        assert {sample.class_names for sample in annotations.samples} == {expected}
        assert annotations.samples[0].split == label.get("json", {}).get("split")
        assert annotations.multi_label == (len(expected) > 1)
        with open_video(annotations.samples[2].path) as video:
            assert numbers_in(video.frames([7])) == [7]
    assert (tmp_path / INDEX).is_file()


def test_numbers_are_named_by_a_class_list_and_shards_that_change_are_looked_through_again(counting_video, tmp_path):
    (tmp_path / "names.txt").write_text("walk\njump\n")
    for shard, label in (("train-0.tar", 1), ("val-0.tar", 0)):
        with webdataset.TarWriter(str(tmp_path / shard)) as writer:
            writer.write({"__key__": f"of {shard[:-4]}", "mp4": counting_video.read_bytes(), "cls": label})
    assert read_annotations(Source(root=tmp_path)).class_names == ("0", "1")
    source = Source(root=tmp_path, class_list=tmp_path / "names.txt")
    annotations = read_annotations(source)
    assert annotations.class_names == ("walk", "jump")
    assert [(sample.class_name, sample.split) for sample in annotations.samples] == [("jump", "train"), ("walk", "val")]
    (tmp_path / "names.txt").write_text("walk\n")
    with pytest.raises(ValueError, match="must name the classes from 0 to 1"):
        read_annotations(source)


def write_tar(path: Path, *infos: tuple[str, bytes, int]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content, kind in infos:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = bytes([kind]), "target"
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


REGULAR, HARD_LINK, LINK, CHARACTER_DEVICE, FIFO = (
    kind[0] for kind in (tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
)


@pytest.mark.parametrize(
    ("infos", "sentence"),
    [
        ([("../../etc/x.mp4", b"1", REGULAR)], "names that stay inside"),
        ([("/etc/x.mp4", b"1", REGULAR)], "names that stay inside"),
        ([("a/../../x.mp4", b"1", REGULAR)], "names that stay inside"),
        ([("a.mp4", b"", LINK)], "a link or a device"),
        ([("a.mp4", b"", HARD_LINK)], "a link or a device"),
        ([("a.mp4", b"", CHARACTER_DEVICE)], "a link or a device"),
        ([("a.mp4", b"", FIFO)], "a link or a device"),
        ([("a.cls", b"1", REGULAR)], "a video for each sample"),
        ([("a.mp4", b"1", REGULAR), ("a.mkv", b"1", REGULAR)], "one video a sample"),
        ([("a.mp4", b"1", REGULAR), ("b.mp4", b"1", REGULAR), ("a.cls", b"1", REGULAR)], "keep the members"),
        ([("a.mp4", b"1", REGULAR), ("a.json", b"{", REGULAR)], "a.json must be JSON"),
        (
            [("a.mp4", b"1", REGULAR), ("a.cls", b"1", REGULAR), ("b.mp4", b"1", REGULAR), ("b.cls", b"x", REGULAR)],
            "names or numbers",
        ),
    ],
)
def test_tar_files_that_no_one_should_write_are_refused(tmp_path, infos, sentence):
    write_tar(tmp_path / "x.tar", *infos)
    with pytest.raises(ValueError, match=rf"^.*{tmp_path}.*{sentence}"):
        read_annotations(Source(root=tmp_path))


def test_a_tar_file_that_is_cut_off_is_refused_wherever_it_is_cut(tmp_path):
    write_tar(tmp_path / "x.tar", ("a.mp4", b"1" * 3000, REGULAR), ("a.cls", b"1", REGULAR))
    content = (tmp_path / "x.tar").read_bytes()
    end = 512 + 3072 + 1024
    for cut in (0, 100, 512, 600, 3584, 3700, end, end + 512):
        (tmp_path / "x.tar").write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"x\.tar must"):
            read_annotations(Source(root=tmp_path))
    (tmp_path / "x.tar").write_bytes(content[: end + 1024])
    assert len(read_annotations(Source(root=tmp_path)).samples) == 1


def test_a_size_beyond_the_file_is_refused(tmp_path):
    write_tar(tmp_path / "x.tar", ("a.mp4", b"1" * 3000, REGULAR))
    content = bytearray((tmp_path / "x.tar").read_bytes())
    info = tarfile.TarInfo("a.mp4")
    info.size = 7 * 2**30
    content[:512] = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.tar must"):
        read_annotations(Source(root=tmp_path))


HEADER = IndexHeader(classes=("jump", "walk"), shards=(("a.tar", 10_000),), made_by="pack")
SOUND = [0, 512, 100, "a.mp4", "a.mp4", [1], "train", None]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "7",
        "[]",
        json.dumps([1, *SOUND[1:]]),
        json.dumps([-1, *SOUND[1:]]),
        json.dumps([0, 100, *SOUND[2:]]),
        json.dumps([0, 512, 10_000, *SOUND[3:]]),
        json.dumps([*SOUND[:3], "../a.mp4", *SOUND[4:]]),
        json.dumps([*SOUND[:3], 5, *SOUND[4:]]),
        json.dumps([*SOUND[:4], "\ud800", *SOUND[5:]]),
        json.dumps([*SOUND[:3], "../x.mp4", *SOUND[4:]]),
        json.dumps([*SOUND[:5], [2], *SOUND[6:]]),
        json.dumps([*SOUND[:5], ["walk"], *SOUND[6:]]),
        json.dumps([*SOUND[:6], "elsewhere", None]),
        json.dumps([True, *SOUND[1:]]),
    ],
)
def test_a_line_of_an_index_that_cannot_be_true_is_named(line):
    header, rows = parse_index([*index_text(HEADER, []).splitlines(), json.dumps(SOUND), line], where="x/index.jsonl")
    assert header == HEADER
    assert next(rows) == Row(0, 512, 100, "a.mp4", "a.mp4", [1], "train", None)
    with pytest.raises(ValueError, match=r"^x/index.jsonl, line 3, must"):
        list(rows)


WORDS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(
    st.lists(st.text(max_size=20) | WORDS.map(json.dumps), max_size=4)
    | st.lists(WORDS.map(json.dumps), max_size=4).map(lambda rows: [*index_text(HEADER, []).splitlines(), *rows])
)
def test_any_text_as_an_index_gives_samples_or_names_the_line(lines):
    try:
        header, rows = parse_index(lines, where="index.jsonl")
        make_table(header, rows, folder="folder", where="index.jsonl")
    except ValueError as error:
        assert str(error).startswith("index.jsonl")  # noqa: PT017 (a text may also be sound)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=12), st.integers(0, 9000))
def test_any_bytes_as_a_tar_file_give_samples_or_name_the_file(tmp_path, changes, length):
    folder = tmp_path / "shards"
    folder.mkdir(exist_ok=True)
    write_tar(folder / "x.tar", ("a.mp4", b"1" * 600, REGULAR), ("a.json", b'{"label": "x"}', REGULAR))
    content = bytearray((folder / "x.tar").read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    (folder / "x.tar").write_bytes(content[:length] if length < 4000 else content)
    try:
        scan_shards([folder / "x.tar"])
    except ValueError as error:
        assert str(folder) in str(error)  # noqa: PT017 (what was changed may not matter)


@pytest.mark.parametrize("name", ["../a.tar", "/etc/a.tar", "a.zip", ".a.tar"])
def test_an_index_names_only_what_lies_beside_it(name):
    text = index_text(IndexHeader(classes=(), shards=((name, 5),), made_by="pack"), [])
    with pytest.raises(ValueError, match=r"must name \.tar files that lie beside it"):
        parse_index(text.splitlines(), where="index.jsonl")


@pytest.mark.parametrize("first", ["", "[]", "{}", '{"kinema_shards": 1}', "7"])
def test_what_is_no_index_is_refused(first):
    with pytest.raises(ValueError, match="must begin with classes and shards"):
        parse_index([first], where="index.jsonl")


def test_the_path_of_a_member_says_where_it_is():
    member = Member("https://host.org/a/x.tar", 1024, 7, "walk/a b.mp4")
    assert member_of(member.path()) == member
    member = Member("folder.tar/x.tar", 1024, 7, "a.mp4")
    assert member_of(member.path()) == member
    for path in ("x.tar", "x.tar/a.mp4", "x.tar/100+7/a.mp4", "x/1024+7/a.mp4"):
        assert member_of(path) is None


def test_a_playlist_in_a_shard_opens_nothing(tmp_path, counting_video):
    (tmp_path / "secret.ts").write_bytes(counting_video.read_bytes())
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n".encode()
    write_tar(tmp_path / "x.tar", ("a.mp4", playlist, REGULAR), ("b.mkv", b"", REGULAR))
    first, second = read_annotations(Source(root=tmp_path)).samples
    with pytest.raises(VideoError, match=r"a\.mp4: "):
        open_video(first.path)
    with pytest.raises(VideoError, match=r"b\.mkv: the file is empty"):
        open_video(second.path)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_every_sample_comes_once_an_epoch(shards, num_workers, num_ranks):
    annotations = read_annotations(Source(root=shards))
    spec = ClipSpec(
        num_frames=2, resize=32, crop=32, mean=(0.5,) * 3, std=(0.5,) * 3, class_names=annotations.class_names
    )
    clips = TrainingClips(
        annotations.samples,
        spec=spec,
        augmentation=Augmentation(),
        mirrors=find_mirrors(annotations.class_names, overrides={}),
        seed=0,
    )
    seen = {}
    for rank in range(num_ranks):
        batches = EpochBatches(EpochSampler(len(clips), seed=0), batch_size=2, rank=rank, num_ranks=num_ranks)
        loader = DataLoader(
            clips, batch_sampler=batches, collate_fn=list, num_workers=num_workers, generator=torch.Generator()
        )
        items = [(item["index"], item["clip"]) for batch in loader for item in batch]
        assert abs(len(items) - len(clips) / num_ranks) < 1
        assert not seen.keys() & {index for index, _ in items}
        seen |= dict(items)
    assert sorted(seen) == list(range(len(clips)))
    for index, clip in seen.items():
        torch.testing.assert_close(clip, clips[0, index]["clip"], rtol=0, atol=0)


def test_no_file_stays_open(shards):
    opened = Path("/proc/self/fd")
    if not opened.is_dir():
        pytest.skip("this system does not list the files that a process has open; this test did not run")
    path = read_annotations(Source(root=shards)).samples[0].path
    with open_video(path):
        before = len(list(opened.iterdir()))
    for _ in range(20):
        with open_video(path) as video:
            video.frames([5])
    assert len(list(opened.iterdir())) <= before


@pytest.mark.slow
def test_real_files_are_read_from_shards_as_from_the_disk(shared_dir, tmp_path):
    paths = [path for path in sorted((shared_dir / "clips").rglob("*")) if path.is_file() and is_video(path)]
    samples = [Sample(path=path, class_name="video", name=f"{n}{path.suffix}") for n, path in enumerate(paths)]
    annotations = Annotations(format="class_folders", samples=samples, class_names=("video",))
    report = pack_shards(annotations, tmp_path / "out", COPY, shard_mb=5)
    packed = {sample.name: sample for sample in read_annotations(Source(root=tmp_path / "out")).samples}
    assert len(packed) + len(report.failures) == len(paths) > 40
    for sample in samples:
        if sample.name in report.failures:
            with pytest.raises(VideoError):
                open_video(sample.path)
            continue
        with open_video(sample.path) as file, open_video(packed[sample.name].path) as member:
            assert (len(member), member.fps) == (len(file), file.fps)
            wanted = [0, len(file) // 2, len(file) - 1]
            np.testing.assert_array_equal(member.frames(wanted), file.frames(wanted))
