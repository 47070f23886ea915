"""Every real file beside the repository, by name: what it gives, or the sentence it gives instead."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from counting import rgb_of
from kinema.data.video.opening import VideoError, open_video

if TYPE_CHECKING:
    from pathlib import Path

# name: (frames, width, height, frames per second rounded), or a part of the sentence that refuses it. Found by PyAV's
# own decoding loop; the rate is the container's, or the timestamps' where they differ by more than 2 %.
FILES: dict[str, tuple[int, int, int, int] | str] = {
    "clips/arid/Stand_1_1.mp4": (65, 320, 240, 30),
    "clips/arid/Turn_10_25.mp4": (49, 320, 240, 30),
    "clips/arid/Wave_1_1.mp4": (40, 320, 240, 30),
    "clips/fight_cctv/fight/fi001.mp4": (53, 480, 360, 25),
    "clips/fight_cctv/fight/fi026.mp4": (68, 480, 360, 30),
    "clips/fight_cctv/fight/fi027.mp4": (60, 480, 360, 30),
    "clips/fight_cctv/fight/fi028.mp4": (51, 480, 360, 30),
    "clips/fight_cctv/fight/fi029.mp4": (71, 480, 360, 30),
    "clips/fight_cctv/fight/fi032.mp4": (48, 640, 360, 24),
    "clips/fight_cctv/fight/fi034.mp4": (39, 640, 360, 24),
    "clips/fight_cctv/fight/fi035.mp4": (47, 640, 360, 24),
    "clips/fight_cctv/fight/fi039.mp4": (46, 640, 360, 24),
    "clips/fight_cctv/fight/fi040.mp4": (48, 640, 360, 24),
    "clips/fight_cctv/fight/fi049.mp4": (58, 640, 360, 30),
    "clips/fight_cctv/fight/fi050.mp4": (58, 640, 360, 30),
    "clips/fight_cctv/fight/fi116.mp4": (50, 480, 360, 25),
    "clips/fight_cctv/fight/fi119.mp4": (50, 480, 360, 25),
    "clips/fight_cctv/fight/fi120.mp4": (50, 480, 360, 25),
    "clips/fight_cctv/noFight/nofi003.mp4": (60, 480, 360, 25),
    "clips/fight_cctv/noFight/nofi023.mp4": (63, 640, 360, 30),
    "clips/fight_cctv/noFight/nofi024.mp4": (60, 640, 360, 30),
    "clips/fight_cctv/noFight/nofi029.mp4": (48, 640, 360, 24),
    "clips/fight_cctv/noFight/nofi030.mp4": (48, 640, 360, 24),
    "clips/fight_cctv/noFight/nofi031.mp4": (48, 640, 360, 24),
    "clips/fight_cctv/noFight/nofi032.mp4": (48, 640, 360, 24),
    "clips/fight_cctv/noFight/nofi033.mp4": (48, 640, 360, 24),
    "clips/fight_cctv/noFight/nofi050.mp4": (50, 480, 360, 25),
    "clips/fight_cctv/noFight/nofi051.mp4": (53, 480, 360, 25),
    "clips/fight_cctv/noFight/nofi052.mp4": (53, 480, 360, 25),
    "clips/fight_cctv/noFight/nofi057.mp4": (60, 480, 360, 30),
    "clips/fight_cctv/noFight/nofi058.mp4": (60, 480, 360, 30),
    "clips/fight_cctv/noFight/nofi059.mp4": (60, 480, 360, 30),
    "clips/fight_cctv/noFight/nofi060.mp4": (58, 480, 360, 30),
    "clips/hmdb51/wave/RATRACE_wave_f_nm_np1_fr_goo_37.avi": (72, 560, 240, 30),
    "clips/kinetics/R6llTwEh07w.mp4": (303, 340, 256, 30),
    "clips/kinetics/WUzgd7C1pWA.mp4": (327, 340, 256, 30),
    "clips/kinetics/flipping_a_pancake.mkv": (310, 426, 240, 30),
    "clips/kinetics/mmaction2_demo.mp4": (280, 340, 256, 28),
    "clips/kinetics/mmaction2_rawvideo_part_0.mp4": (32, 340, 256, 29),
    "clips/kinetics/ta_chi.mp4": (300, 340, 256, 30),
    "clips/misc/max_basketball.mp4": (214, 640, 360, 30),
    "clips/misc/mmaction2_demo_skeleton.mp4": (72, 1920, 1080, 28),
    "clips/ssv2_rawframes/13201": (49, 320, 240, 25),
    "clips/ssv2_rawframes/2": (48, 427, 240, 25),
    "clips/ssv2_rawframes/57082": (38, 427, 240, 25),
    "clips/ssv2_rawframes/77005": (43, 427, 240, 25),
    "clips/ssv2_webm/task41/1.webm": (58, 427, 240, 12),
    "clips/ssv2_webm/task5/0.webm": (52, 427, 240, 12),
    "clips/ssv2_webm/task5/1.webm": (53, 427, 240, 12),
    "clips/ssv2_webm/task93/0.webm": (107, 1920, 1080, 30),
    "clips/typing_exercise/doing_exercises/doing_exercises13.mp4": (353, 1080, 1350, 30),
    "clips/typing_exercise/doing_exercises/doing_exercises4.mp4": (305, 1080, 1350, 30),
    "clips/typing_exercise/typing/typing10.mp4": (152, 1280, 720, 25),
    "clips/typing_exercise/typing/typing40.mp4": (239, 1280, 720, 25),
    "clips/ucf101/Basketball/v_Basketball_g01_c01.avi": (141, 320, 240, 30),
    "clips/ucf101/SoccerJuggling/v_SoccerJuggling_g23_c01.avi": (240, 320, 240, 30),
    "clips/ucf101_like/mmaction2_test.avi": (164, 320, 240, 25),
    "odd/decord_corrupted.mp4": "frame 28",
    "odd/decord_video_0.mov": (3, 568, 320, 30),
    "odd/decord_video_90.mov": (3, 320, 568, 30),
    "odd/kornia_falling_pen_mjpeg_300x650.avi": (8, 300, 650, 6),
    "odd/torchcodec_animated.gif": (4, 64, 48, 10),
    "odd/torchcodec_av1_video.mkv": (125, 640, 360, 25),
    "odd/torchcodec_h265_10bits.mp4": (30, 200, 200, 30),
    "odd/torchcodec_h265_video.mp4": (10, 128, 128, 10),
    "odd/torchcodec_nasa_13013.mp4.audio.mp3": "only audio",
    "odd/torchcodec_nasa_13013_rotated.mp4": (17, 270, 480, 30),
    "odd/torchcodec_nasa_13013_vfr.mp4": (50, 480, 270, 13),
    "odd/torchcodec_testsrc2_mpeg4_oneframe.mp4": (1, 64, 64, 25),
    "odd/torchcodec_testsrc2_odd_height_and_width_vp9.mp4": (25, 321, 241, 25),
    "odd/torchcodec_testsrc2_vp9.webm": (30, 1280, 720, 30),
    "odd/torchcodec_unspecified_limited_range.mp4": (60, 320, 240, 30),
}
# Opens, and gives the frames before this one; from it on the data are damaged.
DAMAGED_FROM = {"odd/decord_corrupted.mp4": 28}


def test_the_table_names_every_file(shared_dir: Path) -> None:
    files = {path for folder in ("clips", "odd") for path in (shared_dir / folder).rglob("*") if path.is_file()}
    names = {path.parent if path.parent.parent.name == "ssv2_rawframes" else path for path in files}
    assert {name.relative_to(shared_dir).as_posix() for name in names} == set(FILES)
    assert len(FILES) == 72


@pytest.mark.parametrize("name", FILES)
def test_every_real_file_opens_or_says_why_not(name: str, shared_dir: Path) -> None:
    path, expected = shared_dir / name, FILES[name]
    if isinstance(expected, str):
        with pytest.raises(VideoError) as error, open_video(path) as video:
            video.frames(range(len(video)))
        message = str(error.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert expected in message
        return
    with open_video(path) as video:
        length, width, height, fps = expected
        assert len(video) == length
        assert video.frames([0]).shape == (1, height, width, 3)
        assert round(video.fps) == fps


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, row in FILES.items() if "rawframes" not in name and row != "only audio"]
)
def test_random_frames_equal_plain_decoding(name: str, shared_dir: Path) -> None:
    path = shared_dir / name
    with open_video(path) as video:
        dice = random.Random(name)
        readable = DAMAGED_FROM.get(name, len(video))
        numbers = [dice.randrange(readable) for _ in range(8)]
        clip = video.frames(numbers)
        again = video.frames(numbers[:1])
    wanted = dict.fromkeys(numbers)
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                wanted[number] = np.rot90(rgb_of(frame), round(frame.rotation / 90))
            if number == max(numbers):
                break
    assert np.array_equal(clip, np.stack([wanted[number] for number in numbers]))
    assert np.array_equal(again, clip[:1])


def test_frames_before_the_damage_can_be_read_and_frames_after_it_cannot(shared_dir: Path) -> None:
    for name, first in DAMAGED_FROM.items():
        with open_video(shared_dir / name) as video:
            assert len(video.frames(range(first))) == first
            for number in (first + 4, len(video) - 1):
                with pytest.raises(VideoError, match=rf"frame {first} \({first / video.fps:.2f} s\) cannot be decoded"):
                    video.frames([number])
