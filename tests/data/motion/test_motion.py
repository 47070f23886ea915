from __future__ import annotations

import colorsys
import json
import shutil

import av
import numpy as np
import pytest
from PIL import Image

from counting import rgb_of
from kinema.data.motion import dataset as motion
from kinema.data.motion.dataset import CLASS_NAMES, PARTNER, MotionConfig, make_motion_dataset
from kinema.data.motion.files import encode_clip
from kinema.data.motion.footage import find_footage, split_footage
from kinema.data.motion.scenes import draw_scene

SMALL = MotionConfig(num_train=32, num_val=96, frame_size=48, min_length=9, max_length=17, noise=0.02)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("motion") / "drawn"
    make_motion_dataset(out, SMALL, quiet=True)
    return out


def decode(path):
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        return np.stack([rgb_of(frame) for frame in container.decode(video=0)])


def val_pairs(root):
    """(class name, clip, clip under the partner's label) of each validation pair; the first is the even class."""
    for name in CLASS_NAMES[::2]:
        for path in sorted((root / "val" / name).iterdir()):
            (partner,) = (root / "val" / PARTNER[name]).glob(f"{path.stem.rsplit('_', 1)[0]}_*.mp4")
            yield name, decode(path), decode(partner)


def listing(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.mp4"))}


def test_partners_are_each_others_reversal_by_name():
    assert PARTNER == {
        "moving left": "moving right",
        "moving right": "moving left",
        "moving up": "moving down",
        "moving down": "moving up",
        "approaching": "receding",
        "receding": "approaching",
        "turning clockwise": "turning counter-clockwise",
        "turning counter-clockwise": "turning clockwise",
    }


def test_all_classes_have_as_many_clips(drawn):
    for split, count in (("train", 4), ("val", 12)):
        assert sorted(path.name for path in (drawn / split).iterdir()) == sorted(CLASS_NAMES)
        assert [len(list((drawn / split / name).glob("*.mp4"))) for name in CLASS_NAMES] == [count] * 8


def test_which_of_a_pair_is_called_forward_says_nothing_about_its_class(drawn):
    for name in CLASS_NAMES:
        assert len(list((drawn / "val" / name).glob("*_forward.mp4"))) == 6


def test_validation_clips_decode_to_the_reversed_frames_of_their_partners(drawn):
    pairs = list(val_pairs(drawn))
    assert len(pairs) == 48
    for _, clip, partner in pairs:
        np.testing.assert_array_equal(clip, partner[::-1])
        assert not np.array_equal(clip, partner)


@pytest.mark.parametrize("num_frames", [3, 4, 5, 8, 16, 32])
def test_centres_of_segments_of_a_reversal_are_the_same_frames(drawn, num_frames):
    for _, clip, partner in val_pairs(drawn):
        centres = [(2 * segment + 1) * len(clip) // (2 * num_frames) for segment in range(num_frames)]
        np.testing.assert_array_equal(clip[centres], partner[centres][::-1])


def test_lengths_are_odd_and_spread_over_their_range(drawn):
    lengths = {len(decode(path)) for path in drawn.rglob("*.mp4")}
    assert lengths == {9, 11, 13, 15, 17}


def sharpness_along_the_way(clip):
    """Features of the unordered frames: how much sharper the picture is where the object is further to the right.

    Frames are sorted by what they show, so any order of the clip gives the same features. [3]
    """
    gray = clip.astype(np.float64).mean(axis=3)
    center = (gray * np.arange(gray.shape[2])).sum(axis=(1, 2)) / gray.sum(axis=(1, 2))
    gray = gray[np.argsort(center)]
    beside = gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:] + gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1]
    edges = np.abs(4 * gray[:, 1:-1, 1:-1] - beside).reshape(len(gray), -1)
    sharpness = np.log(np.quantile(edges, [0.25, 0.5, 0.75], axis=1) + 0.5)
    return sharpness @ np.linspace(-1, 1, len(gray))


def probe_accuracy(pairs):
    """How often a linear probe, fitted on half of the pairs, tells which clip of a pair is the reversal.

    A probe that cannot tell them apart scores both alike and is never right.
    """
    differences = np.array([sharpness_along_the_way(one) - sharpness_along_the_way(other) for one, other in pairs])
    seen, held_out = differences[::2], differences[1::2]
    weights = np.linalg.lstsq(seen, np.ones(len(seen)), rcond=1e-6)[0]
    return float(np.mean(held_out @ weights > 0))


def encode_ordinarily(frames, path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return decode(path)


def test_a_probe_on_unordered_frames_sees_the_codec_of_ordinary_files_but_not_of_ours(tmp_path):
    path = tmp_path / "clip.mp4"
    ours, ordinary = [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        frames = draw_scene("horizontal", 25, frame_size=48, contrast=1.0, clutter=2, noise=0.02, speed=1.0, rng=rng)
        ours.append([])
        ordinary.append([])
        for played in (frames, frames[::-1]):
            encode_clip(played, path, fps=12)
            ours[-1].append(decode(path))
            ordinary[-1].append(encode_ordinarily(played, path))
    assert probe_accuracy(ordinary) >= 0.75  # 40 pairs held out: 0.93 is usual, chance gives 0.75 once in a thousand
    assert probe_accuracy(ours) == 0
    for clip, partner in ours:
        np.testing.assert_array_equal(sharpness_along_the_way(clip), sharpness_along_the_way(partner))


def unordered_statistics(clip):
    """Sums over frames, in integers so that their order cannot matter: brightness per pixel, its square, histogram."""
    small = clip[:, ::4, ::4].astype(np.int64)
    histogram = np.bincount(clip.reshape(-1) // 16, minlength=16) * 1000 // clip.size
    moments = np.concatenate([small.sum(axis=0).reshape(-1), (small**2).sum(axis=0).reshape(-1) // 256])
    return np.concatenate([moments // len(clip), histogram])


def test_a_linear_probe_that_is_blind_to_order_is_right_at_most_half_of_the_time(drawn):
    def load(split):
        clips = [
            (label, decode(path))
            for label, name in enumerate(CLASS_NAMES)
            for path in sorted((drawn / split / name).iterdir())
        ]
        return np.array([unordered_statistics(clip) for _, clip in clips]), np.array([label for label, _ in clips])

    (seen, seen_labels), (held_out, labels) = load("train"), load("val")
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 1.0
    seen, held_out = (seen - mean) / spread, (held_out - mean) / spread
    dual = np.linalg.solve(seen @ seen.T + np.eye(len(seen)), np.eye(8)[seen_labels])
    assert np.mean((seen @ (seen.T @ dual)).argmax(axis=1) == seen_labels) >= 0.9
    assert np.mean((held_out @ (seen.T @ dual)).argmax(axis=1) == labels) <= 0.5


def test_training_and_validation_share_no_clip(drawn):
    def digests(split):
        clips = [decode(path) for path in (drawn / split).rglob("*.mp4")]
        return {frames.tobytes() for clip in clips for frames in (clip, clip[::-1])}

    assert not digests("train") & digests("val")


def test_the_same_seed_gives_the_same_bytes(drawn, tmp_path):
    make_motion_dataset(tmp_path / "again", SMALL, quiet=True)
    assert listing(tmp_path / "again") == listing(drawn)
    descriptions = [(root / "motion.json").read_text() for root in (drawn, tmp_path / "again")]
    assert descriptions[0] == descriptions[1]


def test_a_clip_depends_on_its_own_index_only(drawn, tmp_path):
    fewer = MotionConfig(num_train=8, num_val=8, frame_size=48, min_length=9, max_length=17, noise=0.02)
    make_motion_dataset(tmp_path / "fewer", fewer, quiet=True)
    assert listing(tmp_path / "fewer").items() <= listing(drawn).items()


def test_another_seed_gives_other_clips(tmp_path):
    for seed in (0, 1):
        make_motion_dataset(tmp_path / str(seed), MotionConfig(num_train=8, num_val=8, seed=seed), quiet=True)
    first, second = listing(tmp_path / "0"), listing(tmp_path / "1")
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def warped(picture, name, amount, center):
    """The picture after a little more of a class's motion, about a centre (x, y), by the definition of the motion."""
    dx, dy, scale, degrees = {
        "moving left": (-amount, 0, 1, 0),
        "moving right": (amount, 0, 1, 0),
        "moving up": (0, -amount, 1, 0),
        "moving down": (0, amount, 1, 0),
        "approaching": (0, 0, 1 + 0.06 * amount, 0),
        "receding": (0, 0, 1 / (1 + 0.06 * amount), 0),
        "turning clockwise": (0, 0, 1, -4 * amount),
        "turning counter-clockwise": (0, 0, 1, 4 * amount),
    }[name]
    x, y = center
    picture = picture.rotate(degrees, Image.Resampling.BILINEAR, center=center)
    matrix = (1 / scale, 0, x - (x + dx) / scale, 0, 1 / scale, y - (y + dy) / scale)
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def mismatch(clip, name, center):
    """How badly the motion of a class explains the step between two frames in the middle of a clip."""
    first, second = clip[len(clip) // 2 - 1], clip[len(clip) // 2 + 1]
    inner = np.s_[8:-8, 8:-8]
    guesses = [warped(Image.fromarray(first), name, amount, center) for amount in (0.5, 1, 2, 3, 4, 6)]
    return min(np.abs(np.asarray(guess).astype(int) - second)[inner].mean() for guess in guesses)


def object_center(clip):
    middle = clip[len(clip) // 2].max(axis=2) > 140
    rows, columns = np.nonzero(middle)
    return float(columns.mean()), float(rows.mean())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    out = tmp_path_factory.mktemp("motion") / "plain"
    make_motion_dataset(out, MotionConfig(num_train=32, num_val=8, clutter=0, noise=0.0), quiet=True)
    return out


def test_drawn_objects_move_the_way_their_class_is_named(plain):
    for name in CLASS_NAMES:
        for path in sorted((plain / "train" / name).iterdir()):
            clip = decode(path)
            center = (31.5, 31.5) if name.startswith("turning") else object_center(clip)
            assert mismatch(clip, name, center) < mismatch(clip, PARTNER[name], center), path.name


def test_bright_objects_travel_to_the_named_side_and_change_to_the_named_size(plain):
    for name, axis, sign in (
        ("moving left", 1, -1),
        ("moving right", 1, 1),
        ("moving up", 0, -1),
        ("moving down", 0, 1),
    ):
        for path in sorted((plain / "train" / name).iterdir()):
            bright = decode(path).max(axis=3) > 140
            early, late = bright[len(bright) // 4], bright[-1 - len(bright) // 4]
            assert sign * (np.nonzero(late)[axis].mean() - np.nonzero(early)[axis].mean()) > 4
    for name, sign in (("approaching", 1), ("receding", -1)):
        for path in sorted((plain / "train" / name).iterdir()):
            bright = decode(path).max(axis=3) > 140
            assert sign * np.log(bright[-1].sum() / bright[0].sum()) > 0.5


def write_footage(folder, hues, *, size=(160, 120)):
    """A still, detailed video of one hue for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, hue in hues.items():
        rng = np.random.default_rng(round(1000 * hue))
        texture = Image.fromarray(rng.uniform(0.2, 1.0, (size[1] // 6, size[0] // 6)).astype(np.float32))
        value = np.clip(np.asarray(texture.resize(size, Image.Resampling.BICUBIC)), 0, 1)
        picture = (255 * value[..., None] * np.array(colorsys.hsv_to_rgb(hue, 0.8, 1.0))).astype(np.uint8)
        encode_clip(np.stack([picture] * 20), folder / name, fps=12)


def hues_of(root, split):
    found = set()
    for path in (root / split).rglob("*.mp4"):
        color = decode(path).reshape(-1, 3).mean(axis=0) / 255
        found.add(round(colorsys.rgb_to_hsv(*color)[0] * 8) % 8)
    return found


FOOTAGE = {f"video_{number}.mp4": number / 8 for number in range(8)}


def footage_config(folder, **options):
    return MotionConfig(
        **{"num_train": 48, "num_val": 16, "frame_size": 48, "noise": 0.0, "footage": str(folder), **options}
    )


@pytest.fixture(scope="module")
def from_footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motion")
    write_footage(folder / "footage", FOOTAGE)
    make_motion_dataset(folder / "out", footage_config(folder / "footage"), quiet=True)
    return folder / "out"


def test_training_and_validation_never_share_footage(from_footage):
    train, val = hues_of(from_footage, "train"), hues_of(from_footage, "val")
    assert (len(train), len(val)) == (6, 2)
    assert train | val == set(range(8))
    description = json.loads((from_footage / "motion.json").read_text())
    assert {round(FOOTAGE[name] * 8) for name in description["val_footage"]} == val
    assert {round(FOOTAGE[name] * 8) for name in description["train_footage"]} == train


def test_another_seed_is_another_split_of_the_footage(tmp_path):
    write_footage(tmp_path, FOOTAGE)
    footage = find_footage(tmp_path)
    splits = [split_footage(footage, group_pattern=None, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert splits[0] == splits[1]
    assert len({tuple(val) for _, val in splits}) > 2
    for train, val in splits:
        assert sorted(item.name for item in train + val) == sorted(FOOTAGE)


def test_named_alternatives_group_footage_as_they_group_any_data(tmp_path):
    write_footage(tmp_path, FOOTAGE)
    footage = find_footage(tmp_path)
    names = [item.name for item in footage]
    pattern = "|".join(f"(?P<side{n}>{'|'.join(names[n::2])})" for n in range(2))
    train, val = split_footage(footage, group_pattern=pattern, seed=0)
    sides = [[item.name for item in side] for side in (train, val)]
    assert sorted(sides) == sorted([names[::2], names[1::2]])


def test_footage_moves_the_way_its_class_is_named_and_pairs_are_reversals(from_footage):
    for name in CLASS_NAMES:
        for path in sorted((from_footage / "train" / name).iterdir())[:4]:
            clip = decode(path)
            center = (clip.shape[2] / 2, clip.shape[1] / 2)
            explained = {guess: mismatch(clip, guess, center) for guess in CLASS_NAMES}
            assert min(explained, key=explained.__getitem__) == name, path.name
    for _, clip, partner in val_pairs(from_footage):
        np.testing.assert_array_equal(clip, partner[::-1])


def test_each_training_video_serves_all_classes_alike(from_footage):
    for name in CLASS_NAMES:
        assert len(hues_of(from_footage / "train", name)) == 6


def test_footage_of_one_group_stays_on_one_side(tmp_path):
    write_footage(tmp_path / "footage", {f"scene{n % 4}_take{n // 4}.mp4": n / 8 for n in range(8)})
    config = footage_config(tmp_path / "footage", group_pattern=r"scene\d", num_train=8)
    make_motion_dataset(tmp_path / "out", config, quiet=True)
    description = json.loads((tmp_path / "out" / "motion.json").read_text())
    scenes = [{name[:6] for name in description[f"{split}_footage"]} for split in ("train", "val")]
    assert [len(side) for side in scenes] == [3, 1]
    assert not scenes[0] & scenes[1]


def test_footage_that_plays_says_nothing_about_the_class(tmp_path):
    """The footage's own direction of time is drawn apart from the class: both occur in every class."""
    (tmp_path / "footage").mkdir()
    brightness = np.linspace(40, 215, 24).astype(np.uint8)[:, None, None, None]
    for number in range(4):
        frames = np.broadcast_to(brightness - number, (24, 120, 160, 3))
        encode_clip(frames, tmp_path / "footage" / f"dawn_{number}.mp4", fps=12)
    config = footage_config(tmp_path / "footage", num_train=96, num_val=8)
    make_motion_dataset(tmp_path / "out", config, quiet=True)
    for name in CLASS_NAMES:
        clips = [decode(path) for path in (tmp_path / "out" / "train" / name).iterdir()]
        brighter = [clip[-1].mean() > clip[0].mean() for clip in clips]
        assert 0 < sum(brighter) < len(brighter)


def test_unreadable_footage_is_counted_and_named_in_one_warning(tmp_path):
    write_footage(tmp_path / "footage", FOOTAGE)
    (tmp_path / "footage" / "broken.mp4").write_bytes(b"no video at all")
    (tmp_path / "footage" / "empty.avi").touch()
    with pytest.warns(UserWarning, match=r"2 of 10 videos .* broken\.mp4, empty\.avi") as caught:
        make_motion_dataset(tmp_path / "out", footage_config(tmp_path / "footage"), quiet=True)
    assert len(caught) == 1


def test_footage_without_anything_readable_is_refused(tmp_path):
    (tmp_path / "footage").mkdir()
    with pytest.raises(ValueError, match="footage must be a folder with videos in it"):
        make_motion_dataset(tmp_path / "out", footage_config(tmp_path / "footage"), quiet=True)
    (tmp_path / "footage" / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match="footage must hold a readable video"):
        make_motion_dataset(tmp_path / "out", footage_config(tmp_path / "footage"), quiet=True)
    with pytest.raises(ValueError, match="footage must be a folder of videos, got"):
        make_motion_dataset(tmp_path / "out", footage_config(tmp_path / "absent"), quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["footage"]


def test_copies_of_one_video_do_not_make_two_sides(tmp_path):
    write_footage(tmp_path / "footage", {"a.mp4": 0.1})
    shutil.copy(tmp_path / "footage" / "a.mp4", tmp_path / "footage" / "b.mp4")
    with pytest.raises(ValueError, match="videos of at least two groups, got 1 of one"):
        make_motion_dataset(tmp_path / "out", footage_config(tmp_path / "footage"), quiet=True)


def test_real_footage_gives_exact_pairs(shared_dir, tmp_path):
    config = footage_config(shared_dir / "clips" / "ucf101", num_train=8, num_val=16)
    make_motion_dataset(tmp_path / "out", config, quiet=True)
    for _, clip, partner in val_pairs(tmp_path / "out"):
        np.testing.assert_array_equal(clip, partner[::-1])
        assert np.abs(clip[0].astype(int) - clip[-1]).mean() > 2


def test_a_complete_dataset_is_reused_and_anything_else_refused(tmp_path):
    config = MotionConfig(num_train=8, num_val=8, frame_size=32)
    out = tmp_path / "out"
    out.mkdir()
    make_motion_dataset(out, config, quiet=True)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    make_motion_dataset(out, config, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(ValueError, match="with another seed, speed; name another folder"):
        make_motion_dataset(out, MotionConfig(num_train=8, num_val=8, frame_size=32, seed=1, speed=0.5), quiet=True)
    next(out.rglob("*.mp4")).unlink()
    with pytest.raises(ValueError, match="files changed or missing"):
        make_motion_dataset(out, config, quiet=True)
    (out / "motion.json").unlink()
    with pytest.raises(ValueError, match="must be a new or empty folder"):
        make_motion_dataset(out, config, quiet=True)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="got the file"):
        make_motion_dataset(tmp_path / "file", config, quiet=True)


def test_an_interrupted_run_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(motion, "clips_fingerprint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_motion_dataset(tmp_path / "out", MotionConfig(num_train=8, num_val=8, frame_size=32), quiet=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_train": 100}, "num_train must be a positive multiple of 8, got 100; take 96"),
        ({"num_val": 0}, "num_val must be a positive multiple of 8, got 0; take 8"),
        ({"frame_size": 65}, "frame_size must be even and at least 16, got 65; take 66"),
        ({"frame_size": 8}, "frame_size must be even and at least 16, got 8; take 16"),
        ({"min_length": 16}, "min_length must be odd and at least 3, got 16; take 17"),
        ({"max_length": 1}, "max_length must be odd and at least 3, got 1; take 3"),
        ({"min_length": 27}, "min_length must be at most max_length, got 27 and 25"),
        ({"speed": 0.0}, r"speed must lie between 0.1 and 2, got 0.0; 1.0 is the default"),
        ({"contrast": 1.5}, "contrast must lie between 0 and 1, got 1.5"),
        ({"clutter": -1}, "clutter must lie between 0 and 50, got -1"),
        ({"noise": 2.0}, "noise must lie between 0 and 0.5, got 2.0"),
        ({"fps": 0}, "fps must lie between 1 and 240, got 0"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"group_pattern": "a"}, "group_pattern must be given with footage only, got 'a' without; add --footage"),
        ({"footage": "videos", "group_pattern": "("}, "group_pattern must be a regular expression"),
    ],
)
def test_a_configuration_out_of_range_is_refused_with_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        MotionConfig(**options)


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"out must be a folder beside or inside the current one, got "):
        make_motion_dataset(tmp_path, MotionConfig(num_train=8, num_val=8), quiet=True)
