"""Official datasets as they lie on disks: the format and the place of the videos are found from the root alone."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from counting import write_counting_video
from kinema.data.annotations import Source, read_annotations
from kinema.data.split.samples import split_samples
from kinema.data.video.opening import open_video


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def touch(root, *names):
    for name in names:
        write(root, name, "")


def read(root, **options):
    return read_annotations(Source(root=root, **options))


def rows(annotations):
    return [(sample.name, sample.class_name, sample.split) for sample in annotations.samples]


def all_there(annotations):
    return all(sample.path.exists() for sample in annotations.samples)


SOMETHING_V1 = {
    "something-something-v1-train.csv": "7;Holding something\n12;Opening something\n",
    "something-something-v1-validation.csv": "5;Opening something\n",
    "something-something-v1-test.csv": "3\n",
    "something-something-v1-labels.csv": "Opening something\nHolding something\n",
}
SOMETHING_V2 = {
    "train": [
        {"id": "7", "label": "opening a box", "template": "Opening [something]", "placeholders": ["a box"]},
        {"id": "12", "label": "holding it", "template": "Holding [something]", "placeholders": ["it"]},
    ],
    "validation": [{"id": "5", "label": "x", "template": "Holding [something]", "placeholders": ["x"]}],
    "test": [{"id": "3"}, {"id": "4"}],
    "labels": {"Holding something": "0", "Opening something": "1"},
}
UCF101 = {
    "classInd.txt": "1 Archery\r\n2 Biking\r\n",
    "trainlist01.txt": "Archery/v_Archery_g08_c01.avi 1\r\nBiking/v_Biking_g09_c02.avi 2\r\n",
    "testlist01.txt": "Archery/v_Archery_g01_c01.avi\r\n",
}
KINETICS = (
    'label,youtube_id,time_start,time_end,split,is_cc\n"air drumming",aaaaaaaaaaa,1,11,train,0\n'
    '"air drumming",-bbbbbbbbbb,101,111,train,1\nzumba,aaaaaaaaaaa,20,30,train,0\n'
)


def write_something_v1(root):
    for name, text in SOMETHING_V1.items():
        write(root, name, text)


def write_something_v2(root, start="something-something-v2-"):
    for name, content in SOMETHING_V2.items():
        write(root, f"{start}{name}.json", json.dumps(content))


def write_ucf101(root, folder="ucfTrainTestlist/"):
    for name, text in UCF101.items():
        write(root, folder + name, text)


def test_something_v1_as_its_archives_unpack(tmp_path):
    write_something_v1(tmp_path)
    touch(tmp_path, *(f"20bn-something-something-v1/{number}/00001.jpg" for number in (3, 5, 7, 12, 99)))
    annotations = read(tmp_path)
    assert annotations.format == "something_v1"
    assert annotations.class_names == ("Opening something", "Holding something")
    assert rows(annotations) == [
        ("20bn-something-something-v1/7", "Holding something", "train"),
        ("20bn-something-something-v1/12", "Opening something", "train"),
        ("20bn-something-something-v1/5", "Opening something", "val"),
        ("20bn-something-something-v1/3", "", "test"),
    ]
    assert annotations.notes[1:] == ("videos: 20bn-something-something-v1/<id>/ (frames)",)


def test_something_v1_without_the_file_of_labels_is_sorted_and_says_so(tmp_path):
    write_something_v1(tmp_path)
    (tmp_path / "something-something-v1-labels.csv").unlink()
    annotations = read(tmp_path)
    assert annotations.class_names == ("Holding something", "Opening something")
    assert "alphabetical, for there is no file of labels" in annotations.notes[0]


@pytest.mark.parametrize("start", ["something-something-v2-", "labels/something-something-v2-", "labels/"])
@pytest.mark.parametrize("place", ["20bn-something-something-v2/<id>.webm", "videos/20bn/<id>.mp4", "<id>.webm"])
def test_something_v2_in_files(tmp_path, start, place):
    write_something_v2(tmp_path, start)
    touch(tmp_path, *(place.replace("<id>", number) for number in ("3", "4", "5", "7", "12")))
    annotations = read(tmp_path)
    assert annotations.format == "something_v2"
    assert annotations.class_names == ("Holding something", "Opening something")
    assert rows(annotations)[:3] == [
        (place.replace("<id>", "7"), "Opening something", "train"),
        (place.replace("<id>", "12"), "Holding something", "train"),
        (place.replace("<id>", "5"), "Holding something", "val"),
    ]
    assert annotations.notes == (f"videos: {place}",)
    assert all_there(annotations)


def test_something_v2_in_frames(tmp_path):
    write_something_v2(tmp_path)
    touch(tmp_path, *(f"my frames/{number}/000001.jpg" for number in (3, 4, 5, 7, 12)))
    annotations = read(tmp_path)
    assert annotations.notes == ("videos: my frames/<id>/ (frames)",)
    assert all_there(annotations)


def test_of_two_copies_the_usual_one_is_taken(tmp_path):
    write_something_v2(tmp_path)
    touch(tmp_path, *(f"a_frames/{number}/000001.jpg" for number in (3, 4, 5, 7, 12)))
    touch(tmp_path, *(f"videos/{number}.webm" for number in (3, 4, 5, 7, 12)))
    annotations = read(tmp_path)
    assert annotations.notes == (
        "videos: videos/<id>.webm",
        "videos: there too, and left alone: a_frames/<id>/ (frames)",
    )
    assert annotations.samples[0].name == "videos/7.webm"


def test_optical_flow_beside_the_frames_is_left_alone(tmp_path):
    write_something_v1(tmp_path)
    touch(tmp_path, *(f"{folder}/{number}/00001.jpg" for number in (3, 5, 7, 12) for folder in ("flow", "frames")))
    annotations = read(tmp_path)
    assert annotations.notes[1:] == (
        "videos: frames/<id>/ (frames)",
        "videos: there too, and left alone: flow/<id>/ (frames)",
    )
    assert annotations.samples[0].name == "frames/7"


def test_answers_give_the_test_list_its_classes(tmp_path):
    write_something_v2(tmp_path, "labels/")
    write(tmp_path, "labels/test-answers.csv", "4;Opening something\n3;Holding something\n")
    test = [(sample.path.stem, sample.class_name) for sample in read(tmp_path).samples if sample.split == "test"]
    assert test == [("3", "Holding something"), ("4", "Opening something")]
    write(tmp_path, "labels/test-answers.csv", "4;Opening somthing\n")
    with pytest.raises(ValueError, match=r"test-answers\.csv, line 1: class .*did you mean Opening something\?"):
        read(tmp_path)


def test_an_unknown_template_is_named_with_its_entry(tmp_path):
    write_something_v2(tmp_path)
    entries = [*SOMETHING_V2["train"], {"id": "13", "template": "Openning [something]"}]
    write(tmp_path, "something-something-v2-train.json", json.dumps(entries))
    with pytest.raises(
        ValueError,
        match=r"train\.json, entry 3: class must be one of the 2 in .*labels\.json, got 'Openning something'; "
        r"did you mean Opening something\?",
    ):
        read(tmp_path)


JESTER = {"train": "34870;Thumb Up \r\n1;Swiping Left\r\n", "validation": "2;Swiping Left\r\n", "test": "9\r\n"}


@pytest.mark.parametrize("start", ["jester-v1-", "labels/jester-v1-", "labels/"])
def test_jester_with_and_without_its_name_in_the_files(tmp_path, start):
    for name, text in JESTER.items():
        write(tmp_path, f"{start}{name}.csv", "\ufeff" + text)
    write(tmp_path, f"{start}labels.csv", "Thumb Up\r\nSwiping Left\r\n")
    touch(tmp_path, *(f"20bn-jester-v1/{number}/00001.jpg" for number in (34870, 1, 2, 9)))
    annotations = read(tmp_path)
    assert annotations.format == "jester"
    assert annotations.class_names == ("Thumb Up", "Swiping Left")
    assert rows(annotations)[0] == ("20bn-jester-v1/34870", "Thumb Up", "train")
    assert all_there(annotations)


def test_jester_with_headers_and_a_folder_for_each_split(tmp_path):
    head = "video_id,label,frames,label_id,shape,format\n"
    write(tmp_path, "Train.csv", f'{head}7,Doing other things,37,1,"(176, 100)",jpg\n8,Thumb Up,37,0,"(1, 2)",jpg\n')
    write(tmp_path, "Validation.csv", f'{head}5,Doing other things,37,1,"(176, 100)",jpg\n')
    write(tmp_path, "Test.csv", f'{head.replace("video_id", "id")}3,,37,,"(176, 100)",jpg\n')
    touch(tmp_path, "Train/7/00001.jpg", "Train/8/00001.jpg", "Validation/5/00001.jpg", "Test/3/00001.jpg")
    annotations = read(tmp_path)
    assert annotations.format == "jester"
    assert annotations.class_names == ("Thumb Up", "Doing other things")
    assert rows(annotations) == [
        ("Train/7", "Doing other things", "train"),
        ("Train/8", "Thumb Up", "train"),
        ("Validation/5", "Doing other things", "val"),
        ("Test/3", "", "test"),
    ]
    assert all_there(annotations)
    (tmp_path / "Test/3/00001.jpg").unlink()
    (tmp_path / "Test/3").rmdir()
    annotations = read(tmp_path)
    assert annotations.samples[3].name == "Test/3"
    assert "none of the 1 test videos looked for" in annotations.notes[-1]


@pytest.mark.parametrize(
    "folder", ["train/air drumming", "train/air_drumming", "videos/train/air_drumming", "k400", "."]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", "/img_00001.jpg"])
def test_kinetics_by_class_or_flat(tmp_path, folder, suffix):
    write(tmp_path, "annotations/kinetics_train.csv", KINETICS)
    other = folder.replace("air drumming", "zumba").replace("air_drumming", "zumba")
    touch(tmp_path, f"{folder}/aaaaaaaaaaa_000001_000011{suffix}", f"{folder}/-bbbbbbbbbb_000101_000111{suffix}")
    touch(tmp_path, f"{other}/aaaaaaaaaaa_000020_000030{suffix}")
    annotations = read(tmp_path)
    assert annotations.format == "kinetics"
    assert annotations.class_names == ("air drumming", "zumba")
    assert [sample.group for sample in annotations.samples] == ["aaaaaaaaaaa", None, "aaaaaaaaaaa"]
    assert all_there(annotations), annotations.notes


def test_missing_kinetics_classes_are_written_as_those_that_are_there(tmp_path):
    text = KINETICS + '"arm wrestling",ccccccccccc,0,10,train,0\n'
    write(tmp_path, "train.csv", text)
    write(tmp_path, "val.csv", text.splitlines()[0] + '\n"arm wrestling",ddddddddddd,0,10,val,0\n')
    touch(tmp_path, "train/air_drumming/aaaaaaaaaaa_000001_000011.mp4")
    names = [sample.name for sample in read(tmp_path).samples]
    assert names[-2:] == [
        "train/arm_wrestling/ccccccccccc_000000_000010.mp4",
        "val/arm wrestling/ddddddddddd_000000_000010.mp4",
    ]


def test_kinetics_replacements_and_mixed_suffixes_are_found(tmp_path):
    write(tmp_path, "train.csv", KINETICS)
    touch(tmp_path, "train/aaaaaaaaaaa_000001_000011.mp4", "train/-bbbbbbbbbb_000101_000111.mp4")
    touch(tmp_path, "replacement/aaaaaaaaaaa_000001_000011.mp4", "train/aaaaaaaaaaa_000020_000030.mkv")
    annotations = read(tmp_path)
    assert [sample.name for sample in annotations.samples] == [
        "replacement/aaaaaaaaaaa_000001_000011.mp4",
        "train/-bbbbbbbbbb_000101_000111.mp4",
        "train/aaaaaaaaaaa_000020_000030.mkv",
    ]
    assert annotations.notes == (
        "videos: train/<id>.mp4",
        "videos: some are replacement/<id>.mp4, train/<id>.mkv",
    )


def test_kinetics_test_videos_have_no_class(tmp_path):
    write(tmp_path, "train.csv", KINETICS)
    write(tmp_path, "test.csv", "youtube_id,time_start,time_end,split\nddddddddddd,7,17,test\n")
    touch(tmp_path, "train/zumba/aaaaaaaaaaa_000020_000030.mp4", "test/ddddddddddd_000007_000017.mp4")
    annotations = read(tmp_path)
    assert rows(annotations)[0] == ("test/ddddddddddd_000007_000017.mp4", "", "test")
    assert annotations.class_names == ("air drumming", "zumba")


def test_kinetics_files_may_be_named_by_the_video_alone(tmp_path):
    write(tmp_path, "val.csv", "label,youtube_id,time_start,time_end,split\nta chi,R6llTwEh07w,0,10,val\n")
    touch(tmp_path, "val/ta_chi/R6llTwEh07w.mp4")
    assert rows(read(tmp_path)) == [("val/ta_chi/R6llTwEh07w.mp4", "ta chi", "val")]
    write(tmp_path, "val.csv", KINETICS.replace(",train,", ",val,"))
    touch(tmp_path, "val/zumba/aaaaaaaaaaa.mp4")
    with pytest.raises(ValueError, match=r"must be named <youtube_id>_<start>_<end> where one video of YouTube is"):
        read(tmp_path)


@pytest.mark.parametrize("folder", ["UCF-101/", "", "videos/", "data/UCF101/"])
@pytest.mark.parametrize("suffix", [".avi", ".mp4", "/img_00001.jpg"])
def test_ucf101_in_its_folder_or_in_the_root(tmp_path, folder, suffix):
    write_ucf101(tmp_path)
    touch(tmp_path, f"{folder}Archery/v_Archery_g08_c01{suffix}", f"{folder}Biking/v_Biking_g09_c02{suffix}")
    touch(tmp_path, f"{folder}Archery/v_Archery_g01_c01{suffix}")
    annotations = read(tmp_path)
    assert annotations.format == "ucf101"
    assert [(sample.class_name, sample.split, sample.group) for sample in annotations.samples] == [
        ("Archery", "train", "Archery g08"),
        ("Biking", "train", "Biking g09"),
        ("Archery", "val", "Archery g01"),
    ]
    assert all_there(annotations)


def test_the_test_list_of_ucf101_is_what_training_holds_out(tmp_path):
    write_ucf101(tmp_path, "")
    annotations = read(tmp_path)
    train, val = split_samples(annotations.samples, val_fraction=0.2, seed=0)
    assert (len(train), len(val)) == (2, 1)
    assert annotations.notes[0].startswith("split: testlist01.txt is the part val")


def test_lists_and_videos_may_lie_apart(tmp_path):
    write_ucf101(tmp_path, "lists/")
    touch(tmp_path, "disk/Biking/v_Biking_g09_c02.avi")
    annotations = read(tmp_path / "disk", annotations=tmp_path / "lists")
    assert annotations.format == "ucf101"
    assert annotations.samples[1].path == tmp_path / "disk/Biking/v_Biking_g09_c02.avi"
    only = read(tmp_path / "disk", annotations=tmp_path / "lists/testlist01.txt")
    assert [sample.split for sample in only.samples] == ["val"]


def test_a_ucf101_number_off_by_one_is_named(tmp_path):
    write_ucf101(tmp_path, "")
    write(tmp_path, "trainlist01.txt", "Archery/v_Archery_g08_c01.avi 0\r\n")
    with pytest.raises(
        ValueError, match=r"trainlist01\.txt, line 1: label must be 1, the number of Archery in classInd"
    ):
        read(tmp_path)


@pytest.mark.parametrize("folder", ["", "hmdb51_org/", "videos/"])
@pytest.mark.parametrize("suffix", [".avi", "/image_00001.jpg"])
def test_hmdb51_with_odd_names(tmp_path, folder, suffix):
    text = "50_(#1)_Dates!_wave_f_cm_np1_fr_med_0.avi 1 \n50_(#1)_Dates!_wave_f_cm_np1_fr_med_1.avi 0 \n"
    write(tmp_path, "testTrainMulti_7030_splits/wave_test_split1.txt", text)
    write(tmp_path, "testTrainMulti_7030_splits/kick_ball_test_split1.txt", "A_kick_ball_f_cm_np1_fr_med_0.avi 2 \n")
    touch(tmp_path, f"{folder}wave/50_(#1)_Dates!_wave_f_cm_np1_fr_med_0{suffix}")
    touch(tmp_path, f"{folder}kick_ball/A_kick_ball_f_cm_np1_fr_med_0{suffix}")
    annotations = read(tmp_path)
    assert annotations.format == "hmdb51"
    assert annotations.class_names == ("kick_ball", "wave")
    assert [(sample.class_name, sample.split, sample.group) for sample in annotations.samples] == [
        ("kick_ball", "val", "kick_ball A"),
        ("wave", "train", "wave 50_(#1)_Dates!"),
    ]
    assert all_there(annotations)
    assert "1 videos are in neither part" in annotations.notes[0]


def test_an_hmdb51_class_without_a_list_of_the_split_is_named(tmp_path):
    write(tmp_path, "wave_test_split1.txt", "a.avi 1\n")
    write(tmp_path, "wave_test_split2.txt", "a.avi 2\n")
    write(tmp_path, "clap_test_split1.txt", "b.avi 1\n")
    with pytest.raises(ValueError, match=r"a list of --data\.fold 2 for each class, got none: clap_test_split2\.txt"):
        read(tmp_path, fold=2)


def test_a_list_of_a_few_out_of_very_many_videos_is_found(tmp_path):
    write_something_v2(tmp_path)
    touch(tmp_path, *(f"videos/{number}.webm" for number in range(100_000, 101_500)), "videos/7.webm")
    annotations = read(tmp_path)
    assert annotations.notes[0] == "videos: videos/<id>.webm"
    assert annotations.samples[0].path == tmp_path / "videos/7.webm"


def test_a_folder_that_links_to_itself_ends(tmp_path):
    write_ucf101(tmp_path, "")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    (tmp_path / "nothing.avi").symlink_to(tmp_path / "gone.avi")
    touch(tmp_path, "Biking/v_Biking_g09_c02.avi")
    assert read(tmp_path).samples[1].name == "Biking/v_Biking_g09_c02.avi"


def test_what_was_read_can_be_opened(tmp_path):
    write_ucf101(tmp_path)
    (tmp_path / "UCF-101/Biking").mkdir(parents=True)
    write_counting_video(tmp_path / "UCF-101/Biking/v_Biking_g09_c02.avi", codec="mpeg4", num_frames=3)
    with open_video(read(tmp_path).samples[1].path) as video:
        assert len(video) == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("something-something-v1-train.csv", "", r"train\.csv must list videos, got none"),
        ("something-something-v1-labels.csv", "\n", r"labels\.csv must hold class names, got none"),
        (
            "something-something-v1-labels.csv",
            "A\nB\nA \n",
            r"labels\.csv, line 3: class names must be distinct.*line 1",
        ),
        ("something-something-v1-train.csv", "7;Opning something\n", r"train\.csv, line 1: class must be one of the 2"),
        ("something-something-v1-train.csv", "7\n", r"train\.csv, line 1: there must be a class, got '7' alone"),
        ("something-something-v1-train.csv", "../7;Opening something\n", r"line 1: video must be a plain name"),
        ("something-something-v1-train.csv", ";Opening something\n", r"line 1: video must be a plain name"),
        (
            "something-something-v1-train.csv",
            "7;Opening something\n\n7;Holding something\n",
            r"train\.csv, line 3: video 7 must have one class, got 'Holding something', and 'Opening something' in "
            r".*train\.csv, line 1; remove one of them",
        ),
    ],
)
def test_faults_of_a_list_are_named_with_their_line(tmp_path, name, text, message):
    write_something_v1(tmp_path)
    write(tmp_path, name, text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("zumba,aaaaaaaaaaa,x,30,train,0", r"line 2: time_start must be a number of seconds, got 'x'"),
        ("zumba,aaaaaaaaaaa,1,-30,train,0", r"line 2: time_end must be a number of seconds, got '-30'"),
        ("zumba,,1,30,train,0", r"line 2: there must be a youtube_id, got none"),
        (",aaaaaaaaaaa,1,30,train,0", r"line 2: there must be a label, got none"),
        ("zumba,aaaaaaaaaaa,1,30,trian,0", r"line 2: split must be train, val or test, got 'trian'"),
        ("a,b,aaaaaaaaaaa,1,30,train,0", r"line 2: there must be 6 cells as in the header, got 7"),
        ('"zumba,aaaaaaaaaaa,1,30,train,0', r"line 2, must be CSV"),
        ("zumba,../../etc/passwd,1,30,train,0", r"line 2: video must be a plain name"),
        ("../zumba,aaaaaaaaaaa,1,30,train,0", r"line 2: class must be a plain name"),
        ("", r"must list videos below its header, got none"),
    ],
)
def test_faults_of_a_kinetics_list_are_named_with_their_line(tmp_path, row, message):
    write(tmp_path, "train.csv", f"{KINETICS.splitlines()[0]}\n{row}\n")
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_a_video_that_stands_there_twice_counts_once_and_one_in_two_splits_twice(tmp_path):
    write_something_v1(tmp_path)
    write(tmp_path, "something-something-v1-train.csv", "7;Holding something\n7;Holding something\n5;Opening something")
    assert Counter(sample.path.name for sample in read(tmp_path).samples) == {"7": 1, "5": 2, "3": 1}


def test_two_lists_of_one_split_are_refused(tmp_path):
    write_something_v1(tmp_path)
    write(tmp_path, "old/something-something-v1-train.csv", "7;Holding something\n")
    with pytest.raises(ValueError, match=r"one list for each split, got .*old/something-something-v1-train\.csv and "):
        read(tmp_path)
    only = read(tmp_path, annotations=tmp_path / "something-something-v1-train.csv")
    assert [sample.split for sample in only.samples] == ["train", "train"]
    assert only.class_names == ("Opening something", "Holding something")


@pytest.mark.parametrize("format", ["something_v1", "something_v2", "jester", "kinetics", "ucf101", "hmdb51"])
def test_a_format_that_is_asked_for_and_not_there_is_refused(tmp_path, format):
    with pytest.raises(ValueError, match=r"must hold .*got none"):
        read_annotations(Source(root=tmp_path), format=format)


def test_a_class_list_gives_the_order(tmp_path):
    write(tmp_path, "val.csv", KINETICS.replace(",train,", ",val,"))
    write(tmp_path, "classes/names.csv", "id,name\n0,zumba\n1,air drumming\n2,abseiling\n")
    assert read(tmp_path, class_list=tmp_path / "classes/names.csv").class_names == (
        "zumba",
        "air drumming",
        "abseiling",
    )
    write(tmp_path, "classes/names.csv", "id,name\n0,zumba\n1,air druming\n")
    with pytest.raises(
        ValueError, match=r"val\.csv, line 2: class .*names\.csv, got 'air drumming'; did you mean air druming"
    ):
        read(tmp_path, class_list=tmp_path / "classes/names.csv")
    with pytest.raises(ValueError, match=r"class_list must be a file of names, got .*gone\.csv"):
        read(tmp_path, class_list=tmp_path / "gone.csv")
