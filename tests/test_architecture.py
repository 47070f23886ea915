"""The floors of the house: every import of `src/kinema` is read, and so are its sizes and its names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from house import COLD, House, floor_faults, heavy_faults, name_faults, path_faults, ring_faults, size_faults

REPOSITORY = Path(__file__).resolve().parents[1]


def expect_none(faults: list[str]) -> None:
    assert not faults, "\n".join(["", *faults])


@pytest.fixture(scope="module")
def kinema() -> House:
    return House(REPOSITORY / "src" / "kinema")


def test_imports_point_down(kinema):
    expect_none(floor_faults(kinema))


def test_no_files_import_each_other_in_a_ring(kinema):
    expect_none(ring_faults(kinema))


def test_what_must_start_fast_imports_nothing_heavy(kinema):
    expect_none(heavy_faults(kinema, [name for name in COLD if name in kinema.files]))


def test_files_and_functions_fit_a_screen_or_a_few(kinema):
    expect_none(size_faults(kinema))


def test_no_file_is_a_drawer(kinema):
    expect_none(name_faults(kinema))


def test_nothing_names_a_path_of_one_machine(kinema):
    folders = [REPOSITORY / name for name in ("docs", "recipes", "examples", "benchmarks")]
    found = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".yaml", ".json")
    ]
    top = [path for path in REPOSITORY.iterdir() if path.suffix in (".md", ".toml", ".cff") or path.name == "Makefile"]
    templates = [*kinema.root.rglob("*.j2")]
    expect_none(path_faults([*kinema.files.values(), *templates, *found, *top]))


def build(root: Path, **files: str) -> House:
    """A made-up package: `a__b="..."` is the file a/b.py."""
    package = root / "kinema"
    for name, text in {"__init__": "", **files}.items():
        path = package / f"{name if name.startswith('__') else name.replace('__', '/', 1)}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return House(package)


def test_a_sound_house_has_no_faults(tmp_path):
    house = build(
        tmp_path,
        spec="import json",
        layers__tsm="from kinema.spec import ClipSpec\nimport torch",
        models__sites="from kinema.layers import tsm",
        cli="def run():\n    from kinema.models.sites import find\n",
    )
    faults = [*floor_faults(house), *ring_faults(house), *size_faults(house), *name_faults(house)]
    assert faults + heavy_faults(house, COLD[1:2] + COLD[3:]) == []


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (
            {"layers__tsm": "", "data__video": "import kinema.layers.tsm"},
            "data.video:1 imports kinema.layers.tsm, .* same",
        ),
        (
            {"models__a": "", "layers__b": "from kinema.models.a import x"},
            "layers.b:1 imports kinema.models.a, .* above",
        ),
        (
            {"models__a": "", "layers__b": "def f():\n  from kinema.models import a"},
            "layers.b:2 .*kinema.models.a, .* above",
        ),
        ({"models__a": "", "layers__b": "from ..models import a"}, "layers.b:1 imports kinema.models.a, .* above"),
        ({"models__a": "", "layers__b": "f = lambda: import_module('kinema.models.a')"}, "layers.b:1 .* above"),
        ({"engine__a": "", "spec": "if TYPE_CHECKING:\n  import kinema.engine.a"}, "spec:2 .* above"),
        ({"engine__a": "import kinema"}, "engine.a:1 .* public face"),
        ({"kitchen__a": ""}, "kitchen.a is in no room"),
    ],
)
def test_an_import_that_does_not_point_down_is_found(tmp_path, files, fault):
    faults = floor_faults(build(tmp_path, **files))
    assert len(faults) == 1
    assert re.search(fault, faults[0])


def test_a_ring_is_found_though_it_goes_through_a_function(tmp_path):
    house = build(
        tmp_path,
        data__a="from kinema.data import b",
        data__b="from kinema.data.c import x",
        data__c="def f():\n  import kinema.data.a",
    )
    assert len(ring_faults(house)) == 1
    assert ring_faults(house)[0].count("->") == 3


def test_a_heavy_import_is_found_along_the_way_and_in_the_packages_above(tmp_path):
    house = build(
        tmp_path,
        cli="import kinema.engine.recipe",
        engine____init__="",
        engine__recipe="from kinema.spec import x",
        spec="try:\n  import torch.nn\nexcept ImportError:\n  pass",
    )
    assert heavy_faults(house, ["kinema.cli"]) == [
        "kinema.cli -> kinema.engine.recipe -> kinema.spec -> torch.nn",
    ]
    (house.root / "engine" / "__init__.py").write_text("import timm", encoding="utf-8")
    assert "kinema.engine.recipe -> kinema.engine -> timm" in heavy_faults(House(house.root), ["kinema.engine.recipe"])


def test_heavy_imports_inside_functions_and_for_type_checkers_are_free(tmp_path):
    spec = "if TYPE_CHECKING:\n  import torch\nelse:\n  import json\ndef f():\n  import timm\n"
    assert heavy_faults(build(tmp_path, spec=spec), ["kinema.spec"]) == []


def test_long_files_long_functions_and_drawers_are_found(tmp_path):
    lines = "\n".join(["    x = 1"] * 61)
    house = build(tmp_path, spec="x = 1\n" * 301, layers__utils=f"def f():\n{lines}\n")
    assert len(size_faults(house)) == 2
    assert name_faults(house) == ["kinema.layers.utils says nothing"]


@pytest.mark.parametrize(
    ("text", "num_faults"),
    [
        ('open("/home/me/x")', 1),
        ("root: /mnt/data", 1),
        (r'"C:\Users"', 1),
        ("https://host.org/home/x", 0),
        ("../shared/clips", 0),
        ("frames/mnt/1.jpg", 0),
    ],
)
def test_paths_of_one_machine_are_told_from_others(tmp_path, text, num_faults):
    file = tmp_path / "file.py"
    file.write_text(text, encoding="utf-8")
    assert len(path_faults([file])) == num_faults
