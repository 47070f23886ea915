"""Which format a dataset is in is found, said, and never guessed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.data.annotations import FORMATS, Annotations, Format, Source, TableBuilder, describe_format
from kinema.data.annotations.formats import detect_format, read_annotations
from kinema.engine.read_data import read_place
from kinema.engine.recipe import DataPlace


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def stub(name, pattern, *, whole=None, error=None, of_dataset=False):
    """A format of the files of a name pattern; it reads those of a second one, which may be fewer."""

    def read(source):
        if error:
            raise ValueError(error)
        builder = TableBuilder(source.root)
        files = source.files(whole or pattern)
        for path in files:
            builder.add(f"{path.stem}.mp4", "walk")
        return Annotations(format=name, samples=builder.table(), class_names=("walk",), files=tuple(files))

    return Format(f"lists of {name}", lambda source: bool(source.files(pattern)), read, of_dataset)


@pytest.fixture
def formats(monkeypatch):
    """Puts stub formats before class folders: `formats(official=pattern, ...)`, the most special one first."""

    def put(**stubs):
        folders = FORMATS["class_folders"]
        FORMATS.clear()
        FORMATS.update({name: each if isinstance(each, Format) else stub(name, each) for name, each in stubs.items()})
        FORMATS["class_folders"] = folders

    kept = dict(FORMATS)
    yield put
    FORMATS.clear()
    FORMATS.update(kept)


def test_the_format_is_found_in_the_root_or_a_small_folder_of_it(tmp_path, formats):
    formats(official=r"trainlist\d+\.txt", simple=r".*\.lst")
    touch(tmp_path / "flat", "trainlist01.txt")
    touch(tmp_path / "deep", "annotations/trainlist01.txt", "videos/a.mp4")
    touch(tmp_path / "simple", "all.lst", "walk/a.mp4")
    found = [read_annotations(Source(root=tmp_path / name)).format for name in ("flat", "deep", "simple")]
    assert found == ["official", "official", "simple"]


def test_hidden_folders_and_folders_of_many_files_are_not_searched(tmp_path, formats, monkeypatch):
    monkeypatch.setattr("kinema.data.annotations.source.LOOKED_AT", 3)
    formats(official=r"trainlist\d+\.txt")
    touch(tmp_path, ".git/trainlist01.txt", *(f"walk/{number}.mp4" for number in range(5)), "walk/trainlist01.txt")
    assert detect_format(Source(root=tmp_path)) == "class_folders"


def test_of_formats_that_the_same_files_may_be_in_the_most_special_one_is_taken(tmp_path, formats):
    formats(official=r"trainlist\d+\.txt", simple=r".*\.txt")
    touch(tmp_path, "trainlist01.txt", "walk/a.mp4")
    annotations = read_annotations(Source(root=tmp_path))
    assert annotations.format == "official"
    assert describe_format(annotations.format, annotations.files) == "lists of official (official, by trainlist01.txt)"


def test_another_dataset_in_other_files_is_not_passed_over(tmp_path, formats):
    formats(official=r"trainlist\d+\.txt", simple=r"\w+_videofolder\.txt")
    touch(tmp_path, "trainlist01.txt", "train_videofolder.txt")
    message = (
        f"{re.escape(str(tmp_path))} must hold one set of annotations, got lists of official "
        r"\(official, by trainlist01\.txt\) and, in other files, lists of simple \(simple\); "
        "choose with --data.format official or simple, or name the file with --data.annotations"
    )
    with pytest.raises(ValueError, match=message):
        read_annotations(Source(root=tmp_path))
    for name in ("official", "simple"):
        assert read_annotations(Source(root=tmp_path), format=name).format == name
    named = Source(root=tmp_path, annotations=tmp_path / "train_videofolder.txt")
    assert read_annotations(named).format == "simple"


def test_the_files_of_a_published_dataset_outrank_lists_made_of_it_and_that_is_said(tmp_path, formats):
    official = stub("official", r"official\.json", of_dataset=True)
    formats(official=official, simple=r"\w+_videofolder\.txt")
    touch(tmp_path, "official.json", "train_videofolder.txt")
    annotations = read_annotations(Source(root=tmp_path))
    assert annotations.format == "official"
    assert annotations.notes == (
        "left aside: lists of simple (train_videofolder.txt); --data.format simple takes that",
    )
    formats(official=official, other=stub("other", r"other\.json", of_dataset=True))
    touch(tmp_path, "other.json")
    with pytest.raises(ValueError, match=r"must hold one set of annotations, got .* lists of other \(other\); choose"):
        read_annotations(Source(root=tmp_path))


def test_lists_of_other_folds_are_no_other_dataset(tmp_path, formats):
    formats(official=stub("official", r"trainlist\d+\.txt", whole=r"trainlist01\.txt"), simple=r".*\.txt")
    touch(tmp_path, "trainlist01.txt", "trainlist02.txt")
    assert [path.name for path in read_annotations(Source(root=tmp_path)).files] == ["trainlist01.txt"]


def test_a_faulty_file_names_the_other_formats_it_may_be_in(tmp_path, formats):
    formats(official=stub("official", r".*\.txt", error="line 1 must be good, got bad; mend it"), simple=r".*\.txt")
    touch(tmp_path, "all.txt")
    with pytest.raises(
        ValueError,
        match=r"^line 1 must be good, got bad; mend it \(taken for lists of official; should it be another format, "
        r"say so with --data\.format, one of simple\)$",
    ):
        read_annotations(Source(root=tmp_path))
    with pytest.raises(ValueError, match=r"^line 1 must be good, got bad; mend it$"):
        read_annotations(Source(root=tmp_path), format="official")


@pytest.mark.parametrize(
    ("names", "got"),
    [([], "an empty folder"), (["a.lst", "b.json"], r"a\.lst, b\.json"), (["1.mp4", ".git/x"], r"\.git, 1\.mp4")],
)
def test_a_root_of_nothing_known_names_what_it_holds_and_the_page(tmp_path, names, got):
    touch(tmp_path, *names)
    message = rf"or a folder for each class \(<root>/<class>/<video>\), got {got};"
    with pytest.raises(ValueError, match=message) as error:
        read_annotations(Source(root=tmp_path))
    assert str(error.value).endswith("; docs/formats.md has them all")


def test_annotations_of_no_known_format_are_not_taken_for_class_folders(tmp_path, formats):
    formats(official=r"trainlist\d+\.txt")
    touch(tmp_path, "notes.txt", "walk/a.mp4")
    with pytest.raises(ValueError, match=r"notes\.txt must have a header line path,label, got an empty file"):
        read_annotations(Source(root=tmp_path, annotations=tmp_path / "notes.txt"))


def test_a_format_that_does_not_exist_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"format must be auto or one of .*, got 'cvs'; did you mean csv\?"):
        read_annotations(Source(root=tmp_path), format="cvs")


def test_a_forced_format_is_taken_whatever_stands_there(tmp_path):
    touch(tmp_path, "walk/a.mp4", "list.csv")
    assert read_annotations(Source(root=tmp_path), format="class_folders").format == "class_folders"
    with pytest.raises(ValueError, match=r"csv"):
        read_annotations(Source(root=tmp_path), format="csv")


def test_a_root_may_be_the_annotation_file(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    file = tmp_path / "list.csv"
    file.write_text("path,label\na.mp4,walk\nb.mp4,run\n")
    annotations = read_place(DataPlace(root=str(file)))
    assert (annotations.format, annotations.files, len(annotations.samples)) == ("csv", (file,), 2)
    with pytest.raises(ValueError, match=r"data\.annotations must be left out where data\.root is an annotation file"):
        read_place(DataPlace(root=str(file), annotations=str(file)))


def test_a_source_may_leave_files_aside(tmp_path):
    touch(tmp_path, "a.txt", "b.txt")
    source = Source(root=tmp_path)
    rest = replace(source, without=frozenset({tmp_path / "a.txt"}))
    assert source.files(r".*\.txt") == [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert rest.files(r".*\.txt") == [tmp_path / "b.txt"]


def test_class_folders_are_described_without_files():
    assert describe_format("class_folders", ()) == "a folder for each class (class_folders)"
    assert describe_format("csv", [Path("x/a.csv"), Path("y/a.csv")]).endswith("(csv, by a.csv)")
