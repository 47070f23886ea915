"""Any text in the place of an official annotation file gives samples or one clear sentence with the file's name."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kinema.data.annotations import Source, read_annotations

FILES = {
    "something_v1": {
        "something-something-v1-train.csv": "100218;Something falling\n48032;Holding something\n",
        "something-something-v1-test.csv": "105723\n39921\n",
        "something-something-v1-labels.csv": "Holding something\nSomething falling\n",
    },
    "something_v2": {
        "something-something-v2-train.json": (
            '[\n{"id":"78687","label":"holding pen","template":"Holding [something]","placeholders":["pen"]},\n'
            '{"id":"7","label":"a pen falling","template":"[Something] falling","placeholders":["pen"]}\n]'
        ),
        "something-something-v2-test.json": '[\n{"id":"1420"}\n]',
        "something-something-v2-labels.json": '{\r\n "Holding something":"0",\r\n "Something falling":"1"\r\n}',
        "test-answers.csv": "1420;Something falling\n",
    },
    "jester": {
        "jester-v1-train.csv": "34870;Thumb Up\r\n56557;Swiping Left\r\n",
        "jester-v1-validation.csv": 'video_id,label,frames,label_id,shape,format\n7,Thumb Up,37,0,"(176, 100)",jpg\n',
        "jester-v1-labels.csv": "Swiping Left\nThumb Up\n",
    },
    "kinetics": {
        "train.csv": 'label,youtube_id,time_start,time_end,split,is_cc\n"air drumming",_DNb_6w2cZM,1,11,train,0\n',
        "test.csv": "youtube_id,time_start,time_end,split\n--6bJUbfpnQ,17,27,test\n",
    },
    "ucf101": {
        "classInd.txt": "1 ApplyEyeMakeup\r\n2 Biking\r\n",
        "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nBiking/v_Biking_g01_c01.avi 2\r\n",
        "testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\n",
    },
    "hmdb51": {
        "wave_test_split1.txt": "21_wave_u_nm_np1_fr_goo_5.avi 1 \n50_FIRST_DATES_wave_f_cm_np1_fr_med_0.avi 2 \n",
        "shake_hands_test_split1.txt": "2008-2009_Folk_shake_hands_f_cm_np2_ba_bad_1.avi 0 \n",
    },
}
PLACES = [(format, name) for format, files in FILES.items() for name in files]


def check(format, changed, content):
    """Reads a dataset one of whose files holds something else."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES[format].items():
            (Path(folder) / name).write_bytes(content if name == changed else text.encode())
        samples, error = attempt(Path(folder), format)
        if error is not None:
            assert type(error) is ValueError  # not another kind of it, such as one of encodings
            assert folder in str(error)
            assert "; " in str(error)
            assert "\n" not in str(error)
        for sample in samples:
            assert Path(folder) in sample.path.parents
            assert ".." not in sample.path.parts
            assert sample.class_name or sample.split == "test"
        assert len(samples) > 0 or error is not None


def attempt(root, format):
    """Reads a dataset; returns its samples, or the error."""
    try:
        annotations = read_annotations(Source(root=root), format=format)
    except ValueError as error:
        return [], error
    assert {sample.class_name for sample in annotations.samples} <= {"", *annotations.class_names}
    return annotations.samples, None


@given(place=st.sampled_from(PLACES), content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=60, deadline=None)
def test_any_text_gives_samples_or_a_sentence(place, content):
    check(*place, content)


LINE_PARTS = [";", ",", "\t", " ", "\n", "\r", "\0", "../", "/", "\\", '"', "[", "]", "{", "}", "0", "-1", "9" * 30]
ODD = ["\ufeff", "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"), "\\ud800", "null", "true", "1e999", "x"]


@st.composite
def near_misses(draw):
    """A valid file from which something was cut, doubled, or to which something was added."""
    format, name = draw(st.sampled_from(PLACES))
    text = FILES[format][name]
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        middle = draw(st.sampled_from([*LINE_PARTS, *ODD, text[start:end] * 2, ""]) | st.text(max_size=4))
        text = text[:start] + middle + text[end:]
    return format, name, text.encode("utf-8", "surrogateescape")


@given(near_misses())
@example(("something_v2", "something-something-v2-train.json", b'[{"id": 1' + b"0" * 5000 + b"}]"))
@example(("something_v2", "something-something-v2-train.json", b"[" * 100_000))
@example(("something_v2", "something-something-v2-train.json", b'[{"id": "\\ud800", "template": "Holding something"}]'))
@example(("something_v2", "something-something-v2-labels.json", b'{"\\ud800": 0}'))
@example(("something_v2", "something-something-v2-labels.json", b'{"a": true, "b": 0, "c": "\xc2\xb2"}'))
@example(("kinetics", "train.csv", b"label,youtube_id,time_start,time_end,split\n" + b'"' + b"a" * 200_000))
@example(("kinetics", "train.csv", b"youtube_id,time_start,time_end,split\naaaaaaaaaaa,1,11,train\n"))
@example(("ucf101", "trainlist01.txt", ("Biking/" + "v" * 5000 + ".avi 2").encode()))
@settings(max_examples=100, deadline=None)
def test_near_misses_give_samples_or_a_sentence(change):
    check(*change)


def test_the_files_as_they_are_give_samples(tmp_path):
    for format, files in FILES.items():
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        samples, error = attempt(tmp_path, format)
        assert error is None
        assert len(samples) >= 2
